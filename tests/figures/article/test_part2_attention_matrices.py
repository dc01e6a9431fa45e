"""F38 to F40: attention as matrices."""

import numpy as np
import pytest

from cutaway.engines.reference import MASKED
from cutaway.figures import Selection, find_figure
from cutaway.figures.colours import paint
from cutaway.figures.panels import Grid
from tests.figures.drawing import (
    draw,
    falsify,
    make_trace,
)


def test_the_sums_are_of_the_chosen_heads_rows() -> None:
    other = falsify(make_trace("tiny 7"), "attn.1")  # in a model's own weights every row of every head sums to 1
    sums = draw(other, find_figure("F40"), Selection(1, 2, 3)).panels[2]
    assert isinstance(sums, Grid)
    np.testing.assert_allclose(sums.cells.values[:, 0], other["attn.1"][2].sum(axis=-1), rtol=1e-5)


def test_the_detailed_cell_is_the_sum_of_its_products() -> None:
    trace = make_trace("tiny 7")
    matrix, query, key, products = draw(trace, find_figure("F38"), Selection(1, 2, 5)).panels[1:]
    assert isinstance(matrix, Grid)
    assert isinstance(query, Grid)
    assert isinstance(key, Grid)
    assert isinstance(products, Grid)
    column = key.cells.index(0, 0)[1]
    np.testing.assert_allclose(products.cells.values.sum(), matrix.cells.values[5, column], rtol=1e-4)
    np.testing.assert_array_equal(products.cells.values, query.cells.values * key.cells.values)


@pytest.mark.parametrize(("name", "shape"), [("tiny 7", (7, 1)), ("long 70", (1, 70))])
def test_the_sums_of_many_rows_are_on_one_line(name: str, shape: tuple[int, int]) -> None:
    sums = draw(make_trace(name), find_figure("F40")).panels[2]
    assert isinstance(sums, Grid)
    np.testing.assert_allclose(sums.cells.values, np.ones(shape), atol=1e-5)


def test_masked_scores_have_their_own_mark_and_colour() -> None:
    hidden = draw(make_trace("tiny 7"), find_figure("F39"))
    assert hidden.text().count(" −1e10") == 21 + 2  # of 7 × 7 cells, and twice in words
    assert hidden.text(columns=40).count("×") == 21 + 2  # there as shades, and "7 × 7" twice
    scores = np.array([[-15, MASKED, -np.inf, 3]], np.float32)
    for scale in ("size", "signed"):
        lowest, first, second, _ = paint(scores, scale)[0]
        assert (first == second).all()
        assert (first != lowest).any()
    grids = [panel for name in ("F38", "F39") for panel in draw(make_trace("tiny 7"), find_figure(name)).panels]
    assert {panel.scale for panel in grids if isinstance(panel, Grid)} == {"signed"}


def test_a_trace_of_one_token_compares_its_only_score() -> None:
    check = draw(make_trace("tiny 1"), find_figure("F39")).check
    assert check is not None
    assert check.statement.en == "no score of one token is masked: the scores stay bit for bit"
