"""F30, F31 and F35: self-attention."""

import numpy as np

from cutaway.figures import find_figure
from cutaway.figures.panels import Bars, Grid
from tests.figures.drawing import (
    draw,
    make_trace,
)


def test_a_single_token_attends_to_itself() -> None:
    bars = draw(make_trace("tiny 1"), find_figure("F30")).panels[1]
    assert isinstance(bars, Bars)
    assert bars.cells.values.tolist() == [[1]]


def test_many_tokens_are_drawn_as_a_strip() -> None:
    trace = make_trace("long 70")
    strip = draw(trace, find_figure("F30")).panels[1]
    assert isinstance(strip, Grid)
    np.testing.assert_array_equal(strip.cells.values, trace["attn.0"][0, 69][None])
