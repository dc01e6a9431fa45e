"""Figures as SVG: one file that stands alone, readable on white and on black."""

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.colours import named_colour, paint
from cutaway.figures.content import Arcs, Bars, Box, Cells, Drawing, Grid, Label, Line, Note, Number, Panel, Table
from cutaway.figures.text import cut, entry, number, numeric_columns, plain, short, wrap_prose
from cutaway.layout import width

CHAR, LINE = 7.3, 18  # of the 12 px monospaced face: a character's width, and the distance of lines
PAGE = 100  # characters that prose may have on a line
LABELS = 112  # pixels for the labels of rows
BAR = 320  # pixels of the longest bar, or of two on either side of 0
MOST_RECTANGLES = 2000  # a larger grid is one picture, a pixel for each cell
LEAST_NUMBERED = 30  # a cell must be so wide to hold its number

STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#1f2430;white-space:pre}"
    ".title{font-weight:600}.quiet{fill:#6b7280}.frame{fill:none;stroke:#6b7280}.on-dark{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.quiet{fill:#9ca3af}.on-light{fill:#1f2430}}"
)


@dataclass(frozen=True)
class Piece:
    """A part of the picture: its markup from (0, 0), and its size."""

    markup: str
    width: float
    height: float


def draw_svg(title: str, panels: Sequence[Panel], language: str) -> str:
    """The panels under one another, as one SVG file."""
    pieces = [_draw(panel, language) for panel in panels]
    y, body = 34.0, [_text(12, 20, title, "title")]
    for piece in pieces:
        body.append(f'<g transform="translate(12,{y:g})">{piece.markup}</g>')
        y += piece.height + 16
    wide = max([width(title) * CHAR, *(piece.width for piece in pieces)]) + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {y:g}" width="{wide:g}" height="{y:g}" '
        f'role="img" aria-label={quoteattr(title)}><style>{STYLE}</style>{"".join(body)}</svg>\n'
    )


def _draw(panel: Panel, language: str) -> Piece:
    if isinstance(panel, Note):
        lines = wrap_prose(plain(panel.words, language), PAGE)
        return Piece(_lines(lines), max(width(line) for line in lines) * CHAR, len(lines) * LINE)
    if isinstance(panel, Grid):
        piece = _grid(panel, language)
    elif isinstance(panel, Bars):
        piece = _bars(panel)
    elif isinstance(panel, Arcs):
        piece = _arcs(panel)
    elif isinstance(panel, Table):
        piece = _table(panel, language)
    else:
        piece = _drawing(panel, language)
    return _under(plain(panel.title, language), piece)


def _under(title: str, piece: Piece) -> Piece:
    moved = f'{_text(0, 12, title)}<g transform="translate(0,20)">{piece.markup}</g>'
    return Piece(moved, max(piece.width, width(title) * CHAR), piece.height + 20)


def _text(x: float, y: float, text: str, name: str = "", anchor: str = "start") -> str:
    kind = f' class="{name}"' if name else ""
    side = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}"{kind}{side}>{escape(text)}</text>'


def _lines(lines: Sequence[str]) -> str:
    return "".join(_text(0, 12 + i * LINE, line) for i, line in enumerate(lines))


def _where(cells: Cells, row: int, column: int) -> str:
    """The attributes that say which number is drawn."""
    index = ",".join(map(str, cells.index(row, column)))
    return f'data-tensor={quoteattr(cells.tensor)} data-index="{index}"'


def _grid(grid: Grid, language: str) -> Piece:
    values = grid.cells.values
    count, across = values.shape
    left, top = (LABELS if grid.rows else 0), (LINE if grid.columns else 0)
    if grid.row_axis and grid.column_axis:
        top += LINE
    size = max(1.0, min(56.0, 900 / across))
    high = min(size, 24.0) if size >= LEAST_NUMBERED or count == 1 else size
    high = max(high, min(16.0, 480 / count))  # few rows of many numbers can be read when they are high enough
    body = _picture(grid, size, high) if values.size > MOST_RECTANGLES else _rectangles(grid, size, high)
    labels = _labels(grid, language, size, high, left, top)
    return Piece(
        f'{labels}<g transform="translate({left},{top})">{body}</g>', left + size * across, top + high * count + 4
    )


