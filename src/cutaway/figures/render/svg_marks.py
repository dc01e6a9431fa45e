"""What the parts of an SVG are made of: a piece of the picture, words in it, and where a number comes from."""

from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from cutaway.figures.panels import Cells

CHAR, LINE = 7.3, 18  # of the 12 px monospaced face: a character's width, and the distance of lines
LABELS = 112  # pixels for the labels of rows


@dataclass(frozen=True)
class Fragment:
    """A part of the picture: its markup from (0, 0), and its size."""

    markup: str
    width: float
    height: float


def text_element(x: float, y: float, text: str, name: str = "", anchor: str = "start") -> str:
    """Text of the class `name` on the line y."""
    kind = f' class="{name}"' if name else ""
    side = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}"{kind}{side}>{escape(text)}</text>'


def number_attributes(tensor: str, index: tuple[int, ...]) -> str:
    """The attributes that say which number is drawn."""
    return f'data-tensor={quoteattr(tensor)} data-index="{",".join(map(str, index))}"'


def cell_attributes(cells: Cells, row: int, column: int) -> str:
    """The same, for a number of a panel's cells."""
    return number_attributes(cells.tensor, cells.index(row, column))
