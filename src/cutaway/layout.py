"""Terminal layout: display width, tables, wrapped paragraphs, shares, bars, and printable tokens."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

_LEAST_COLUMNS = 20  # minimum width of a wrapped cell
_UNBROKEN = re.compile(  # text that is never broken
    r"（*(?:[\u2e80-\u9fff]|[^\s\u2e80-\u9fff（]+(?:\s%[^\s\u2e80-\u9fff（]*)?)[，。；：、？！）]*\s*|\S\s*"
)
_EIGHTHS = " ▏▎▍▌▋▊▉"
_NAMED = {" ": "␣", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def width(text: str) -> int:
    """Count the columns that a text occupies on a terminal.

    >>> width("café"), width("机器人")
    (4, 6)
    """
    return len(text) if text.isascii() else sum(map(_char_width, text))


@cache
def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # combining and invisible characters
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def counted(count: int, noun: str) -> str:
    """Format a count with its noun, in the plural unless the count is 1.

    >>> counted(1, "step"), counted(1000, "step")
    ('1 step', '1,000 steps')
    """
    plural = f"{noun}es" if noun.endswith("ss") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def table(rows: Sequence[Sequence[str]], align: str, gap: str = "  ") -> list[str]:
    """Lay out rows of cells as lines; `align` has "<" or ">" for each column.

    >>> table([["wte", "38"], ["h.0.ln_1", "7"]], "<>")
    ['wte       38', 'h.0.ln_1   7']
    """
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [gap.join(map(_pad, row, widths, align)).rstrip() for row in rows]


def wrapped_table(rows: Sequence[Sequence[str]], align: str, columns: int, gap: str = "  ") -> list[str]:
    """Lay out rows as `table` does, in lines of at most `columns`: the last cells are wrapped, to at least 20 columns.

    >>> print("\\n".join(wrapped_table([["tldr", "a text to what follows it"], ["a", "b"]], "<<", 26)))
    tldr  a text to what
          follows it
    a     b
    """
    room = columns - sum(max(map(width, column)) + len(gap) for column in list(zip(*rows, strict=True))[:-1])
    cells: list[list[str]] = []
    for *row, last in rows:
        first, *others = wrap(last.split(), max(room, _LEAST_COLUMNS)) or [""]
        cells += [[*row, first], *([*([""] * len(row)), other] for other in others)]
    return table(cells, align, gap)


def _pad(cell: str, columns: int, align: str) -> str:
    gap = " " * (columns - width(cell))
    return cell + gap if align == "<" else gap + cell


def wrap(words: Iterable[str], columns: int) -> list[str]:
    """Wrap words into lines of at most `columns` columns; a longer word gets a line of its own.

    >>> wrap("a robot must obey".split(), 9)
    ['a robot', 'must obey']
    """
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


def fitting(text: str, columns: int) -> int:
    """Count the leading characters of a text that fit into `columns` columns.

    >>> fitting("robot", 4), fitting("机器人", 4)
    (4, 2)
    """
    used = 0
    for n, char in enumerate(text):
        used += width(char)
        if used > columns:
            return n
    return len(text)


def wrap_prose(prose: str, columns: int) -> list[str]:
    """Wrap prose; Chinese, which has no spaces, may break before any character except punctuation.

    >>> wrap_prose("a robot must obey", 9), wrap_prose("机器人必须服从", 8)
    (['a robot', 'must obey'], ['机器人必', '须服从'])
    """
    lines = [""]
    used = 0
    for piece in _UNBROKEN.findall(prose):
        if lines[-1] and used + width(piece.rstrip()) > columns:
            lines.append("")
            used = 0
        lines[-1] += piece
        used += width(piece)
    return [line.rstrip() for line in lines]


def fold(text: str, columns: int) -> list[str]:
    """Wrap prose as `wrap_prose` does, and break words that are longer than a line.

    >>> fold("a robot must obey", 9), fold("unconditionally", 9)
    (['a robot', 'must obey'], ['unconditi', 'onally'])
    """
    lines: list[str] = []
    for line in wrap_prose(text, columns):
        rest = line
        while (end := max(1, fitting(rest, columns))) < len(rest):
            lines.append(rest[:end])
            rest = rest[end:]
        lines.append(rest)
    return lines


def minus(number: str) -> str:
    """Format a number for people, with a minus sign; output for programs has a hyphen.

    >>> minus("-1.50"), minus("1e-08")
    ('−1.50', '1e−08')
    """
    return number.replace("-", "−")


def percent(share: float, places: int = 2) -> str:
    """Format a share in percent.

    >>> percent(0.6561), percent(1, 0)
    ('65.61 %', '100 %')
    """
    return f"{100 * share:.{places}f} %"


def bar(share: float, columns: int) -> str:
    """Draw a bar that fills a share of the columns, in steps of an eighth of a column.

    >>> bar(0.5, 5)
    '██▌'
    """
    full, eighths = divmod(round(share * columns * 8), 8)
    return "█" * full + _EIGHTHS[eighths].strip()


def visible(data: bytes) -> str:
    """Make a token printable: a space as ␣, invalid UTF-8 as hex (\\xe2), and a token of width 0 as its code (\\u200d).

    >>> visible(b" robot"), visible(b"a\\n")
    ('␣robot', 'a\\\\n')
    """
    text = "".join(map(_visible_char, data.decode("utf-8", "backslashreplace")))
    return text if width(text) else text.encode("unicode_escape").decode()


def _visible_char(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    return char if char.isprintable() else char.encode("unicode_escape").decode()
