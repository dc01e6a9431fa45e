"""The Chinese of the figures: whole sentences in Chinese, with its own punctuation."""

import re
from collections.abc import Iterator

import pytest

from cutaway.figures import Figure, Selection, all_figures
from cutaway.figures.panels import Bars, Box, Drawing, Grid, Label, LocalizedText, Note, Panel, Table
from tests.figures.drawing import draw, make_trace

CHINESE = "[\u4e00-\u9fff]"
HALF_WIDTH = re.compile(f"{CHINESE}[,;:!?] ?{CHINESE}|{CHINESE}\\({CHINESE}|{CHINESE}[,;:] |{CHINESE}\\.( |$)")
ENGLISH = re.compile(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}")  # three words in a row
ORDINAL = re.compile(r"第 0|第 [\d,]+ (至 [\d,]+ )?行")  # counts from 1, as rows of a tensor do not
WRITTEN = re.compile("它写出：.*", re.DOTALL)  # by the model
FIGURES = all_figures().values()


def texts(panel: Panel) -> Iterator[object]:
    if isinstance(panel, Note):
        yield panel.words
        return
    yield panel.title
    if isinstance(panel, Grid):
        yield from (panel.row_axis, panel.column_axis)
    elif isinstance(panel, Table):
        yield from panel.columns
        yield from (entry for row in panel.rows for entry in row)
    elif isinstance(panel, Bars):
        yield from panel.labels
    elif isinstance(panel, Drawing):
        yield from (shape.text for shape in panel.shapes if isinstance(shape, Box | Label))


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.id)
def test_prose_is_chinese_with_its_own_punctuation(figure: Figure) -> None:
    drawn = draw(make_trace("built-in"), figure, Selection(2, 1))
    said = [text.zh for panel in drawn.panels for text in texts(panel) if isinstance(text, LocalizedText)]
    said = [WRITTEN.sub("", text) for text in said]
    said += [figure.title.zh, *([drawn.check.statement.text("zh")] if drawn.check else [])]
    assert [text for text in said if HALF_WIDTH.search(text) or ENGLISH.search(text)] == []
    assert [text for text in said if ORDINAL.search(text)] == []
    assert [text for text in said if "`" in text] == []  # the page and a terminal show it as it is
