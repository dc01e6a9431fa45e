"""Figures as one self-contained SVG file, readable on light and dark backgrounds."""

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.colours import named_colour
from cutaway.figures.labels import number, short
from cutaway.figures.panels import (
    Arcs,
    Bars,
    Box,
    Drawing,
    Grid,
    Label,
    Line,
    Note,
    Number,
    Panel,
    Roll,
    Table,
    localize,
)
from cutaway.figures.render.svg_grid import draw_grid
from cutaway.figures.render.svg_marks import (
    CHAR,
    LABELS,
    LINE,
    Fragment,
    cell_attributes,
    number_attributes,
    text_element,
)
from cutaway.figures.render.svg_roll import draw_roll
from cutaway.figures.render.text import entry, numeric_columns
from cutaway.layout import percent, width, wrap_prose

PAGE = 100  # line length of prose, in characters
BAR = 320  # pixels of the longest bar, or of both sides if bars extend to both sides of 0

# Every rule names the root's class, so that it does not restyle other pictures in the same page. The background is
# painted because an image cannot know the colour of the page behind it.
LIGHT = {
    "text": "font:12px ui-monospace,Menlo,Consolas,monospace;fill:#1f2430;white-space:pre",
    ".title": "font-weight:600",
    ".quiet": "fill:#5a6272",
    ".good": "fill:#1e6b42",
    ".bad": "fill:#a3262c",
    ".frame": "fill:none;stroke:#6b7280",
    ".on-dark": "fill:#fff",
    ".paper": "fill:#fbfaf8",
}
DARK = {
    "text": "fill:#e6e8ee",
    ".quiet": "fill:#a3abba",
    ".good": "fill:#79d3a0",
    ".bad": "fill:#ff9a9a",
    ".on-light": "fill:#1f2430",
    ".paper": "fill:#15171c",
}


def _rules(styles: dict[str, str]) -> str:
    return "".join(f".cutaway-figure {what}{{{style}}}" for what, style in styles.items())


STYLE = f"{_rules(LIGHT)}@media(prefers-color-scheme:dark){{{_rules(DARK)}}}"


def draw_svg(title: str, panels: Sequence[Panel], language: str, verdict: str = "", *, holds: bool = True) -> str:
    """Render the panels from top to bottom, and the check's verdict below them, as one SVG file.

    >>> from cutaway.figures.panels import LocalizedText
    >>> svg = draw_svg("F99", [Note(LocalizedText("a note", "说明"))], "zh")
    >>> "说明" in svg, "a note" in svg
    (True, False)
    """
    pieces = [_draw(panel, language) for panel in panels]
    if verdict:
        pieces.append(_prose(verdict, "good" if holds else "bad"))
    y = 34.0
    body = [text_element(12, 20, title, "title")]
    for piece in pieces:
        body.append(f'<g transform="translate(12,{y:g})">{piece.markup}</g>')
        y += piece.height + 16
    wide = max([width(title) * CHAR, *(piece.width for piece in pieces)]) + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cutaway-figure" viewBox="0 0 {wide:g} {y:g}" '
        f'width="{wide:g}" height="{y:g}" role="img" aria-label={quoteattr(title)}><style>{STYLE}</style>'
        f'<rect class="paper" width="{wide:g}" height="{y:g}"/>{"".join(body)}</svg>\n'
    )


def _draw(panel: Panel, language: str) -> Fragment:
    if isinstance(panel, Note):
        return _prose(localize(panel.words, language))
    if isinstance(panel, Grid):
        piece = draw_grid(panel, language)
    elif isinstance(panel, Bars):
        piece = _bars(panel)
    elif isinstance(panel, Arcs):
        piece = _arcs(panel)
    elif isinstance(panel, Roll):
        piece = draw_roll(panel, language)
    elif isinstance(panel, Table):
        piece = _table(panel, language)
    else:
        piece = _drawing(panel, language)
    return _under(localize(panel.title, language), piece)


def _under(title: str, piece: Fragment) -> Fragment:
    moved = f'{text_element(0, 12, title)}<g transform="translate(0,20)">{piece.markup}</g>'
    return Fragment(moved, max(piece.width, width(title) * CHAR), piece.height + 20)


def _prose(prose: str, name: str = "") -> Fragment:
    lines = wrap_prose(prose, PAGE)
    markup = "".join(text_element(0, 12 + i * LINE, line, name) for i, line in enumerate(lines))
    return Fragment(markup, max(width(line) for line in lines) * CHAR, len(lines) * LINE)


def _bars(bars: Bars) -> Fragment:
    values = bars.cells.values
    flat = values.reshape(-1)
    across = values.shape[1]
    both_sides = bool((flat < 0).any())
    zero = LABELS + (BAR / 2 if both_sides else 0)
    unit = (BAR / 2 if both_sides else BAR) / bars.limit
    marks = []
    for i, value in enumerate(flat):
        y = i * 22
        length = max(1.0, unit * abs(float(value)))
        fill = named_colour("score" if i in bars.marked else "token")
        number_of = cell_attributes(bars.cells, *divmod(i, across))
        shown = percent(float(value)) if bars.scale == "share" else number(float(value), bars.scale)
        x = zero - length if value < 0 else zero
        marks.append(text_element(LABELS - 6, y + 14, short(bars.labels[i]), anchor="end"))
        marks.append(f'<rect x="{x:g}" y="{y + 2}" width="{length:g}" height="16" fill="{fill}" {number_of}/>')
        marks.append(text_element(LABELS + BAR + 6 if both_sides else zero + length + 6, y + 14, shown, "quiet"))
    return Fragment("".join(marks), LABELS + BAR + 80, 22 * len(flat))


