"""F47, F48 and F52: splitting and merging heads."""

import pytest

from cutaway.figures import Selection, find_figure
from cutaway.figures.panels import Grid, Number, Table
from cutaway.trace import Trace
from tests.figures.drawing import draw, make_trace
from tests.tiny import tiny_weights


def test_the_index_map_names_equal_numbers() -> None:
    trace = make_trace("built-in")
    table = draw(trace, find_figure("F47"), Selection(2, 1)).panels[1]
    assert isinstance(table, Table)
    assert len(table.rows) == 6
    for after, number, before, same in table.rows:
        assert isinstance(number, Number)
        assert isinstance(same, Number)
        assert number.value == same.value
        assert after == f"{number.tensor}[{', '.join(map(str, number.index))}]"
        assert before == f"{same.tensor}[{', '.join(map(str, same.index))}]"


def test_heads_of_one_number_have_one_line_in_the_index_map() -> None:
    weights = tiny_weights(n_embd=3, n_head=3)
    tensors = {name: weights.read(name) for name in weights.config.tensor_shapes()}
    table = draw(Trace(weights.config, tensors, None, [1, 2, 3]), find_figure("F47")).panels[1]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["q.0[0, 2, 0]", "k.0[0, 2, 0]", "v.0[0, 2, 0]"]


def test_up_to_three_heads_are_shown() -> None:
    trace = make_trace("built-in")
    grids = draw(trace, find_figure("F48"), Selection(0, 5)).panels[1:]
    assert [grid.cells.index(0, 0)[0] for grid in grids if isinstance(grid, Grid)] == [0, 1, 5]
    assert len(draw(make_trace("one head 7"), find_figure("F48")).panels) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [("built-in", "3 of 6 heads (0, 1, 2)"), ("tiny 7", "all 3 heads"), ("one head 7", "its only head")],
)
def test_says_which_heads_are_shown(name: str, said: str) -> None:
    assert said in draw(make_trace(name), find_figure("F48")).text(columns=500)
