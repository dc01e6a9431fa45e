"""Text in columns: wide characters, tables, bars, and tokens made visible."""

import unicodedata
from collections.abc import Iterable, Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉"
_NAMED = {" ": "␣", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # drawn onto the character before, or not at all
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def table(rows: Sequence[Sequence[str]], align: str, gap: str = "  ") -> list[str]:
    """Rows of cells as lines; `align` has one of "<" and ">" for each column."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [gap.join(map(_pad, row, widths, align)).rstrip() for row in rows]


def _pad(cell: str, columns: int, align: str) -> str:
    gap = " " * (columns - width(cell))
    return cell + gap if align == "<" else gap + cell


def wrap(words: Iterable[str], columns: int) -> list[str]:
    """Words with a space between them, on lines of at most so many columns; a longer word has a line to itself."""
    lines: list[str] = []
    room = 0
    for word in words:
        room -= width(word) + 1
        if room < 0 or not lines:
            lines.append(word)
            room = columns - width(word)
        else:
            lines[-1] += f" {word}"
    return lines


def bar(share: float, columns: int) -> str:
    """A bar that fills a share of the columns, to an eighth of one."""
    full, eighths = divmod(round(share * columns * 8), 8)
    return "█" * full + _EIGHTHS[eighths].strip()


def visible(data: bytes) -> str:
    """A token as it can be read: a space as ␣, bytes that are no character as hex, \\xe2, and a token that takes no
    column, which nobody could see, as its code, \\u200d.
    """
    shown = "".join(map(_visible_char, data.decode("utf-8", "backslashreplace")))
    return shown if width(shown) else shown.encode("unicode_escape").decode()


def _visible_char(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    return char if char.isprintable() else char.encode("unicode_escape").decode()
