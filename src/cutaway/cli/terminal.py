"""The standard streams: their encoding, colour, width, and text made safe for a terminal."""

import io
import os
import shutil
import sys
from typing import TextIO

BOLD, DIM, BLUE, YELLOW = "1", "2", "34", "33"
MAX_COLUMNS = 100  # longer lines are hard to read


def _shown_controls() -> dict[int, str]:
    """What stands for a character that drives a terminal; new line and tab may stay."""
    pictures = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}  # ␀ ␁ ... ␟
    return pictures | {0x7F: "␡"} | {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}


_SHOWN_CONTROLS = _shown_controls()


def prepare_streams() -> None:
    """UTF-8 whatever the locale, what it cannot hold escaped as in JSON; a closed stream becomes an empty one."""
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
    """Text whose control characters are shown instead of obeyed."""
    return text.translate(_SHOWN_CONTROLS)


def style(text: str, code: str, stream: TextIO) -> str:
    """Text in bold or a colour where the stream is a terminal and nobody asked for none (https://no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def columns() -> int:
    """How many columns a line may have."""
    return min(shutil.get_terminal_size((80, 24)).columns, MAX_COLUMNS)


def note(message: str) -> None:
    """One line on standard error, which is where everything goes that is not the command's result."""
    print("cutaway:", " ".join(safe(message).splitlines()), file=sys.stderr)