def _arcs(arcs: Arcs) -> Fragment:
    """Draw the text on one line, with a curve from the query to each token that it attends to."""
    starts = np.cumsum([0.0, *(max(5, width(token)) * CHAR + 12 for token in arcs.tokens)])  # 5 for the weight below
    middle = (starts[:-1] + starts[1:] - 12) / 2
    weights = arcs.cells.values.reshape(-1)
    top = 20 + float(np.abs(middle[: len(weights)] - middle[arcs.query]).max(initial=0)) / 4
    lines = [int(i) for i in np.flatnonzero(weights) if i != arcs.query]
    marks = [_arc(arcs, i, float(weights[i]), middle, top) for i in lines]
    for i, token in enumerate(arcs.tokens):
        marks.append(text_element(float(middle[i]), top + 18, token, "title" if i == arcs.query else "", "middle"))
        if i < len(weights):
            marks.append(text_element(float(middle[i]), top + 34, percent(float(weights[i]), 0), "quiet", "middle"))
    return Fragment("".join(marks), float(starts[-1]), top + 42)


def _arc(arcs: Arcs, i: int, weight: float, middle: NDArray[np.float64], top: float) -> str:
    begin = float(middle[arcs.query])
    end = float(middle[i])
    lift = top - abs(begin - end) / 3  # the curve rises to three quarters of this
    opacity = 0.2 + 0.8 * weight**0.5
    return (
        f'<path d="M{begin:.1f} {top:.1f}C{begin:.1f} {lift:.1f} {end:.1f} {lift:.1f} {end:.1f} {top:.1f}" fill="none" '
        f'stroke="{named_colour("score")}" stroke-width="{0.3 + 9 * weight:.2f}" opacity="{opacity:.2f}" '
        f"{cell_attributes(arcs.cells, 0, i)}/>"
    )


def _table(table: Table, language: str) -> Fragment:
    rows = [[entry(cell, language) for cell in row] for row in table.rows]
    lines = [[localize(heading, language) for heading in table.columns], *rows]
    widths = [max(width(row[i]) for row in lines) * CHAR + 18 for i in range(len(table.columns))]
    starts = np.cumsum([0.0, *widths])
    marks = []
    for y, line in enumerate(lines):
        for i, (shown, right) in enumerate(zip(line, numeric_columns(table), strict=True)):
            x = float(starts[i + 1]) - 18 if right else float(starts[i])
            mark = text_element(x, 12 + y * LINE, shown, "" if y else "quiet", "end" if right else "start")
            cell = table.rows[y - 1][i] if y else ""
            marks.append(
                f"<g {number_attributes(cell.tensor, cell.index)}>{mark}</g>" if isinstance(cell, Number) else mark
            )
    return Fragment("".join(marks), float(starts[-1]), len(lines) * LINE)


def _drawing(drawing: Drawing, language: str) -> Fragment:
    marks = [_shape(shape, language) for shape in drawing.shapes]
    edges = [_edges(shape, language) for shape in drawing.shapes]
    return Fragment("".join(marks), max(x for x, _ in edges) * CHAR + 8, max(y for _, y in edges) * LINE + 8)


def _shape(shape: Box | Line | Label, language: str) -> str:
    if isinstance(shape, Box):
        return _box(shape, language)
    if isinstance(shape, Line):
        return _line(shape)
    return text_element(shape.x * CHAR, shape.y * LINE + 13, localize(shape.text, language))


def _edges(shape: Box | Line | Label, language: str) -> tuple[int, int]:
    """Return the first column and the first line after the shape."""
    if isinstance(shape, Box):
        return shape.x + shape.width, shape.y + shape.height
    if isinstance(shape, Line):
        return max(shape.x, shape.to_x) + 1, max(shape.y, shape.to_y) + 1
    return shape.x + width(localize(shape.text, language)), shape.y + 1


def _box(box: Box, language: str) -> str:
    x = box.x * CHAR
    y = box.y * LINE
    wide = box.width * CHAR
    high = box.height * LINE
    colour = named_colour(box.colour)
    middle = text_element(x + wide / 2, y + high / 2 + 4, entry(box.text, language), anchor="middle")
    if isinstance(box.text, Number):
        middle = f"<g {number_attributes(box.text.tensor, box.text.index)}>{middle}</g>"
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="4" fill="{colour}" '
        f'fill-opacity="0.15" stroke="{colour}"/>{middle}'
    )


def _line(line: Line) -> str:
    x = (line.x + 0.5) * CHAR
    y = (line.y + 0.5) * LINE
    to_x = (line.to_x + 0.5) * CHAR
    to_y = (line.to_y + 0.5) * LINE
    path = f'<path class="frame" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>'
    if not line.arrow:
        return path
    along = np.sign(to_x - x) * 6
    across = np.sign(to_y - y) * 6
    corner = f"M{to_x:.1f} {to_y:.1f}l{-along - across / 2:.1f} {-across - along / 2:.1f}"
    other = f"M{to_x:.1f} {to_y:.1f}l{-along + across / 2:.1f} {-across + along / 2:.1f}"
    return path + f'<path class="frame" d="{corner}{other}"/>'
