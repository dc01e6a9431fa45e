"""Charts in a terminal, drawn with braille characters of 2 by 4 dots."""

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from cutaway.layout import width
from cutaway.training.charts import Chart, Line, Points

ROWS = 14  # of a main chart's plot, in characters
DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)  # by row and column of a cell
BRAILLE = 0x2800
COLOURS = ("34", "33", "32", "35", "36", "31")  # parameters of the terminal's SGR sequence, in the palette's order
FAINT = "2"

Style = Callable[[str, str], str]  # maps a text and an SGR parameter to styled text


def draw_text(chart: Chart, columns: int, style: Style | None = None) -> list[str]:
    """Render a chart as lines of at most `columns` columns. A `style` adds colours to lines, and raw points.

    A letter at the right edge names each labelled line, so that lines can be told apart without colours.

    >>> from cutaway.training.charts import linear_axis
    >>> x = np.array([0.0, 1.0])
    >>> chart = Chart("Loss", (Line("a", x, x),), linear_axis("step", x, 1), linear_axis("nats", x, 1), height=0.3)
    >>> print("\\n".join(draw_text(chart, 20)))
    Loss, nats
    1 ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⢀⡠⠔⠊ A
      │⠀⠀⠀⠀⠀⠀⠀⢀⡠⠔⠊⠁⠀⠀⠀
      │⠀⠀⠀⢀⡠⠔⠊⠁⠀⠀⠀⠀⠀⠀⠀
    0 ┤⡠⠔⠊⠁⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀
      └┬─────────────┬
       0             1
            step
    A a
    """
    named = [line for line in chart.lines if line.label]
    letters = {id(line): chr(ord("A") + i % 26) for i, line in enumerate(named)}
    labels = _row_labels(chart)
    before = max(map(width, labels))
    across = max(8, columns - before - 3 - len(named))
    dots = _Dots(across, len(labels))
    for line in chart.lines if style else ():
        dots.draw_raw(chart, line)
    for line in chart.lines:
        dots.draw_course(chart, line)
    rows = []
    for row, label in enumerate(labels):
        ends = "".join(
            _styled(letters[id(line)], line, style) for line in named if _last_row(chart, line, labels) == row
        )
        rows.append(f"{label:>{before}} {'┤' if label else '│'}{dots.row(row, style)} {ends}".rstrip())
    legend = [f"{_styled(letters[id(line)], line, style)} {line.label}" for line in named]
    return [chart.heading, *rows, *_x_axis(chart, before + 1, across), *legend]


def _styled(text: str, line: Line, style: Style | None) -> str:
    return style(text, COLOURS[line.colour % len(COLOURS)]) if style else text


def _row_labels(chart: Chart) -> list[str]:
    """Return the tick label of each row, or ""."""
    labels = [""] * max(3, round(ROWS * chart.height))
    for value, label in chart.y.ticks:
        labels[_row_of(chart, value, len(labels))] = label
    return labels


def _row_of(chart: Chart, value: float, rows: int) -> int:
    place = float(chart.y.places(np.array([value]))[0])
    return min(rows - 1, max(0, int((1 - place) * rows)))


def _last_row(chart: Chart, line: Line, labels: Sequence[str]) -> int:
    return _row_of(chart, float(line.y[-1]), len(labels)) if len(line.y) else -1


def _x_axis(chart: Chart, before: int, across: int) -> list[str]:
    """Render the x axis with ticks, tick labels and its label. Tick labels that would touch are left out."""
    rule = ["─"] * across
    labels = ""
    for value, label in chart.x.ticks:
        column = min(across - 1, int(float(chart.x.places(np.array([value]))[0]) * across))
        start = max(0, min(before + 1 + column - width(label) // 2, before + 1 + across - width(label)))
        if not labels or start > width(labels):
            labels = labels.ljust(start) + label
            rule[column] = "┬"
    middle = before + 1 + (across - width(chart.x.label)) // 2
    return [" " * before + "└" + "".join(rule), labels, " " * middle + chart.x.label]


class _Dots:
    """A grid of braille characters, each in the colour of the line drawn last in it."""

    def __init__(self, across: int, rows: int) -> None:
        self._bits = np.zeros((rows, across), np.uint8)
        self._ink = np.full((rows, across), "", dtype="<U2")

    def draw_raw(self, chart: Chart, line: Line) -> None:
        if line.raw is not None:
            self._draw(self._columns(chart, line.x), self._rows(chart, line.raw), FAINT)

    def draw_course(self, chart: Chart, line: Line) -> None:
        """Draw the line, joining each column to the previous one."""
        if not len(line.x):
            return
        columns = self._columns(chart, line.x)
        first = max(0.0, np.rint(columns[0]))
        last = min(2.0 * self._bits.shape[1] - 1, np.rint(columns[-1]))
        every = np.arange(first, last + 1)
        rows = np.rint(np.interp(every, columns, self._rows(chart, line.y)))
        rows = np.clip(rows, -1, 4 * self._bits.shape[0])  # values outside the plot are clipped to just outside
        colour = COLOURS[line.colour % len(COLOURS)]
        for column, row, previous in zip(every, rows, np.append(rows[:1], rows[:-1]), strict=True):
            joint = np.arange(min(previous + 1, row), max(previous - 1, row) + 1)
            self._draw(np.full(len(joint), column), joint, colour)

    def row(self, row: int, style: Style | None) -> str:
        text = "".join(chr(BRAILLE + int(bits)) for bits in self._bits[row])
        if style is None:
            return text
        runs = groupby(range(len(text)), key=lambda column: str(self._ink[row, column]))
        return "".join(self._run(text, list(run), ink, style) for ink, run in runs)

    def _run(self, text: str, run: list[int], ink: str, style: Style) -> str:
        part = text[run[0] : run[-1] + 1]
        return style(part, ink) if ink else part

    def _columns(self, chart: Chart, x: Points) -> Points:
        places: Points = chart.x.places(x) * (2 * self._bits.shape[1] - 1)
        return places

    def _rows(self, chart: Chart, y: Points) -> Points:
        places: Points = (1 - chart.y.places(y)) * (4 * self._bits.shape[0] - 1)
        return places

    def _draw(self, columns: Points, rows: Points, ink: str) -> None:
        """Set the dots that lie in the plot."""
        x = np.rint(columns).astype(int)
        y = np.rint(rows).astype(int)
        inside = (y >= 0) & (y < 4 * self._bits.shape[0]) & (x >= 0) & (x < 2 * self._bits.shape[1])
        cells = y[inside] // 4, x[inside] // 2
        np.bitwise_or.at(self._bits, cells, DOT_BITS[y[inside] % 4, x[inside] % 2])
        self._ink[cells] = ink
