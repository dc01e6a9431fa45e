"""F12 and F13: what the mask is for."""

import numpy as np

from cutaway.figures import Selection, find_figure
from cutaway.figures.panels import Grid
from cutaway.numerics import softmax
from tests.figures.drawing import draw, make_trace


def test_the_last_position_is_replaced_by_one_with_later_tokens() -> None:
    trace = make_trace("tiny 7")
    for position, shown in ((-1, 3), (6, 3), (5, 5), (0, 0)):
        grid = draw(trace, find_figure("F12"), Selection(position=position)).panels[1]
        assert isinstance(grid, Grid)
        assert (grid.cells.values == trace["attn.0"][:, shown]).all()
        assert (grid.cells.values[:, shown + 1 :] == 0).all()


def test_removes_the_mask_of_one_layer() -> None:
    trace = make_trace("tiny 7")
    free = draw(trace, find_figure("F13"), Selection(1, 2, 3)).panels[2]
    assert isinstance(free, Grid)
    np.testing.assert_allclose(free.cells.values, softmax(trace["scores.1"][2]), atol=1e-6)
