"""F32 to F34: the three steps one by one."""

from cutaway.figures import Selection, find_figure
from cutaway.figures.panels import Grid, Table
from tests.figures.drawing import draw, make_trace


def test_masked_weights_are_in_the_last_column_only() -> None:
    table = draw(make_trace("tiny 7"), find_figure("F33"), Selection(position=2)).panels[2]
    assert isinstance(table, Table)
    *_, weight, without_mask = table.rows[5]
    assert not isinstance(weight, str)
    assert not isinstance(without_mask, str)
    assert weight.value == 0  # type: ignore[union-attr]
    assert without_mask.value > 0  # type: ignore[union-attr]


def test_truncates_a_long_text_and_says_so() -> None:
    drawn = draw(make_trace("long 70"), find_figure("F32"))
    queries = drawn.panels[1]
    assert isinstance(queries, Grid)
    assert queries.cells.values.shape == (16, 6)
    assert queries.cells.index(15, 0) == (0, 69, 0)
    assert "16 of 70 tokens are shown" in drawn.text().replace("\n", " ")
    assert "70 个词元里的 16 个" in drawn.text("zh").replace("\n", "")
