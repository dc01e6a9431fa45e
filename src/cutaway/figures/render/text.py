"""Figures in a terminal, with numbers if they fit, else shades."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from cutaway.figures.colours import is_masked, shades
from cutaway.figures.labels import LABEL_COLUMNS, cut, number, short
from cutaway.figures.panels import (
    Arcs,
    Bars,
    Box,
    Drawing,
    Entry,
    Grid,
    Line,
    LocalizedText,
    Note,
    Number,
    Panel,
    Roll,
    Scale,
    Table,
    localize,
)
from cutaway.figures.render.text_roll import draw_roll
from cutaway.layout import bar, percent, table, width, wrap_prose
from cutaway.numerics import FloatArray

SHADES = " ·░▒▓█"
LEVELS = "▁▂▃▄▅▆▇█"
MASKED = "×"
SIGNED = "▁▂▃▄▅▆▇"  # an odd number of levels, so that all numbers near 0 look alike
# By the sides to which lines lead: down, left, right, up.
JOINTS = dict(zip(("dr", "dl", "ru", "lu", "dru", "dlu", "dlr", "lru", "dlru"), "┌┐└┘├┤┬┴┼", strict=True))
BAR_COLUMNS = 30
MAX_ROWS = 40
NARROWEST = 5  # a number and the space before it


def draw_text(panels: Sequence[Panel], language: str, columns: int) -> list[str]:
    """Render lines of at most `columns` characters, except for a table that has no narrower form.

    `language` is "en" or "zh".

    >>> from cutaway.figures.panels import computed
    >>> grid = Grid("weights", computed("attn", np.array([[1, 0], [0.25, 0.75]])), "share", rows=("A", "␣robot"))
    >>> for line in draw_text([grid], "en", columns=40):
    ...     print(line)
    weights
    A        100 %   0.0 %
    ␣robot  25.0 %  75.0 %
    """
    lines: list[str] = []
    for panel in panels:
        lines += [*_draw(panel, language, columns), ""]
    return lines[:-1]


def _draw(panel: Panel, language: str, columns: int) -> Iterator[str]:
    if isinstance(panel, Note):
        yield from wrap_prose(localize(panel.words, language), columns)
        return
    yield from wrap_prose(localize(panel.title, language), columns)
    if isinstance(panel, Grid):
        yield from _grid(panel, language, columns)
    elif isinstance(panel, Bars):
        yield from _bars(panel)
    elif isinstance(panel, Arcs):
        yield from _arcs(panel)
    elif isinstance(panel, Roll):
        yield from draw_roll(panel, language, columns)
    elif isinstance(panel, Table):
        yield from _table(panel, language)
    else:
        yield from _drawing(panel, language)


def _grid(grid: Grid, language: str, columns: int) -> Iterator[str]:
    if grid.row_axis and grid.column_axis:
        yield f"↓ {localize(grid.row_axis, language)}   → {localize(grid.column_axis, language)}"
    rows, across = grid.cells.values.shape
    if rows <= MAX_ROWS and across <= columns // NARROWEST and (lines := _numbers(grid, columns)):
        yield from lines
    elif rows == 1:
        yield from _strip(grid.cells.visible[0], grid.scale, language, columns)
    else:
        yield from _shaded(grid, language, columns)


def _numbers(grid: Grid, columns: int) -> list[str]:
    """List rows of numbers below column names cut to fit; return no lines if the numbers do not fit."""
    cells = [[number(float(value), grid.scale) for value in row] for row in grid.cells.visible]
    names = [short(label) for label in grid.rows]
    digits = max(width(cell) for row in cells for cell in row)
    wanted = max([digits, *(width(short(label)) for label in grid.columns)])
    room = (columns - max(map(width, names), default=0)) // len(cells[0])
    if room <= digits:
        return []
    gap = "  " if room >= wanted + 2 else " "
    heading = [cut(short(label), room - len(gap)) for label in grid.columns]
    if names:
        cells = [[name, *row] for name, row in zip(names, cells, strict=True)]
        heading = ["", *heading]
    return table(
        [heading, *cells] if grid.columns else cells, ("<" if names else "") + ">" * len(grid.cells.values[0]), gap
    )


def _strip(values: FloatArray, scale: Scale, language: str, columns: int) -> Iterator[str]:
    """Draw a vector as a line of bars, each the number of largest magnitude in its part, and its range."""
    yield _marks(pool(values[None], 1, columns), scale, LEVELS)[0]
    size = f"{len(values):,}"
    first = [number(float(value), scale) for value in values[:6]]
    more = len(values) > 6
    if language == "zh":
        yield f"{size} 个数{_range(values, scale, language)}：{'、'.join(first)}{'……' if more else ''}"
    else:
        yield f"{size} numbers{_range(values, scale, language)}: {', '.join(first)}{', …' if more else ''}"


def _shaded(grid: Grid, language: str, columns: int) -> Iterator[str]:
    """Draw a matrix as shades; if it does not fit, each shade is the number of largest magnitude in its part."""
    room = columns - (LABEL_COLUMNS + 2 if grid.rows else 0)
    pooled = pool(grid.cells.visible, MAX_ROWS, max(1, room))
    firsts = [int(part[0]) for part in np.array_split(np.arange(len(grid.cells.values)), len(pooled))]
    for first, row in zip(firsts, _marks(pooled, grid.scale, SHADES), strict=True):
        label = short(grid.rows[first]) if grid.rows else ""
        gap = " " * (LABEL_COLUMNS + 2 - width(label)) if grid.rows else ""
        yield (label + gap + row).rstrip()
    rows, across = grid.cells.values.shape
    numbers = LocalizedText(f"{rows:,} × {across:,} numbers", f"{rows:,} × {across:,} 个数")
    yield localize(numbers, language) + _range(grid.cells.visible, grid.scale, language)


def _marks(values: FloatArray, scale: Scale, levels: str) -> list[str]:
    """Convert a matrix to characters, one string for each row."""
    if scale == "signed":
        levels = SIGNED
    marks = np.array(list(levels))[shades(values, scale).astype(int) * len(levels) // 256]
    return ["".join(row) for row in np.where(is_masked(values), MASKED, marks)]


def _range(values: FloatArray, scale: Scale, language: str) -> str:
    seen = values[~is_masked(values)]
    if not seen.size:
        return ""
    low, high = (number(float(end), scale) for end in (seen.min(), seen.max()))
    return localize(LocalizedText(f", {low} to {high}", f"，{low} 至 {high}"), language)


def pool(values: FloatArray, rows: int, columns: int) -> FloatArray:
    """Shrink a matrix to at most `rows` and `columns`. Each number is the one of largest magnitude in its part; it is
    masked only if all numbers in its part are.

    >>> pool(np.array([[1, -5, 2, 3]], np.float32), rows=1, columns=2).tolist()
    [[-5.0, 3.0]]
    """
    for axis, most in enumerate((rows, columns)):
        if values.shape[axis] > most:
            parts = np.array_split(values, most, axis=axis)
            sizes = [np.where(is_masked(p), -1, np.abs(p)) for p in parts]
            picked = [
                np.take_along_axis(p, size.argmax(axis=axis, keepdims=True), axis=axis)
                for p, size in zip(parts, sizes, strict=True)
            ]
            values = np.concatenate(picked, axis=axis)
    return values


def _bars(bars: Bars) -> Iterator[str]:
    values = bars.cells.values.reshape(-1)
    marks = ["→" if i in bars.marked else " " for i in range(len(values))]
    shown = [percent(float(value)) if bars.scale == "share" else number(float(value), bars.scale) for value in values]
    lengths = [_length(float(value) / bars.limit, bool((values < 0).any())) for value in values]
    yield from table([list(row) for row in zip(marks, shown, lengths, bars.labels, strict=True)], "<><<")


def _length(share: float, signed: bool) -> str:
    """Draw a bar; if `signed`, a bar of half the length to the left or right of a line."""
    if not signed:
        return bar(share, BAR_COLUMNS)
    half = BAR_COLUMNS // 2
    left = "█" * round(-share * half)  # no characters fill eighths of a block from the right
    return f"{left:>{half}}│{bar(max(0.0, share), half)}"


def _arcs(arcs: Arcs) -> Iterator[str]:
    """Draw a bar for each token instead, since a terminal cannot draw lines between tokens."""
    marked = Bars("", arcs.tokens, arcs.cells, marked=(arcs.query,))
    yield from _bars(marked)


def _table(panel: Table, language: str) -> Iterator[str]:
    rows = [[entry(cell, language) for cell in row] for row in panel.rows]
    align = "".join(">" if right else "<" for right in numeric_columns(panel))
    yield from table([[localize(heading, language) for heading in panel.columns], *rows], align)


def numeric_columns(panel: Table) -> list[bool]:
    """Find the columns with numbers, which are right-aligned.

    >>> numeric_columns(Table("sizes", ["", "n_ctx"], [["gpt2", Number(1024, "config.n_ctx")]]))
    [False, True]
    """
    return [any(isinstance(row[i], Number) for row in panel.rows) for i in range(len(panel.columns))]


def entry(cell: Entry, language: str) -> str:
    """Format a cell of a table.

    >>> entry(Number(0.25, "probs", (3, 5), ".2%"), "en"), entry(LocalizedText("token", "词元"), "zh")
    ('25.00 %', '词元')
    """
    return cell.text if isinstance(cell, Number) else localize(cell, language)


def _drawing(drawing: Drawing, language: str) -> Iterator[str]:
    """Draw the shapes with characters, later shapes over earlier ones."""
    canvas: dict[tuple[int, int], str] = {}
    arms = _arms(shape for shape in drawing.shapes if isinstance(shape, Line))
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            _box(canvas, shape, language)
        elif isinstance(shape, Line):
            _line(canvas, shape, arms)
        else:
            _write(canvas, shape.x, shape.y, localize(shape.text, language))
    for y in range(max(y for _, y in canvas) + 1):
        row = {x: char for (x, line), char in canvas.items() if line == y}
        yield "".join(row.get(x, " ") for x in range(max(row, default=-1) + 1)).rstrip()


def _box(canvas: dict[tuple[int, int], str], box: Box, language: str) -> None:
    right = box.x + box.width - 1
    bottom = box.y + box.height - 1
    for x in range(box.x, right + 1):
        canvas[x, box.y] = canvas[x, bottom] = "─"
    for y in range(box.y, bottom + 1):
        canvas[box.x, y] = canvas[right, y] = "│"
    corners = ((box.x, box.y, "┌"), (right, box.y, "┐"), (box.x, bottom, "└"), (right, bottom, "┘"))
    for x, y, corner in corners:
        canvas[x, y] = corner
    text = entry(box.text, language)
    _write(canvas, box.x + max(1, (box.width - width(text)) // 2), box.y + box.height // 2, text)


def _places(line: Line) -> list[tuple[int, int]]:
    """List the positions (x, y) of a line's characters, from left to right or from top to bottom."""
    if line.y == line.to_y:
        return [(x, line.y) for x in range(min(line.x, line.to_x), max(line.x, line.to_x) + 1)]
    return [(line.x, y) for y in range(min(line.y, line.to_y), max(line.y, line.to_y) + 1)]


