"""`cutaway summarize`: an argument, a file, a pipe; a task that was learned, and GPT-2's own protocol."""

import json
from pathlib import Path

import pytest

from cutaway.cli.summarize import read_fields
from cutaway.tasks import Task, open_task
from tests.cli.invoke import invoke
from tests.tasks.models import save_translator

TEXT = "A little night. Eine kleine Nacht. A night."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that has learned to summarize, by a task that its tokenizer can encode."""
    return str(save_translator(tmp_path_factory.mktemp("models") / "summarizer", open_task("wiki-lead")))


def test_argument_file_and_pipe_have_the_same_summary(model: str, tmp_path: Path) -> None:
    arguments = ("summarize", "--model", model, "--engine", "reference")
    path = tmp_path / "article.txt"
    path.write_text(TEXT)
    expected = invoke(*arguments, TEXT).out
    assert expected.endswith("\n")
    assert invoke(*arguments, str(path)).out == expected
    assert invoke(*arguments, "--file", str(path)).out == expected
    assert invoke(*arguments, stdin=TEXT.encode()).out == expected
    assert invoke(*arguments, "-", stdin=TEXT.encode()).out == expected


def test_the_title_is_the_first_line(model: str) -> None:
    arguments = ("summarize", "--model", model, "--engine", "reference", "--json")
    by_line = json.loads(invoke(*arguments, f"night\n\n{TEXT}").out)
    by_option = json.loads(invoke(*arguments, TEXT, "--title", "night").out)
    assert by_line == by_option
    assert (by_line["task"], by_line["seed"]) == ("wiki-lead", None)
    assert by_line != json.loads(invoke(*arguments, TEXT, "--title", "Nacht").out)


def test_a_first_paragraph_of_several_lines_is_no_title() -> None:
    text = "A night.\nA day.\n\nA week."
    assert read_fields(open_task("wiki-lead"), text, None) == {"title": "", "body": text}


def test_a_text_that_is_longer_than_a_path_is_no_file(model: str) -> None:
    assert invoke("summarize", "night " * 999, "--model", model, "--engine", "reference").code == 0


@pytest.mark.slow
def test_a_model_that_has_learned_no_task_follows_gpt2s_protocol() -> None:
    arguments = ("summarize", "The house is old. It has two doors.", "--seed", "3")
    document = json.loads(invoke(*arguments, "--json").out)
    assert document["task"] == "tldr"
    assert document["seed"] == 3
    decoding = document["decoding"]
    assert (decoding["top_k"], decoding["max_new_extra"], decoding["sentences"]) == (2, 100, 3)
    plain = invoke(*arguments)
    assert plain.out == " ".join(document["summary"].split()) + "\n"
    assert plain.err == "cutaway: seed 3\n"
    shorter = json.loads(invoke(*arguments, "--json", "--sentences", "1").out)
    assert document["summary"].startswith(shorter["summary"])
    assert shorter["finished"]
    assert len(shorter["summary"]) < len(document["summary"])


def test_a_long_text_is_cut_and_says_so(model: str) -> None:
    result = invoke("summarize", "night " * 99, "--title", "", "--model", model, "--engine", "reference")
    assert "the text is too long for a context of 64: its last " in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "nothing to summarize: the text is empty"),
        (("a", "--sentences", "-1"), "--sentences must be"),
        (("a", "--seed", "-1"), "--seed must be"),
        (("--file", "no such file"), "cannot read no such file"),
    ],
)
def test_invalid_arguments_are_one_line(model: str, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("summarize", "--model", model, *arguments)
    assert result.code == 2
    assert message in result.error


def test_fields_that_cannot_be_filled_are_refused(tmp_path: Path) -> None:
    assert "--title: tldr reads no title" in invoke("summarize", "a", "--title", "b").error
    toml = open_task("wiki-lead").toml.replace("{title}", "{title}{author}")
    odd = save_translator(tmp_path / "odd", Task.parse(toml))
    assert "wiki-lead also reads author" in invoke("summarize", "a", "--model", str(odd)).error


def test_a_file_that_is_not_there_is_no_text() -> None:
    for name in ("nope.txt", "texts/nope"):
        result = invoke("summarize", name)
        assert result.code == 2
        assert f"there is no file '{name}'" in result.error
