"""A line of a terminal that is overwritten during a long computation, and durations in words."""

import math
import sys
from typing import TextIO

from cutaway.cli.terminal import columns

SECONDS = 0.2  # between two states on a terminal


class LiveLine:
    """A line that shows a state on a terminal. `is_live` is False for other streams, which get a line now and then."""

    def __init__(self, stream: TextIO | None = None, *, quiet: float = math.inf, shown: float = -math.inf) -> None:
        """Take a stream (default: standard error), and the seconds between two states if it is not a terminal."""
        self.stream = sys.stderr if stream is None else stream
        self.is_live = self.stream.isatty()
        self.seconds = SECONDS if self.is_live else quiet
        self.shown = shown  # time of the last state; of the start, if nothing is to be shown at once
        self._is_drawn = False

    def is_due(self, now: float) -> bool:
        """Return True if it is time to show the next state."""
        return now - self.shown >= self.seconds

    def draw(self, text: str) -> None:
        """Overwrite the line on a terminal; do nothing on other streams."""
        if self.is_live:
            print(f"\r{text[: columns() - 1]}\x1b[K", end="", file=self.stream, flush=True)
            self._is_drawn = True

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self._is_drawn:
            print("\r\x1b[K", end="", file=self.stream, flush=True)
            self._is_drawn = False


def duration(seconds: float) -> str:
    """Format a duration with its two largest units.

    >>> duration(59.4), duration(3700), duration(172800)
    ('59s', '1h01m', '2d00h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
