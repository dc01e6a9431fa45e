"""The colours of figures. Python and the page read them from the same file."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.panels import Scale, signed_limit
from cutaway.numerics import FloatArray

_FILE = Path(__file__).with_name("colours.json")


@cache
def colours() -> dict[str, str | list[str]]:
    """Load colours.json: two scales and the colours of heads as lists, and named colours.

    >>> sorted(name for name, colour in colours().items() if isinstance(colour, list))
    ['heads', 'sequential', 'signed']
    """
    table: dict[str, str | list[str]] = json.loads(_FILE.read_text(encoding="utf-8"))
    return table


def named_colour(name: str) -> str:
    """Return the colour with that name, as #rrggbb.

    >>> named_colour("masked")
    '#d3d6db'
    """
    colour = colours()[name]
    assert isinstance(colour, str), name
    return colour


def head_colour(head: int) -> str:
    """Return the colour of a head, as #rrggbb; every eighth has the same.

    >>> head_colour(0) == head_colour(8)
    True
    """
    table = colours()["heads"]
    return table[head % len(table)]


@cache
def scale_table(name: str) -> NDArray[np.uint8]:
    """Interpolate the 256 colours (256, 3) of "sequential" or "signed" between those in the file.

    >>> scale_table("sequential").shape
    (256, 3)
    """
    stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in colours()[name]], np.float64)
    places = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(places, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def is_masked(values: FloatArray) -> NDArray[np.bool_]:
    """Find masked scores: -1e10, or minus infinity as the article draws them.

    >>> is_masked(np.array([0.5, -1e10, -np.inf], np.float32)).tolist()
    [False, True, True]
    """
    return ~(np.isfinite(values) & (values > -1e9))


def shades(values: FloatArray, scale: Scale) -> NDArray[np.uint8]:
    """Place each number on the scale, 0 to 255: a share by its square root, others linearly. A number that is masked or
    not finite is at the lower end.

    >>> shades(np.array([0, 0.25, 1], np.float32), "share").tolist()
    [0, 128, 255]
    """
    usable = ~is_masked(values)
    if scale == "share":
        part = np.sqrt(np.clip(values, 0, 1))
    elif scale == "signed":
        limit = signed_limit(values[usable])
        part = (values / limit + 1) / 2
    else:
        seen = values[usable]
        low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
        part = (values - low) / ((high - low) or 1.0)
    levels: NDArray[np.uint8] = np.rint(255 * np.clip(np.where(usable, part, 0), 0, 1)).astype(np.uint8)
    return levels


def scale_ends(values: FloatArray, scale: Scale) -> tuple[float, float]:
    """Return the numbers at the two ends of the scale for these values, some of which must be unmasked.

    >>> scale_ends(np.array([-0.5, 2], np.float32), "signed")
    (-2.0, 2.0)
    """
    if scale == "share":
        return 0.0, 1.0
    seen = values[~is_masked(values)]
    if scale == "signed":
        limit = signed_limit(seen)
        return -limit, limit
    return float(seen.min()), float(seen.max())


def scale_colours(scale: Scale) -> NDArray[np.uint8]:
    """Return the colours (1, 256, 3) from one end of a scale to the other, by the size of the number.

    >>> scale_colours("share").shape
    (1, 256, 3)
    """
    places = np.linspace(0, 1, 256)
    table = scale_table("signed" if scale == "signed" else "sequential")
    colours: NDArray[np.uint8] = table[np.rint(255 * (np.sqrt(places) if scale == "share" else places)).astype(int)]
    return colours[None]


def paint(values: FloatArray, scale: Scale) -> NDArray[np.uint8]:
    """Colour each number: (..., 3); masked numbers are grey.

    >>> paint(np.array([[0, -1e10]], np.float32), "size").tolist()
    [[[252, 253, 191], [211, 214, 219]]]
    """
    table = scale_table("signed" if scale == "signed" else "sequential")
    painted: NDArray[np.uint8] = table[shades(values, scale)]
    grey = np.array([int(named_colour("masked")[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    painted[is_masked(values)] = grey
    return painted
