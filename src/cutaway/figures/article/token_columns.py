"""Diagrams with a column for each token, as the article draws attention, with the steps below the token."""

from collections.abc import Sequence
from dataclasses import dataclass

from cutaway.figures.labels import cut
from cutaway.figures.panels import Box, Drawing, Entry, Label, Line, LocalizedText, Shapes, localize
from cutaway.layout import width

MOST_COLUMNS = 8
WIDE = 8  # width of a column, in characters
HIGH = 3  # height of a box, in lines
ARROW = 2  # lines between two boxes joined by an arrow


@dataclass(frozen=True)
class TokenCell:
    """A box in a token's column."""

    text: Entry
    colour: str = "plain"


MASKED = TokenCell("×", "masked")


@dataclass(frozen=True)
class TokenRow:
    """A row of boxes, one for each column; None leaves a column empty."""

    name: LocalizedText | str
    cells: Sequence[TokenCell | None]


def draw_token_columns(
    title: LocalizedText, tokens: Sequence[str], rows: Sequence[TokenRow], *, arrows: bool = True
) -> Drawing:
    """Draw rows of boxes below the tokens, with `arrows` from each box to the one below it.

    >>> row = TokenRow("key", [TokenCell("k", "key"), MASKED])
    >>> [shape.text for shape in draw_token_columns(LocalizedText("keys", "键"), ["A", "␣robot"], [row]).shapes]
    ['A', '␣robot', 'key', 'k', '×']
    """
    margin = 2 + max(width(localize(row.name, language)) for row in rows for language in ("en", "zh"))
    shapes: Shapes = [Label(margin + i * WIDE, 0, cut(token, WIDE - 1)) for i, token in enumerate(tokens)]
    step = HIGH + (ARROW if arrows else 0)
    for number, row in enumerate(rows):
        y = 1 + number * step
        shapes.append(Label(0, y + 1, row.name))
        for column, cell in enumerate(row.cells):
            x = margin + column * WIDE
            if cell:
                shapes.append(Box(x, y, WIDE - 1, HIGH, cell.text, cell.colour))
            if cell and arrows and number and rows[number - 1].cells[column]:
                middle = x + (WIDE - 1) // 2
                shapes.append(Line(middle, y - ARROW, middle, y - 1))
    return Drawing(title, shapes)
