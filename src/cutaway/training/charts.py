"""Line charts, independent of the output format: lines in data coordinates, axis ranges, and readable ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A line through points (n,). `y` is the smoothed curve of the values `raw` (n,), which are drawn faintly. `low`
    and `high` (n,) are the edges of a band around it. `colour` is an index into the palette. `marked` draws a dot at
    each point, to distinguish lines of one colour. A line without a label is left out of the legend.
    """

    label: str
    x: Points
    y: Points
    colour: int = 0
    marked: bool = False
    raw: Points | None = None
    low: Points | None = None
    high: Points | None = None


@dataclass(frozen=True)
class Axis:
    """The range and scale of an axis, and its ticks: values with their labels."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def places(self, values: Points) -> Points:
        """Map values to positions along the axis, from 0 at its low end to 1 at its high end.

        >>> Axis("share", 1.0, 100.0, (), logarithmic=True).places(np.array([1.0, 10.0, 100.0]))
        array([0. , 0.5, 1. ])
        """
        if self.logarithmic:
            return np.log(values / self.low) / math.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Chart:
    """Lines over two axes. `height` is the chart's share of a figure, 1 for a main chart."""

    title: str
    lines: tuple[Line, ...]
    x: Axis
    y: Axis
    height: float = 1.0

    @property
    def heading(self) -> str:
        """The title, with the unit of the y axis if it has one."""
        return f"{self.title}, {self.y.label}" if self.y.label else self.title


def linear_axis(label: str, values: Points, count: int = 5, margin: float = 0.0) -> Axis:
    """Make an axis that holds all values, with about `count` ticks. `margin` widens both ends by a share of the range.

    >>> linear_axis("step", np.array([0.0, 1000.0])).ticks
    ((0.0, '0'), (200.0, '200'), (400.0, '400'), (600.0, '600'), (800.0, '800'), (1000.0, '1,000'))
    """
    low = float(values.min(initial=math.inf))
    high = float(values.max(initial=-math.inf))
    if not low < high:  # one distinct value, or none
        middle = low if math.isfinite(low) else 0.0
        reach = abs(middle) / 2 or 1.0
        low = middle - reach
        high = middle + reach
    room = margin * (high - low)
    return Axis(label, low - room, high + room, _ticks(low - room, high + room, count))


def logarithmic_axis(label: str, ticks: Sequence[tuple[float, str]]) -> Axis:
    """Make a logarithmic axis from its first tick to its last.

    >>> logarithmic_axis("share of the data", [(0.01, "1 %"), (1.0, "100 %")]).high
    1.0
    """
    places = [place for place, _ in ticks]
    low = min(places)
    high = max(places)
    return Axis(label, low, high if high > low else 10 * low, tuple(ticks), logarithmic=True)


def _ticks(low: float, high: float, count: int) -> tuple[tuple[float, str], ...]:
    """Return round ticks between `low` and `high`: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    if first > last:  # no multiple of the step may lie in the range
        return _ticks(low, high, count + 1)
    return tuple((i * step, tick_label(i * step, step)) for i in range(first, last + 1))


def tick_label(value: float, step: float) -> str:
    """Format a tick with enough digits to distinguish it from its neighbours, `step` away.

    >>> tick_label(2.5, 0.5), tick_label(0.0006, 0.0002), tick_label(40000, 20000)
    ('2.5', '6e-4', '40,000')
    """
    if value == 0:
        return "0"
    if abs(step) >= 0.001:
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return f"{value:,.{decimals}f}"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    decimals = max(0, power - math.floor(math.log10(step) + 1e-9))
    return f"{value / 10.0**power:.{decimals}f}e{power}"


def thinned(count: int, most: int) -> NDArray[np.int64]:
    """Choose at most `most` of `count` indices, evenly spaced, including the first and the last.

    >>> thinned(10, 4).tolist(), thinned(3, 4).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.unique(np.rint(np.linspace(0, count - 1, min(count, most))).astype(np.int64))
