"""The colours that Python and the page share."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cutaway.engines.reference import MASKED
from cutaway.figures.colours import colours, named_colour, paint, scale_table, shades
from cutaway.figures.panels import Scale
from cutaway.numerics import FloatArray

SCALES: tuple[Scale, ...] = ("share", "signed", "size")


def luminance(rgb: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    """Relative luminance, 0 to 1, as WCAG has it."""
    channels = rgb / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_every_colour_is_six_hexadecimal_digits() -> None:
    for colour in colours().values():
        for stop in [colour] if isinstance(colour, str) else colour:
            assert re.fullmatch("#[0-9a-f]{6}", stop)


def test_scales_begin_and_end_with_the_colours_of_the_file() -> None:
    for name in ("sequential", "signed"):
        table = scale_table(name)
        assert table.shape == (256, 3)
        ends = ["#" + bytes(row).hex() for row in (table[0], table[-1])]
        assert ends == [colours()[name][0], colours()[name][-1]]


def test_larger_values_are_darker() -> None:
    lights = [luminance(colour) for colour in scale_table("sequential")]
    assert all(darker <= lighter + 1e-3 for lighter, darker in pairwise(lights))


def test_zero_is_lightest_on_a_signed_scale() -> None:
    lights = [luminance(colour) for colour in scale_table("signed")]
    assert 126 <= int(np.argmax(lights)) <= 129


# All but the grey of a masked cell: it is the absence of a number, and is not to stand out from the page.
LINES = [name for name, colour in colours().items() if isinstance(colour, str) and name != "masked"]


@pytest.mark.parametrize("name", LINES)
def test_named_colours_contrast_with_white_and_black(name: str) -> None:
    rgb = np.frombuffer(bytes.fromhex(named_colour(name)[1:]), np.uint8)
    light = luminance(rgb)
    assert 1.05 / (light + 0.05) >= 3
    assert (light + 0.05) / 0.05 >= 3


def test_masked_cells_are_grey_with_dark_numbers() -> None:
    grey = np.frombuffer(bytes.fromhex(named_colour("masked")[1:]), np.uint8)
    assert np.ptp(grey.astype(int)) < 12
    assert (luminance(grey) + 0.05) / (luminance(np.array([0x1F, 0x24, 0x30], np.uint8)) + 0.05) >= 4.5
    assert (paint(np.array([0, MASKED, -np.inf], np.float32), "signed")[1:] == grey).all()


def test_shares_are_coloured_by_their_square_root() -> None:
    assert shades(np.array([0, 0.01, 0.25, 1], np.float32), "share").tolist() == [0, 26, 128, 255]


def test_zero_is_in_the_middle_of_a_signed_scale() -> None:
    assert shades(np.array([-2, 0, 1, 2], np.float32), "signed").tolist() == [0, 128, 191, 255]


def test_the_size_scale_runs_from_the_smallest_to_the_largest() -> None:
    assert shades(np.array([10, 15, 20], np.float32), "size").tolist() == [0, 128, 255]
    assert shades(np.array([3, 3], np.float32), "size").tolist() == [0, 0]


@pytest.mark.parametrize("scale", SCALES)
def test_masked_and_non_finite_values_are_at_the_lower_end(scale: Scale) -> None:
    values = np.array([-1, 0.5, 1, MASKED, -np.inf, np.inf, np.nan], np.float32)
    assert shades(values, scale)[3:].tolist() == [0, 0, 0, 0]
    assert shades(values[3:], scale).tolist() == [0, 0, 0, 0]


@given(arrays(np.float32, st.integers(1, 30), elements=st.floats(-100, 100, width=32)), st.sampled_from(SCALES))
def test_shades_are_monotonic(values: FloatArray, scale: Scale) -> None:
    levels = shades(np.sort(values), scale)
    assert (np.diff(levels.astype(int)) >= 0).all()
    assert (paint(np.sort(values), scale) == scale_table("signed" if scale == "signed" else "sequential")[levels]).all()
