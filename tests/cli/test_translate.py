"""`cutaway translate`: an argument, a file, a pipe, a conversation."""

import json
from pathlib import Path

import pytest

from cutaway.cli import translate
from cutaway.cli.translate import find_languages
from cutaway.errors import UsageError
from cutaway.tasks import Task, open_task
from cutaway.tasks.decoding import Output
from tests.cli.invoke import invoke
from tests.tasks.models import save_translator


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_translator(tmp_path_factory.mktemp("models") / "translator"))


def test_lines_of_all_kinds_are_translated_alike(model: str, tmp_path: Path) -> None:
    arguments = ("translate", "--model", model, "--engine", "reference", "--beams", "2")
    one = invoke(*arguments, "night").out
    other = invoke(*arguments, "kleine").out
    assert one != other
    path = tmp_path / "lines.txt"
    path.write_text("night\n\nkleine\n")
    expected = f"{one}\n{other}"
    assert invoke(*arguments, "--file", str(path)).out == expected
    assert invoke(*arguments, stdin=path.read_bytes()).out == expected
    assert invoke(*arguments, "--interactive", stdin=path.read_bytes()).out == expected


def test_an_empty_text_is_an_empty_line(model: str) -> None:
    assert invoke("translate", "", "--model", model, "--engine", "reference").out == "\n"


def test_no_line_in_is_no_line_out(model: str, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"")
    assert invoke("translate", "--model", model, "--file", str(path)).out == ""
    assert invoke("translate", "--model", model, stdin=b"\n").out == "\n"


def test_lines_beyond_those_that_are_translated_at_once_follow(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("translate", "--model", model, "--engine", "reference", "--beams", "1")
    expected = invoke(*arguments, stdin=b"night\nkleine\nNacht").out
    monkeypatch.setattr(translate, "AT_ONCE", 2)
    assert invoke(*arguments, stdin=b"night\nkleine\nNacht").out == expected
    assert expected.count("\n") == 3


def test_a_byte_order_mark_is_no_part_of_a_line_of_a_conversation(model: str) -> None:
    arguments = ("translate", "--model", model, "--engine", "reference", "--beams", "1", "--interactive")
    assert invoke(*arguments, stdin=b"\xef\xbb\xbfnight\n").out == invoke(*arguments, stdin=b"night\n").out


def test_a_translation_of_several_lines_is_printed_as_one(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output("eine\nNacht", 0.0, 0.0, is_finished=True)
    monkeypatch.setattr(translate.Translator, "translate", lambda *_: [[output]])
    assert invoke("translate", "a night", "--model", model).out == "eine Nacht\n"


def test_a_task_that_samples_is_searched(tmp_path: Path) -> None:
    toml = open_task("translation").toml
    sampling = save_translator(tmp_path / "s", Task.parse(toml.replace("[decoding]", "[decoding]\ntemperature = 3.0")))
    searching = save_translator(tmp_path / "t", Task.parse(toml))
    arguments = ("translate", "a little night", "--beams", "1", "--engine", "reference", "--model")
    assert invoke(*arguments, str(sampling)).out == invoke(*arguments, str(searching)).out


def test_a_long_line_is_cut_and_says_so(model: str) -> None:
    arguments = ("translate", "--model", model, "--engine", "reference", "--beams", "1")
    lines = f"night\n{'x' * 99}\n".encode()
    result = invoke(*arguments, stdin=lines)
    [note] = result.err.splitlines()
    assert note.startswith("cutaway: 'xxx")
    assert note.endswith("is too long for a context of 64: its last 70 tokens are not read")
    assert [line["cut_tokens"] for line in json.loads(invoke(*arguments, "--json", stdin=lines).out)["lines"]] == [
        0,
        70,
    ]


def test_languages_that_do_not_go_together_are_refused() -> None:
    one_way = Task.parse(open_task("translation").toml.replace('from = ["en", "de"]', 'from = ["en"]'))
    assert find_languages(one_way, None, None) == {"from": "en", "to": "de"}
    for source, target in ((None, "en"), ("en", "en")):
        with pytest.raises(UsageError, match=r"translation does not translate from (any|en) to en"):
            find_languages(one_way, source, target)


def test_n_best_has_scores_and_json_has_all(model: str) -> None:
    arguments = ("translate", "night", "--model", model, "--engine", "reference", "--n-best", "3")
    lines = invoke(*arguments).out.splitlines()
    document = json.loads(invoke(*arguments, "--json").out)
    assert (document["from"], document["to"], document["beams"]) == ("en", "de", 5)
    [line] = document["lines"]
    assert line["source"] == "night"
    assert len(line["translations"]) == len(lines)
    assert [f"{each['score']:8.3f}" for each in line["translations"]] == [line[:8] for line in lines]


def test_the_search_has_a_beam_for_each_translation(model: str) -> None:
    arguments = ("translate", "a", "--model", model, "--engine", "reference", "--n-best", "7", "--json")
    assert invoke(*arguments).document["beams"] == 7


@pytest.mark.parametrize(
    ("arguments", "languages"),
    [((), ("en", "de")), (("--from", "de"), ("de", "en")), (("--to", "en"), ("de", "en"))],
)
def test_languages_follow_from_one_another(model: str, arguments: tuple[str, ...], languages: tuple[str, str]) -> None:
    document = json.loads(invoke("translate", "a", "--model", model, "--beams", "1", "--json", *arguments).out)
    assert (document["from"], document["to"]) == languages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "--from", "fr"), "--from: translation knows en, de, not 'fr'"),
        (("a", "--beams", "0"), "--beams must be from 1 to 128"),
        (("a", "--beams", "2", "--n-best", "3"), "--n-best (3) must be at most --beams (2)"),
        (("--interactive", "--json"), "--interactive cannot write one"),
        (("--file", "no such file"), "cannot read no such file"),
    ],
)
def test_invalid_arguments_are_one_line(model: str, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("translate", "--model", model, *arguments)
    assert result.code == 2
    assert message in result.error


def test_other_models_cannot_translate(tmp_path: Path) -> None:
    error = invoke("translate", "a", "--model", "builtin").error
    assert "builtin has not learned to translate; builtin-translation has" in error
    reverser = save_translator(tmp_path / "reverser", open_task("reverse"))
    result = invoke("translate", "a", "--model", str(reverser))
    assert result.code == 2
    assert f"{reverser} has learned reverse, and not to translate" in result.error


def test_the_built_in_translator_translates_both_ways() -> None:
    assert invoke("translate", "Where is the station?").out == "Wo ist der Bahnhof?\n"
    assert invoke("translate", "Wo ist der Bahnhof?", "--from", "de").out == "Where is the station?\n"
    result = invoke("generate", "--model", "builtin-translation", "x", "--seed", "1", "--max-new-tokens", "1")
    assert "cutaway translate --model builtin-translation does it, and this only continues a text" in result.err