def _labels(grid: Grid, language: str, size: float, high: float, left: float, top: float) -> str:
    marks = []
    if grid.row_axis and grid.column_axis:
        axes = f"↓ {plain(grid.row_axis, language)}   → {plain(grid.column_axis, language)}"
        marks.append(_text(0, 12, axes, "quiet"))
    every = max(1, round(14 / high))
    marks += [
        _text(left - 6, top + (i + 0.5) * high + 4, short(grid.rows[i]), anchor="end")
        for i in range(0, len(grid.rows), every)
    ]
    room = int(size / CHAR)
    for i, label in enumerate(grid.columns if room >= 2 else ()):
        marks.append(_text(left + (i + 0.5) * size, top - 5, cut(label, room), "quiet", "middle"))
    return "".join(marks)


def _rectangles(grid: Grid, size: float, high: float) -> str:
    colours = paint(grid.cells.values, grid.scale)
    marks = []
    for row, column in np.ndindex(*grid.cells.values.shape):
        x, y, rgb = column * size, row * high, colours[row, column]
        fill = "#" + "".join(f"{channel:02x}" for channel in rgb)
        where = _where(grid.cells, row, column)
        marks.append(f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{high:g}" fill="{fill}" {where}/>')
        if size >= LEAST_NUMBERED:
            shown = number(float(grid.cells.values[row, column]), grid.scale)
            tone = "on-light" if rgb @ np.array([0.3, 0.59, 0.11]) > 140 else "on-dark"
            marks.append(_text(x + size / 2, y + high / 2 + 4, shown, tone, "middle"))
    return "".join(marks)


def _picture(grid: Grid, size: float, high: float) -> str:
    pixels = paint(grid.cells.values, grid.scale)
    count, across = grid.cells.values.shape
    where = f'data-tensor={quoteattr(grid.cells.tensor)} data-index="{",".join(map(str, grid.cells.index(0, 0)))}"'
    data = base64.b64encode(png(pixels)).decode()
    return (
        f'<image width="{size * across:g}" height="{high * count:g}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{data}" {where}/>'
    )


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of RGB pixels (height, width, 3)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, across, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # filter 0 on each
    header = struct.pack(">IIBBBBB", across, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _bars(bars: Bars) -> Piece:
    values = bars.cells.values
    flat = values.reshape(-1)
    across = values.shape[1]
    both_sides = bool((flat < 0).any())
    zero = LABELS + (BAR / 2 if both_sides else 0)
    unit = (BAR / 2 if both_sides else BAR) / (float(np.abs(flat).max()) or 1.0)
    marks = []
    for i, value in enumerate(flat):
        y, length = i * 22, max(1.0, unit * abs(float(value)))
        fill = named_colour("score" if i in bars.marked else "token")
        where = _where(bars.cells, *divmod(i, across))
        shown = f"{value:.2%}" if bars.scale == "share" else number(float(value), bars.scale)
        x = zero - length if value < 0 else zero
        marks.append(_text(LABELS - 6, y + 14, short(bars.labels[i]), anchor="end"))
        marks.append(f'<rect x="{x:g}" y="{y + 2}" width="{length:g}" height="16" fill="{fill}" {where}/>')
        marks.append(_text(LABELS + BAR + 6 if both_sides else zero + length + 6, y + 14, shown, "quiet"))
    return Piece("".join(marks), LABELS + BAR + 80, 22 * len(flat))


def _arcs(arcs: Arcs) -> Piece:
    """The text on one line, with a curve from the query to each token that it looks at."""
    starts = np.cumsum([0.0, *(max(4, width(token)) * CHAR + 12 for token in arcs.tokens)])  # 4 for the weight below
    middle = (starts[:-1] + starts[1:] - 12) / 2
    weights = arcs.cells.values.reshape(-1)
    top = 20 + float(np.abs(middle[: len(weights)] - middle[arcs.query]).max(initial=0)) / 4
    lines = [int(i) for i in np.flatnonzero(weights) if i != arcs.query]
    marks = [_arc(arcs, i, float(weights[i]), middle, top) for i in lines]
    for i, token in enumerate(arcs.tokens):
        marks.append(_text(float(middle[i]), top + 18, token, "title" if i == arcs.query else "", "middle"))
        if i < len(weights):
            marks.append(_text(float(middle[i]), top + 34, f"{weights[i]:.2f}", "quiet", "middle"))
    return Piece("".join(marks), float(starts[-1]), top + 42)


def _arc(arcs: Arcs, i: int, weight: float, middle: NDArray[np.float64], top: float) -> str:
    begin, end = float(middle[arcs.query]), float(middle[i])
    lift = top - abs(begin - end) / 3  # the curve rises to three quarters of this
    opacity = 0.2 + 0.8 * weight**0.5
    return (
        f'<path d="M{begin:.1f} {top:.1f}C{begin:.1f} {lift:.1f} {end:.1f} {lift:.1f} {end:.1f} {top:.1f}" fill="none" '
        f'stroke="{named_colour("score")}" stroke-width="{0.3 + 9 * weight:.2f}" opacity="{opacity:.2f}" '
        f"{_where(arcs.cells, 0, i)}/>"
    )


def _table(table: Table, language: str) -> Piece:
    rows = [[entry(cell, language) for cell in row] for row in table.rows]
    lines = [[plain(heading, language) for heading in table.columns], *rows]
    widths = [max(width(row[i]) for row in lines) * CHAR + 18 for i in range(len(table.columns))]
    starts = np.cumsum([0.0, *widths])
    marks = []
    for y, line in enumerate(lines):
        for i, (shown, right) in enumerate(zip(line, numeric_columns(table), strict=True)):
            x = float(starts[i + 1]) - 18 if right else float(starts[i])
            mark = _text(x, 12 + y * LINE, shown, "" if y else "quiet", "end" if right else "start")
            cell = table.rows[y - 1][i] if y else ""
            marks.append(f"<g {_origin(cell)}>{mark}</g>" if isinstance(cell, Number) else mark)
    return Piece("".join(marks), float(starts[-1]), len(lines) * LINE)


def _origin(cell: Number) -> str:
    return f'data-tensor={quoteattr(cell.tensor)} data-index="{",".join(map(str, cell.index))}"'


def _drawing(drawing: Drawing, language: str) -> Piece:
    marks = [_shape(shape, language) for shape in drawing.shapes]
    edges = [_edges(shape, language) for shape in drawing.shapes]
    return Piece("".join(marks), max(x for x, _ in edges) * CHAR + 8, max(y for _, y in edges) * LINE + 8)


def _shape(shape: Box | Line | Label, language: str) -> str:
    if isinstance(shape, Box):
        return _box(shape, language)
    if isinstance(shape, Line):
        return _line(shape)
    return _text(shape.x * CHAR, shape.y * LINE + 13, plain(shape.text, language))


def _edges(shape: Box | Line | Label, language: str) -> tuple[int, int]:
    """The first column and line after the shape."""
    if isinstance(shape, Box):
        return shape.x + shape.width, shape.y + shape.height
    if isinstance(shape, Line):
        return max(shape.x, shape.to_x) + 1, max(shape.y, shape.to_y) + 1
    return shape.x + width(plain(shape.text, language)), shape.y + 1


def _box(box: Box, language: str) -> str:
    x, y, wide, high = box.x * CHAR, box.y * LINE, box.width * CHAR, box.height * LINE
    colour = named_colour(box.colour)
    middle = _text(x + wide / 2, y + high / 2 + 4, plain(box.text, language), anchor="middle")
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="4" fill="{colour}" '
        f'fill-opacity="0.15" stroke="{colour}"/>{middle}'
    )


def _line(line: Line) -> str:
    x, y, to_x, to_y = (
        (line.x + 0.5) * CHAR,
        (line.y + 0.5) * LINE,
        (line.to_x + 0.5) * CHAR,
        (line.to_y + 0.5) * LINE,
    )
    path = f'<path class="frame" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>'
    if not line.arrow:
        return path
    along, across = (np.sign(to_x - x) * 6, np.sign(to_y - y) * 6)
    corner = f"M{to_x:.1f} {to_y:.1f}l{-along - across / 2:.1f} {-across - along / 2:.1f}"
    other = f"M{to_x:.1f} {to_y:.1f}l{-along + across / 2:.1f} {-across + along / 2:.1f}"
    return path + f'<path class="frame" d="{corner}{other}"/>'
