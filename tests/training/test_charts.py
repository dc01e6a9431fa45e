import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cutaway.training.charts import linear_axis, logarithmic_axis, thinned, tick_label


@example(1.0, 400401.0, 2)
@example(1.0, 40041.0, 2)
@example(879609.9999999999, 1e-06, 5)  # a step of a few thousand of the floats there are
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_in_the_range_even_and_distinct(low: float, reach: float, count: int) -> None:
    axis = linear_axis("x", np.array([low, low + reach]), count)
    places = [place for place, _ in axis.ticks]
    assert 1 <= len(places) <= count + 1
    slack = reach * 1e-6 + 4 * np.spacing(abs(low) + reach)
    assert all(axis.low - slack <= place <= axis.high + slack for place in places)
    assert len({label for _, label in axis.ticks}) == len(places)
    assert np.ptp(np.diff(places)) <= reach * 1e-6 + abs(low) * 1e-9 if len(places) > 1 else True


@pytest.mark.parametrize("values", [[], [0.0], [3.5], [-2.0, -2.0]])
def test_an_axis_of_one_value_or_none_has_a_range(values: list[float]) -> None:
    axis = linear_axis("x", np.array(values))
    assert axis.low < axis.high
    assert all(axis.low <= value <= axis.high for value in values)
    assert axis.ticks


def test_labels_tell_neighbours_apart() -> None:
    assert [tick_label(v, 0.05) for v in (2.75, 2.8)] == ["2.75", "2.80"]
    assert tick_label(0.0, 0.1) == "0"
    assert tick_label(1.5e-4, 5e-5) == "1.5e-4"


def test_a_logarithmic_axis_of_one_tick_has_a_range() -> None:
    axis = logarithmic_axis("share", [(0.1, "10 %")])
    assert axis.places(np.array([0.1]))[0] == 0


def test_thinning_keeps_the_ends() -> None:
    chosen = thinned(100_000, 50)
    assert len(chosen) == 50
    assert (chosen[0], chosen[-1]) == (0, 99_999)
    assert thinned(0, 5).tolist() == []
