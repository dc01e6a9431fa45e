"""Standard streams: encoding, colour, width, and control characters made harmless."""

import io
import os
import shutil
import sys
from contextlib import suppress
from typing import TextIO

# Parameters of the terminal's "select graphic rendition" sequence.
BOLD = "1"
DIM = "2"
BLUE = "34"
YELLOW = "33"

MAX_COLUMNS = 100  # longer lines are hard to read


def _shown_controls() -> dict[int, str]:
    """Map each control character, except new line and tab, to a printable picture or escape."""
    pictures = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}  # ␀ ␁ ... ␟
    return pictures | {0x7F: "␡"} | {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}


_SHOWN_CONTROLS = _shown_controls()


def prepare_streams() -> None:
    """Set the streams to UTF-8 whatever the locale, with escapes for invalid text; replace closed streams."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            is_input = name == "stdin"
            stream.reconfigure(
                encoding="utf-8",
                errors="surrogateescape" if is_input else "backslashreplace",
                newline="\n" if is_input else None,
            )


def safe(text: str) -> str:
    """Replace control characters by printable ones."""
    return text.translate(_SHOWN_CONTROLS)


def style(text: str, code: str, stream: TextIO) -> str:
    """Style text if the stream is a terminal and NO_COLOR (https://no-color.org) is not set."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def columns() -> int:
    """Return the width of a line: that of the terminal, at most MAX_COLUMNS."""
    return min(shutil.get_terminal_size((80, 24)).columns, MAX_COLUMNS)


def note(message: str) -> None:
    """Print one line on standard error, unless it is closed, for everything that is not the result of the command."""
    with suppress(OSError):  # a terminal that was closed, say
        print("cutaway:", " ".join(safe(message).splitlines()), file=sys.stderr)
