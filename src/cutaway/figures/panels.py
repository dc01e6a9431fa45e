"""The panels of a figure, independent of how they are rendered; every number names its tensor and index.

The terminal, SVG, JSON, a notebook and the page all draw these same panels, so a figure is written once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cutaway.layout import minus
from cutaway.music.performance import Note as Played
from cutaway.numerics import FloatArray

Shape = tuple[int, ...]
_ATTENTION = re.compile(r"attn\.\d+|article\.softmax")
Scale = Literal["share", "signed", "size"]  # 0 to 1; around 0; from the smallest to the largest


@dataclass(frozen=True)
class LocalizedText:
    """Text in English and in Chinese."""

    en: str
    zh: str


Text = str | LocalizedText  # a token, a name or a number, the same in both languages, or prose


def localize(text: Text, language: str) -> str:
    """Return the text in a language, "en" or "zh"; a plain string is returned unchanged.

    >>> localize(LocalizedText("token", "词元"), "zh"), localize("logits", "zh")
    ('词元', 'logits')
    """
    if isinstance(text, str):
        return text
    return text.zh if language == "zh" else text.en


@dataclass(frozen=True)
class Cells:
    """Numbers (R, C) of a tensor: the one in row r, column c is number `offset + r steps[0] + c steps[1]` of the
    tensor, counted through its `shape` in C order.

    If the numbers were computed for the picture, `tensor` is the formula, such as "attn.5[1, 8] * v.5[1]", and `shape`
    is the shape of the numbers. The article's own numbers are tensors whose names begin with "article.".
    """

    values: NDArray[np.float32]
    tensor: str
    shape: Shape
    offset: int = 0
    steps: tuple[int, int] = (0, 0)

    def index(self, row: int, column: int) -> tuple[int, ...]:
        """Return the index in the tensor of the cell in that row and column.

        >>> array = np.arange(12, dtype=np.float32).reshape(3, 4)
        >>> part = cells("attn", array, array[1:, 2:])
        >>> float(part.values[1, 0]), part.index(1, 0)
        (10.0, (2, 2))
        """
        flat = self.offset + row * self.steps[0] + column * self.steps[1]
        return tuple(int(i) for i in np.unravel_index(flat, self.shape))

    @property
    def visible(self) -> FloatArray:
        """The numbers, with minus infinity for attention weights that are 0 because their key is after the query.

        >>> cells("attn.5", np.array([[1, 0], [1, 0]], np.float32)).visible.tolist()
        [[1.0, -inf], [1.0, 0.0]]
        """
        if not _ATTENTION.fullmatch(self.tensor):
            return self.values
        rows, columns = np.indices(self.values.shape)
        flat = self.offset + rows * self.steps[0] + columns * self.steps[1]
        *_, queries, keys = np.unravel_index(flat, self.shape)
        return np.where((self.values == 0) & (keys > queries), np.float32(-np.inf), self.values)


def cells(tensor: str, array: NDArray[np.generic], part: NDArray[np.generic] | None = None) -> Cells:
    """Make cells of `part`, a view of the tensor's C-contiguous `array`, with 0, 1 or 2 axes; the default is all of it.

    >>> array = np.arange(12, dtype=np.float32).reshape(3, 4)
    >>> part = cells("attn", array, array[1:, 2:])
    >>> part.values.tolist(), part.offset, part.steps
    ([[6.0, 7.0], [10.0, 11.0]], 6, (4, 1))
    """
    part = array if part is None else part
    assert array.flags.c_contiguous
    assert part.size == 0 or np.shares_memory(array, part), "a copy does not know where it comes from"
    table = np.atleast_2d(part)
    item = array.itemsize
    offset = (_address(table) - _address(array)) // item
    steps = table.strides[0] // item, table.strides[1] // item
    return Cells(table.astype(np.float32), tensor, array.shape, offset, steps)


def computed(formula: str, values: NDArray[np.generic]) -> Cells:
    """Make cells of numbers, with 0 to 2 axes, that were computed by a formula.

    >>> computed("q * k", np.array([0.5, 2])).shape
    (1, 2)
    """
    table = np.atleast_2d(np.asarray(values, np.float32))
    return Cells(table, formula, table.shape, 0, (table.shape[1], 1))


def _address(array: NDArray[np.generic]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


@dataclass(frozen=True)
class Grid:
    """A matrix as coloured cells, or a vector (one row) as a strip. If there are two axes, they are named in words."""

    title: Text
    cells: Cells
    scale: Scale
    rows: Sequence[str] = ()  # a label for each row, or none
    columns: Sequence[str] = ()
    row_axis: LocalizedText | None = None
    column_axis: LocalizedText | None = None


@dataclass(frozen=True)
class Bars:
    """A bar for each of the cells (R, 1) or (1, R); those in `marked` are highlighted."""

    title: Text
    labels: Sequence[str]
    cells: Cells
    scale: Scale = "share"
    marked: Sequence[int] = ()

    @property
    def limit(self) -> float:
        """The number of the longest possible bar: 1 for shares, so that they can be compared across lists.

        >>> Bars("weights", ["A", "it"], computed("attn", np.array([0.2, 0.4]))).limit
        1.0
        """
        return 1.0 if self.scale == "share" else signed_limit(self.cells.values)


@dataclass(frozen=True)
class Arcs:
    """Lines from the token `query` to the tokens of a text, as thick as the cells (1, T) are large."""

    title: Text
    tokens: Sequence[str]
    cells: Cells
    query: int


@dataclass(frozen=True)
class Roll:
    """Notes on a piano roll, and optionally what the heads of a layer look at, as arcs from the token that is read.

    `seconds` is the time of that token and `query` its note, -1 if it has none. The cells (H, targets + 1) are the
    weight of each head on each note in `targets`, and in the last column on all else.
    """

    title: Text
    notes: Sequence[Played]
    seconds: float = 0.0
    query: int = -1
    targets: Sequence[int] = ()
    cells: Cells | None = None


@dataclass(frozen=True)
class Number:
    """A number in a table or a statement, its format, and the tensor and index that it comes from.

    `tensor` and `index` as in `Cells`; a formula has no index.
    """

    value: float
    tensor: str
    index: tuple[int, ...] = ()
    form: str = ".4f"

    @property
    def text(self) -> str:
        """The number as it is printed.

        >>> Number(0.656, "attn.5", (0, 8, 2), ".1%").text
        '65.6 %'
        >>> Number(-1.5, "logits", (8, 2)).text
        '−1.5000'
        """
        return minus(format(self.value, self.form)).replace("%", " %")


def integer(value: int, formula: str) -> Number:
    """Make an integer that was computed by a formula.

    >>> integer(1024, "config.n_ctx")
    Number(value=1024, tensor='config.n_ctx', index=(), form=',')
    """
    return Number(value, formula, form=",")


Entry = Text | Number


@dataclass(frozen=True)
class Table:
    """Rows of words and numbers under a line of headings."""

    title: Text
    columns: Sequence[Text]
    rows: Sequence[Sequence[Entry]]


@dataclass(frozen=True)
class Box:
    """A rectangle with words or a number in the middle; a unit is a character wide (x) or a line high (y)."""

    x: int
    y: int
    width: int
    height: int
    text: Entry = ""
    colour: str = "plain"  # a name in colours.json


@dataclass(frozen=True)
class Line:
    """A straight line, horizontal or vertical; an arrow has a head at its end."""

    x: int
    y: int
    to_x: int
    to_y: int
    arrow: bool = True


@dataclass(frozen=True)
class Label:
    """Text that starts at (x, y)."""

    x: int
    y: int
    text: Text


Shapes = list[Box | Line | Label]


@dataclass(frozen=True)
class Drawing:
    """A diagram on a grid of characters, so that a terminal can show it too."""

    title: Text
    shapes: Sequence[Box | Line | Label]


@dataclass(frozen=True)
class Note:
    """A paragraph of prose."""

    words: LocalizedText


Panel = Grid | Bars | Arcs | Roll | Table | Drawing | Note


def signed_limit(values: FloatArray) -> float:
    """Return the largest magnitude, at which a signed scale ends; 1 if all are 0.

    >>> signed_limit(np.array([-2, 1], np.float32)), signed_limit(np.zeros(2, np.float32))
    (2.0, 1.0)
    """
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0
