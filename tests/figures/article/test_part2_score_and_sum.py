"""F49 to F51: the scores and the sum of one head."""

import numpy as np

from cutaway.figures import Selection, find_figure
from cutaway.figures.panels import Number, Table
from tests.figures.drawing import draw, make_trace


def test_the_rows_of_a_sum_add_up() -> None:
    for name in ("built-in", "long 70", "one wide 4"):
        trace = make_trace(name)
        table = draw(trace, find_figure("F51")).panels[2]
        assert isinstance(table, Table)
        *rows, total, z, off = [[cell.value for cell in row if isinstance(cell, Number)] for row in table.rows]
        shown = len(z)
        parts = np.array([[row[0], *row[-shown:]] for row in rows])
        np.testing.assert_allclose(parts.sum(axis=0), total, atol=1e-5)
        np.testing.assert_allclose(total[1:], z, atol=1e-5)
        assert off[0] < 1e-5


def test_cached_keys_are_marked() -> None:
    table = draw(make_trace("built-in"), find_figure("F50"), Selection(position=3)).panels[2]
    assert isinstance(table, Table)
    assert [getattr(row[1], "en", "") for row in table.rows] == ["kept", "kept", "kept", "new"]


def test_a_long_text_shows_its_last_tokens() -> None:
    drawn = draw(make_trace("long 70"), find_figure("F50"), Selection(position=60))
    assert "The last 16 of 61 tokens are shown" in drawn.text().replace("\n", " ")
    assert "61 个词元里的最后 16 个" in drawn.text("zh").replace("\n", "")
    assert drawn.check is not None
    assert "after a cache of 60, and the whole text of 70 tokens at once" in drawn.check.statement.en
