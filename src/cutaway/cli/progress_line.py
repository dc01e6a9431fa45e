"""One line on a terminal's standard error that says how far a long computation is and how long it will take."""

import sys
from time import monotonic
from types import TracebackType
from typing import Self

from cutaway.cli import terminal

INTERVAL = 0.1  # seconds between two updates


class ProgressLine:
    """Shows `progress(done, total)` while its block runs; nothing where standard error is not a terminal.

    If the block is interrupted, a line says how far it came.
    """

    def __init__(self, unit: str, name: str = "") -> None:
        """Count `unit`s, such as "bytes", of something called `name`."""
        self._unit = unit
        self._name = f"{name}: " if name else ""
        self._start = monotonic()
        self._shown = 0.0
        self._counts = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write("")
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            terminal.note(f"interrupted after {self._counts or f'0 {self._unit}'}")

    def __call__(self, done: int, total: int) -> None:
        self._counts = f"{self._name}{done:,} of {total:,} {self._unit}"
        now = monotonic()
        if now - self._shown >= INTERVAL and done:
            left = (now - self._start) * (total - done) / done
            self._write(f"{self._counts}, {100 * done / total:.0f} %, {_duration(left)} left")
            self._shown = now

    def _write(self, line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{line[: terminal.columns() - 1]}\x1b[K", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Return a time in its two largest units.

    >>> _duration(7.2), _duration(75), _duration(7260)
    ('7 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
