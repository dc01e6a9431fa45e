"""Charts as one self-contained SVG file, readable on light and dark backgrounds."""

from collections.abc import Callable, Sequence
from xml.sax.saxutils import quoteattr

import numpy as np

from cutaway.figures.render.svg_marks import text_element
from cutaway.layout import width
from cutaway.training.charts import Chart, Line, Points, thinned

WIDTH = 760
LEFT = 64  # margin for the tick labels of the y axis
RIGHT = 30
HEIGHT = 300  # of a main chart's plot
ABOVE = 30  # for a chart's title
BELOW = 46  # for tick labels and the x axis's label
CHAR = 6.6  # average width of a character at 12 px
MOST_POINTS = 1200
MOST_RAW = 2000
MOST_DOTS = 60

# Distinct for most colour-blind readers. Each pair holds the colours for a light and for a dark background.
COLOURS = (
    ("#2271b2", "#63b3ed"),
    ("#d55e00", "#f6a15b"),
    ("#2c8a57", "#6fcf97"),
    ("#b0418f", "#e58fc9"),
    ("#6b5bb5", "#b3a5f2"),
    ("#7a6a00", "#d9c45a"),
)

# Every rule names the root's class, so that it does not restyle other pictures in the same page. The background is
# painted because an image cannot know the colour of the page behind it.
LIGHT = {
    "text": "font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1f2430",
    ".title": "font-size:15px;font-weight:600",
    ".panel": "font-weight:600",
    ".quiet": "fill:#5a6272",
    ".paper": "fill:#fbfaf8",
    ".grid": "stroke:#e3e1dc;fill:none",
    ".axis": "stroke:#6b7280;fill:none",
}
DARK = {
    "text": "fill:#e6e8ee",
    ".quiet": "fill:#a3abba",
    ".paper": "fill:#15171c",
    ".grid": "stroke:#2b2f38",
    ".axis": "stroke:#8a93a3",
}


def _rules(styles: dict[str, str], shade: int) -> str:
    coloured = {f".c{i}": f"color:{pair[shade]}" for i, pair in enumerate(COLOURS)}
    return "".join(f".cutaway-chart {what}{{{style}}}" for what, style in (styles | coloured).items())


STYLE = f"{_rules(LIGHT, 0)}@media(prefers-color-scheme:dark){{{_rules(DARK, 1)}}}"


def draw_svg(title: str, charts: Sequence[Chart]) -> str:
    """Render charts under one another, with one legend above them, as one SVG file.

    >>> from cutaway.training.charts import linear_axis
    >>> x = np.array([0.0, 1.0])
    >>> chart = Chart("Loss", (Line("training", x, x),), linear_axis("step", x), linear_axis("nats", x))
    >>> draw_svg("A run", [chart]).startswith("<svg")
    True
    """
    legend, y = _legend([line for chart in charts for line in chart.lines])
    body = [text_element(16, 26, title, "title"), *legend]
    for chart in charts:
        body.append(f'<g transform="translate({LEFT},{y + ABOVE:g})">{_chart(chart)}</g>')
        y += ABOVE + HEIGHT * chart.height + BELOW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cutaway-chart" viewBox="0 0 {WIDTH} {y:g}" width="{WIDTH}" '
        f'height="{y:g}" role="img" aria-label={quoteattr(title)}><style>{STYLE}</style>'
        f'<rect class="paper" width="{WIDTH}" height="{y:g}"/>{"".join(body)}</svg>\n'
    )


def _legend(lines: Sequence[Line]) -> tuple[list[str], float]:
    """Lay out the labelled lines in rows; return the elements and the y below them."""
    marks = []
    x = 16.0
    y = 48.0
    for line in {line.label: line for line in lines if line.label}.values():
        wide = 34 + width(line.label) * CHAR + 14
        if x + wide > WIDTH and x > 16:
            x = 16.0
            y += 20
        dot = f'<circle cx="{x + 11:g}" cy="{y - 4:g}" r="3" fill="currentColor"/>' if line.marked else ""
        stroke = f'<path d="M{x:g} {y - 4:g}h22" fill="none" stroke="currentColor" stroke-width="2"/>'
        marks.append(f'<g class="{_colour(line)}">{stroke}{dot}</g>{text_element(x + 28, y, line.label)}')
        x += wide
    return marks, y + 14 if marks else 40.0


def _colour(line: Line) -> str:
    return f"c{line.colour % len(COLOURS)}"


def _chart(chart: Chart) -> str:
    """Draw a chart whose plot has its upper left corner at (0, 0)."""
    across = WIDTH - LEFT - RIGHT
    down = HEIGHT * chart.height
    marks = [text_element(16 - LEFT, -12, chart.heading, "panel")]
    for (_, label), place in zip(chart.y.ticks, _tick_places(chart.y.places, chart.y.ticks), strict=True):
        y = down * (1 - place)
        marks.append(f'<path class="grid" d="M0 {y:.1f}h{across}"/>')
        marks.append(text_element(-8, round(y + 4, 1), label, "quiet", "end"))
    for (_, label), place in zip(chart.x.ticks, _tick_places(chart.x.places, chart.x.ticks), strict=True):
        x = across * place
        marks.append(f'<path class="axis" d="M{x:.1f} {down:g}v5"/>')
        marks.append(text_element(round(x, 1), down + 19, label, "quiet", "middle"))
    marks.append(f'<path class="axis" d="M0 {down:g}h{across}"/>')
    marks.append(text_element(across / 2, down + 38, chart.x.label, "quiet", "middle"))
    for draw in (_band, _raw_points, _course):  # later elements are drawn on top
        marks += [f'<g class="{_colour(line)}">{draw(chart, line, across, down)}</g>' for line in chart.lines]
    return "".join(marks)


def _tick_places(places: Callable[[Points], Points], ticks: Sequence[tuple[float, str]]) -> list[float]:
    return [float(place) for place in places(np.array([value for value, _ in ticks], np.float64))]


def _points(chart: Chart, x: Points, y: Points, across: float, down: float) -> list[str]:
    """Return the coordinates of the points that lie in the plot."""
    right = chart.x.places(x)
    up = chart.y.places(y)
    inside = (up >= -0.001) & (up <= 1.001)
    return [f"{across * a:.1f} {down * (1 - b):.1f}" for a, b in zip(right[inside], up[inside], strict=True)]


def _band(chart: Chart, line: Line, across: float, down: float) -> str:
    if line.low is None or line.high is None:
        return ""
    edge = _points(chart, np.append(line.x, line.x[::-1]), np.append(line.high, line.low[::-1]), across, down)
    return f'<path d="M{"L".join(edge)}Z" fill="currentColor" opacity=".18"/>' if edge else ""


def _raw_points(chart: Chart, line: Line, across: float, down: float) -> str:
    if line.raw is None:
        return ""
    chosen = thinned(len(line.x), MOST_RAW)
    dots = "".join(f"M{point}h0" for point in _points(chart, line.x[chosen], line.raw[chosen], across, down))
    attributes = 'fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" opacity=".25"'
    return f'<path d="{dots}" {attributes}/>' if dots else ""


def _course(chart: Chart, line: Line, across: float, down: float) -> str:
    chosen = thinned(len(line.x), MOST_POINTS)
    points = _points(chart, line.x[chosen], line.y[chosen], across, down)
    if not points:
        return ""
    course = (
        f'<path d="M{"L".join(points)}" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round"/>'
    )
    if not line.marked or len(points) > MOST_DOTS:
        return course
    pairs = (point.split() for point in points)
    return course + "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="currentColor"/>' for x, y in pairs)
