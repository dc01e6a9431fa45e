"""A grid in SVG: a coloured rectangle for each number (a pixel in a large grid), and the colour scale below."""

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.colours import is_masked, named_colour, paint, scale_colours, scale_ends
from cutaway.figures.labels import cut, number, short
from cutaway.figures.panels import Grid, LocalizedText, Scale, localize
from cutaway.figures.render.svg_marks import CHAR, LABELS, LINE, Fragment, cell_attributes, text_element
from cutaway.layout import minus, width

MOST_RECTANGLES = 2000  # a larger grid is one image with a pixel for each cell
LEAST_NUMBERED = 44  # minimum width of a cell that shows its number, in pixels
LUMINANCE = np.array([0.3, 0.59, 0.11])  # of red, green and blue
SCALE_WIDTH = 120  # pixels of the colour scale


def draw_grid(grid: Grid, language: str) -> Fragment:
    """Render the cells with their labels, and the colour scale.

    >>> from cutaway.figures.panels import computed
    >>> fragment = draw_grid(Grid("weights", computed("attn", np.eye(2)), "share"), "en")
    >>> fragment.markup.count('data-tensor="attn"')
    4
    """
    values = grid.cells.values
    count, across = values.shape
    left = LABELS if grid.rows else 0
    top = LINE if grid.columns else 0
    if grid.row_axis and grid.column_axis:
        top += LINE
    size = max(1.0, min(56.0, 900 / across))
    high = min(size, 24.0) if size >= LEAST_NUMBERED or count == 1 else size
    high = max(high, min(16.0, 480 / count))  # a few long rows are readable only if they are high enough
    body = _picture(grid, size, high) if values.size > MOST_RECTANGLES else _rectangles(grid, size, high)
    labels = _labels(grid, language, size, high, left, top)
    bottom = top + high * count
    scale = _scale(grid, language)
    return Fragment(
        f'{labels}<g transform="translate({left},{top})">{body}</g>'
        f'<g transform="translate({left},{bottom:g})">{scale.markup}</g>',
        left + max(size * across, scale.width),
        bottom + scale.height + 4,
    )


def _scale(grid: Grid, language: str) -> Fragment:
    """Draw the colour scale between the numbers at its ends, and the grey of masked cells if there are any."""
    hidden = is_masked(grid.cells.visible)
    painted = Fragment("", 0, 0) if hidden.all() else _colours(grid, language)
    if not hidden.any():
        return Fragment(painted.markup, painted.width, 22)
    x = painted.width
    name = localize(LocalizedText("masked", "被遮住"), language)
    grey = f'<rect class="scale" x="{x:g}" y="10" width="8" height="8" fill="{named_colour("masked")}"/>'
    return Fragment(painted.markup + grey + text_element(x + 14, 18, name, "quiet"), x + 14 + width(name) * CHAR, 22)


def _colours(grid: Grid, language: str) -> Fragment:
    """Draw a strip of the colours between the numbers at its ends, and the range of the values if that is narrower."""
    seen = grid.cells.values[~is_masked(grid.cells.visible)]
    low, high = ends = [_named(end, grid.scale) for end in scale_ends(seen, grid.scale)]
    least, largest = reach = [_named(float(end), grid.scale) for end in (seen.min(), seen.max())]
    said = localize(LocalizedText(f"   shown: {least} to {largest}", f"   图中：{least} 至 {largest}"), language)
    after = high if reach == ends else high + said
    start = (width(low) + 1) * CHAR
    strip = _image(scale_colours(grid.scale), start, SCALE_WIDTH, 8, 10)
    markup = text_element(0, 18, low, "quiet") + strip + text_element(start + SCALE_WIDTH + CHAR, 18, after, "quiet")
    return Fragment(markup, start + SCALE_WIDTH + (width(after) + 4) * CHAR, 22)


def _named(value: float, scale: Scale) -> str:
    return f"{100 * value:.3g} %" if scale == "share" else minus(f"{value:.3g}")


def _image(pixels: NDArray[np.uint8], x: float, wide: float, high: float, y: float = 0, attributes: str = "") -> str:
    """Stretch pixels (height, width, 3) to a rectangle."""
    data = base64.b64encode(png(pixels)).decode()
    return (
        f'<image x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"{attributes}/>'
    )


def _labels(grid: Grid, language: str, size: float, high: float, left: float, top: float) -> str:
    marks = []
    if grid.row_axis and grid.column_axis:
        axes = f"↓ {localize(grid.row_axis, language)}   → {localize(grid.column_axis, language)}"
        marks.append(text_element(0, 12, axes, "quiet"))
    every = max(1, round(14 / high))
    marks += [
        text_element(left - 6, top + (i + 0.5) * high + 4, short(grid.rows[i]), anchor="end")
        for i in range(0, len(grid.rows), every)
    ]
    room = int(size / CHAR)
    for i, label in enumerate(grid.columns if room >= 2 else ()):
        marks.append(text_element(left + (i + 0.5) * size, top - 5, cut(label, room), "quiet", "middle"))
    return "".join(marks)


def _rectangles(grid: Grid, size: float, high: float) -> str:
    values = grid.cells.visible
    colours = paint(values, grid.scale)
    is_light = colours @ LUMINANCE > 140
    marks = []
    for row, column in np.ndindex(*values.shape):
        x = column * size
        y = row * high
        fill = f"#{colours[row, column].tobytes().hex()}"
        origin = cell_attributes(grid.cells, row, column)
        marks.append(f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{high:g}" fill="{fill}" {origin}/>')
        if size >= LEAST_NUMBERED:
            shown = number(float(values[row, column]), grid.scale)
            tone = "on-light" if is_light[row, column] else "on-dark"
            marks.append(text_element(x + size / 2, y + high / 2 + 4, shown, tone, "middle"))
    return "".join(marks)


def _picture(grid: Grid, size: float, high: float) -> str:
    count, across = grid.cells.values.shape
    return _image(
        paint(grid.cells.visible, grid.scale),
        0,
        size * across,
        high * count,
        attributes=f" {cell_attributes(grid.cells, 0, 0)}",
    )


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode RGB pixels (height, width, 3) as a PNG file.

    >>> png(np.zeros((2, 3, 3), np.uint8))[:4]
    b'\\x89PNG'
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, across, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # filter 0 on each
    header = struct.pack(">IIBBBBB", across, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
