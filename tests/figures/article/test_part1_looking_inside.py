"""F16 and F17: active paths."""

from cutaway.figures import find_figure
from tests.figures.drawing import draw, make_trace, numbers


def test_the_second_step_computes_one_position() -> None:
    table = draw(make_trace("tiny 7"), find_figure("F17")).panels[2]
    (computed,), (reused,), (moved,), (anew,) = numbers(table)
    assert (computed, reused, moved) == (1, 1, 0)
    assert anew < 1e-4
