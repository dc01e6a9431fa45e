"""Actions of a command and their help, and the arguments that a message names."""

import pytest

from cutaway.cli.arguments import argument_pattern
from tests.cli.invoke import invoke


@pytest.mark.parametrize(
    ("command", "action", "description"),
    [
        ("music", "roll", "Draw the piano roll of a MIDI file."),
        ("tokenizer", "train", "Train a byte-level BPE that splits text as GPT-2's does."),
        ("data", "show", "Show documents as the model reads them, token by token."),
        ("task", "list", "List the tasks in the package."),
    ],
)
def test_an_action_has_its_description_and_its_own_examples(command: str, action: str, description: str) -> None:
    listed = " ".join(invoke(command, "--help").out.split())
    assert f"{action} {description[0].lower()}{description[1:-1]}" in listed
    shown = invoke(command, action, "--help").out
    assert description in shown
    examples = shown[shown.index("examples:") :].splitlines()[1:]
    assert examples
    assert all(f"cutaway {command} {action}" in line for line in examples)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("hold (0.5), n_ctx (4) and batch (2) must fit: n_ctx", ["hold", "n_ctx", "batch", "n_ctx"]),
        ("unlike /n_ctx, a.n_ctx, -n_ctx, n_ctx/a, n_ctx.toml, n_ctx-2 and 'n_ctx'", []),
        ("a n_ctx: is not a file, and my/batch (2), 'hold (1) and so on", []),
    ],
)
def test_an_argument_is_found_outside_paths_and_quotations(message: str, found: list[str]) -> None:
    assert argument_pattern(["n_ctx", "hold", "batch"]).findall(message) == found
