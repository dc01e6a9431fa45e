"""A drawn figure in all its forms."""

import json
import xml.etree.ElementTree as ET

import pytest

from cutaway.errors import UsageError
from cutaway.figures import Check, DrawnFigure, Selection, all_figures, draw
from cutaway.figures.drawn import LANGUAGES
from cutaway.figures.figure import Figure
from cutaway.figures.panels import LocalizedText, Note
from cutaway.figures.statement import Statement
from cutaway.layout import width
from cutaway.trace import Intervention
from tests.figures.drawing import make_trace

SUM = Statement("rows sum to 1", "每行之和为 1")


def example(check: Check | None = None) -> DrawnFigure:
    panels = [Note(LocalizedText("Words.", "文字。"))]
    title = LocalizedText("An example", "一个例子")
    figure = Figure("F99", title, 2, 7, ("attn.L",), draw=lambda trace, chosen: panels)
    return DrawnFigure(figure, Selection(1, 2, 3), (5, 6), panels, check)


def test_text_has_a_title_the_panels_and_the_verdict() -> None:
    assert example().text() == "F99  An example\n\nWords."
    assert example(Check(True, SUM)).text("zh") == "F99  一个例子\n\n文字。\n\n✓ 每行之和为 1"
    assert example(Check(False, SUM)).text().endswith("\n\n✗ rows sum to 1")


def test_long_verdicts_fit_the_terminal() -> None:
    drawn = example(Check(True, Statement("the sum of the rows is 1 " * 9, "每行之和为 1，" * 15)))
    for language in LANGUAGES:
        lines = drawn.text(language, columns=40).splitlines()
        assert len(lines) > 8
        assert all(width(line) <= 40 for line in lines)


def test_an_svg_has_the_verdict() -> None:
    assert "✓ 每行之和为 1" in example(Check(True, SUM)).svg("zh")
    assert "✗ rows sum to 1" in example(Check(False, SUM)).svg("en")
    assert not {"✓", "✗"} & set(example().svg("en"))


def test_a_document_names_figure_selection_and_text() -> None:
    document = json.loads(json.dumps(example(Check(True, SUM)).document(), allow_nan=False))
    assert document == {
        "id": "F99",
        "title": {"en": "An example", "zh": "一个例子"},
        "part": 2,
        "picture": 7,
        "status": "drawn",
        "layer": 1,
        "head": 2,
        "position": 3,
        "ids": [5, 6],
        "panels": [{"kind": "note", "words": {"en": "Words.", "zh": "文字。"}}],
        "check": {"ok": True, "statement": {"en": "rows sum to 1", "zh": "每行之和为 1"}},
    }
    assert example().document()["check"] is None


def test_str_is_the_text_and_repr_one_line() -> None:
    assert str(example()) == example().text()
    assert repr(example()) == "<F99  An example, layer 1, head 2, position 3>"


def test_notebooks_show_the_svg() -> None:
    assert example()._repr_svg_() == example().svg("en")
    ET.fromstring(example().svg("zh"))


@pytest.mark.parametrize("language", ["de", "", "EN"])
def test_rejects_an_unknown_language_in_one_line(language: str) -> None:
    for form in (example().text, example().svg, example().title):
        with pytest.raises(UsageError, match=r"^a language is one of en, zh, not '\w*'$"):
            form(language)


def test_draw_resolves_the_selection() -> None:
    trace = make_trace("tiny 7")
    figure = draw(trace, "f40", layer=1, head=2, position=-2)
    assert (figure.figure.id, figure.ids) == ("F40", trace.ids)
    assert figure.selection == Selection(1, 2, 5)
    assert figure.check is not None
    assert figure.check.ok


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("F67", {}, "unknown figure: 'F67'; they are F01 to F66 and T1 to T5 (cutaway figure --list)"),
        ("F40", {"layer": 2}, "layer must be from 0 to 1, not 2"),
        ("F40", {"position": 7}, "position must be from -7 to 6, not 7"),
    ],
)
def test_rejects_invalid_figures_in_one_line(name: str, where: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        draw(make_trace("tiny 7"), name, **where)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "change",
    [
        Intervention("patch_residual", layer=1, position=6, source=(9, 8, 7, 6, 5, 4, 3)),
        Intervention("attention_knockout", query=6, key=2),
    ],
)
def test_draws_an_intervention_at_the_last_token(change: Intervention) -> None:
    trace = make_trace("tiny 7").intervene(change)
    for figure in all_figures().values():
        assert draw(trace, figure.id).panels
    alone = make_trace("tiny 1").intervene(Intervention("patch_residual", layer=0, position=0, source=(9,)))
    assert draw(alone, "F42").check


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny 1", "tiny 7", "untied 7", "one wide 4"])
def test_every_figure_is_drawn_in_every_format_and_holds(name: str) -> None:
    trace = make_trace(name)
    for figure in all_figures().values():
        drawn = draw(trace, figure.id)
        assert drawn.check is None or drawn.check.ok, f"{figure.id}: {drawn.check}"
        for language in LANGUAGES:
            assert drawn.text(language)
            ET.fromstring(drawn.svg(language))
        json.dumps(drawn.document(), allow_nan=False)
