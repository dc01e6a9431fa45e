"""Building blocks of an SVG: fragments, text elements, and attributes with the origin of a number."""

from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from cutaway.figures.panels import Cells

# of the 12 px monospaced font: width of a character, and line height
CHAR = 7.3
LINE = 18
LABELS = 112  # pixels for row labels


@dataclass(frozen=True)
class Fragment:
    """A part of the picture: its markup, with its origin at (0, 0), and its size."""

    markup: str
    width: float
    height: float


def text_element(x: float, y: float, text: str, name: str = "", anchor: str = "start") -> str:
    """Return a text element of the class `name` with its baseline at y.

    >>> text_element(0, 12, "a < b", "quiet")
    '<text x="0" y="12" class="quiet">a &lt; b</text>'
    """
    kind = f' class="{name}"' if name else ""
    side = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}"{kind}{side}>{escape(text)}</text>'


def number_attributes(tensor: str, index: tuple[int, ...]) -> str:
    """Return the attributes with the tensor and the index of a number.

    >>> number_attributes("attn.5", (1, 8))
    'data-tensor="attn.5" data-index="1,8"'
    """
    return f'data-tensor={quoteattr(tensor)} data-index="{",".join(map(str, index))}"'


def cell_attributes(cells: Cells, row: int, column: int) -> str:
    """Return the attributes with the tensor and the index of a cell.

    >>> import numpy as np
    >>> from cutaway.figures.panels import cells
    >>> cell_attributes(cells("attn.5", np.eye(4, dtype=np.float32)), row=1, column=3)
    'data-tensor="attn.5" data-index="1,3"'
    """
    return number_attributes(cells.tensor, cells.index(row, column))
