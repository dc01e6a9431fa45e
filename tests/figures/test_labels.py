"""Labels that fit their columns, and numbers in few characters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.figures.labels import cut, number
from cutaway.figures.panels import Scale
from cutaway.layout import width


@pytest.mark.parametrize(
    ("value", "scale", "shown"),
    [
        (0.12345, "share", "12.3 %"),
        (0.99949, "share", "99.9 %"),
        (0.9995, "share", "100 %"),
        (-1.5, "signed", "-1.50"),
        (-1e10, "signed", "-1e10"),
        (-np.inf, "signed", "-inf"),
        (99_999, "size", "99999.00"),
    ],
)
def test_numbers_are_short(value: float, scale: Scale, shown: str) -> None:
    assert number(value, scale) == shown


@given(st.text("ab词…", max_size=30), st.integers(1, 20))
def test_cut_truncates_a_label_to_its_columns(label: str, columns: int) -> None:
    short = cut(label, columns)
    assert width(short) <= columns
    assert short == label or short.endswith("…")
