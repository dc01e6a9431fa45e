import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import cutaway
from cutaway.figures import Check, all_figures, draw
from cutaway.figures.statement import Statement
from tests.cli.invoke import Result, invoke
from tests.tasks.models import save_translator


def figure(*arguments: str) -> Result:
    return invoke("figure", "--engine", "reference", *arguments)


def test_draws_a_figure_with_the_numbers_of_the_model(tiny: str) -> None:
    result = figure("--model", tiny, "F40", "--layer", "1", "--head", "1")
    assert (result.code, result.err) == (0, "")
    trace = cutaway.load(tiny, engine="reference").trace("A robot must obey the orders given it", prepend_bos=True)
    assert result.out == draw(trace, "F40", layer=1, head=1).text(columns=80) + "\n"


def test_speaks_chinese(tiny: str) -> None:
    lines = figure("--model", tiny, "F40", "--language", "zh").out.splitlines()
    assert lines[0] == "F40  Softmax：分数变成权重"


def test_draws_any_text_and_token(tiny: str) -> None:
    document = figure("--model", tiny, "f20", "--text", "robots obey", "--position", "1", "--json").document
    ids = cutaway.Tokenizer.gpt2().encode("robots obey")
    assert (document["id"], document["position"], document["ids"]) == ("F20", 1, [50256, *ids])


def test_json_has_the_numbers_and_their_layout(tiny: str) -> None:
    document = figure("--model", tiny, "F40", "--json").document
    assert (document["model"], document["engine"], document["status"]) == (Path(tiny).name, "reference", "live")
    assert document["check"]["ok"] is True  # type: ignore[index]
    assert document["check"]["statement"].keys() == {"en", "zh"}  # type: ignore[index]
    grid = next(panel for panel in document["panels"] if panel["kind"] == "grid")  # type: ignore[attr-defined]
    assert grid["cells"]["tensor"] == "attn.0"
    trace = cutaway.load(tiny, engine="reference").trace("A robot must obey the orders given it", prepend_bos=True)
    assert grid["cells"]["shape"] == list(trace["attn.0"].shape)
    assert json.loads(figure("--model", tiny, "F40", "--format", "json").out) == document


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_svg_is_self_contained(tiny: str, language: str) -> None:
    result = figure("--model", tiny, "F40", "--format", "svg", "--language", language)
    assert (result.code, result.err) == (0, "")
    assert ET.fromstring(result.out).tag == "{http://www.w3.org/2000/svg}svg"
    trace = cutaway.load(tiny, engine="reference").trace("A robot must obey the orders given it", prepend_bos=True)
    assert result.out == draw(trace, "F40").svg(language)


def test_lists_every_figure_and_whether_it_holds(tiny: str) -> None:
    lines = figure("--model", tiny, "--list").out.splitlines()
    rows = lines[:-2]
    last = lines[-1]
    assert len(rows) == 71
    live = [row for row in rows if row.startswith("✓")]
    assert not any(row.startswith("✗") for row in rows)
    assert last == f"{len(live)} of 71 live"


def test_the_list_speaks_chinese(tiny: str) -> None:
    lines = figure("--model", tiny, "--list", "--language", "zh").out.splitlines()
    assert lines[0] == "✓  F01  实时  键盘上方的建议"
    assert lines[-1] == "71 幅图，其中 67 幅实时计算"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_list_shows_the_measurement_of_a_claim_that_does_not_hold(
    tiny: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Statement("rows sum to 2", "每行之和为 2")
    monkeypatch.setattr("cutaway.figures.check_figure", lambda *_: Check(False, said))
    lines = figure("--model", tiny, "--list", "--language", language).out.splitlines()
    assert lines[0].startswith("✗  F01")
    assert f"✗ F01  {getattr(said, language)}" in lines


def test_the_list_is_json_too(tiny: str) -> None:
    result = figure("--model", tiny, "--list", "--json")
    assert (result.code, result.err) == (0, "")
    listed = json.loads(result.out)
    assert isinstance(listed, list)
    assert [row["id"] for row in listed] == list(all_figures())
    for row, known in zip(listed, all_figures().values(), strict=True):
        assert set(row) == {"id", "status", "ok", "title", "part", "picture", "check"}
        assert (row["status"], row["part"], row["picture"]) == (known.status, known.part, known.picture)
        assert row["title"] == {"en": known.title.en, "zh": known.title.zh}
        assert row["ok"] is (True if known.status == "live" else None)
        assert (row["check"] is None) == (known.status != "live")
        assert row["check"] is None or all(row["check"][language].strip() for language in ("en", "zh"))


@pytest.mark.slow
def test_the_documentation_shows_what_the_built_in_model_gives() -> None:
    page = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    command = "$ cutaway figure F24 --layer 5 --head 5\n"
    written = page[page.index(command) + len(command) :].split("```")[0]
    shown = figure("F24", "--layer", "5", "--head", "5").out
    assert _words(written) == _words(shown)
    assert _numbers(written) == pytest.approx(_numbers(shown), abs=0.011)  # the last digit depends on the machine


def _words(text: str) -> list[str]:
    """The text without numbers, bars, and differences: how a sum is rounded depends on the machine."""
    return re.sub(r"exactly|within [\d.]+e−\d+|[\d.]+|[█-▏]+", "", text).split()


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(?<!e−)\d+(?:\.\d+)?", re.sub(r"within [\d.]+e−\d+", "", text))]


def test_works_without_a_tokenizer(mute: str) -> None:
    result = figure("--model", mute, "F40", "--ids", "1", "2", "3")
    assert (result.code, result.err) == (0, "")
    assert "#2" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["F67"], "unknown figure: 'F67'; they are F01 to F66 and T1 to T5"),
        ([], "name one figure, such as F40, or ask for --list"),
        (["F40", "--list"], "name one figure, such as F40, or ask for --list"),
        (["F40", "--layer", "2"], "layer must be from 0 to 1"),
        (["F40", "--head", "2"], "head must be from 0 to 1"),
        (["F40", "--position", "99"], "position must be from -9 to 8"),
        (["F40", "--ids", "1", "99999"], "a token id must be from 0 to 50256"),
        (["F40", "--text", "robot " * 40], "the text is 43 tokens long; the context holds 32; shorten it"),
        (["F40", "--format", "svg", "--json"], "argument --json: not allowed with argument --format"),
        (["--list", "--format", "svg"], "the list has no picture; ask for it as text or json"),
        (["F40", "--language", "de"], "invalid choice: 'de'"),
    ],
)
def test_rejects_in_one_line(tiny: str, arguments: list[str], message: str) -> None:
    result = figure("--model", tiny, *arguments)
    assert result.code == 2
    assert message in result.error


def test_a_model_without_a_tokenizer_needs_ids(mute: str) -> None:
    result = figure("--model", mute, "F40")
    assert result.code == 2
    assert "has no tokenizer files; give --ids" in result.error


def test_an_example_of_the_models_task_is_drawn(tmp_path: Path) -> None:
    model = str(save_translator(tmp_path / "translator"))
    arguments = ("figure", "F60", "--model", model, "--engine", "reference")
    fields = '{"from": "en", "to": "de", "source": "night", "target": "Nacht"}'
    result = invoke(*arguments, "--fields", fields)
    assert "The source is the prefix" in result.out
    assert "✓" in result.out
    assert "give --fields, or a text" in invoke(*arguments, "--fields", fields, "--text", "a").error
    assert "all values must be text" in invoke(*arguments, "--fields", '{"from": 1}').error
    assert "--fields: " in invoke(*arguments, "--fields", "{").error
    assert "missing field 'from'" in invoke(*arguments, "--fields", "{}").error
