"""Actions of a command, and their help."""

import pytest

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