def _arms(lines: Iterable[Line]) -> dict[tuple[int, int], set[str]]:
    """Map the position of each character of the lines to the sides (left, right, up, down) to which lines lead."""
    arms: dict[tuple[int, int], set[str]] = {}
    for line in lines:
        on, back = "rl" if line.y == line.to_y else "du"
        for place, after in pairwise(_places(line)):
            arms.setdefault(place, set()).add(on)
            arms.setdefault(after, set()).add(back)
    return arms


def _line(canvas: dict[tuple[int, int], str], line: Line, arms: Mapping[tuple[int, int], set[str]]) -> None:
    level = line.y == line.to_y
    for place in _places(line):
        canvas[place] = JOINTS.get("".join(sorted(arms.get(place, ()))), "─" if level else "│")
    if line.arrow:
        head = ("▶" if line.to_x > line.x else "◀") if level else ("▼" if line.to_y > line.y else "▲")
        canvas[line.to_x, line.to_y] = head


def _write(canvas: dict[tuple[int, int], str], x: int, y: int, text: str) -> None:
    for char in text:
        if width(char) == 0:
            canvas[x - 1, y] = canvas.get((x - 1, y), "") + char  # it combines with the character before
            continue
        canvas[x, y] = char
        if width(char) == 2:
            canvas[x + 1, y] = ""  # the character is two columns wide
        x += width(char)
