"""A line on standard error, if it is a terminal, with the progress of a long computation and the time left."""

from time import monotonic
from types import TracebackType
from typing import Self

from cutaway.cli import terminal
from cutaway.cli.live_line import LiveLine, duration


class ProgressLine:
    """Shows `progress(done, total)` while its block runs; nothing if standard error is not a terminal.

    If the block is interrupted, a line says how far it got.
    """

    def __init__(self, unit: str, name: str = "") -> None:
        """Count `unit`s, such as "bytes", of something called `name`."""
        self._unit = unit
        self._name = f"{name}: " if name else ""
        self._start = monotonic()
        self._line = LiveLine()
        self._counts = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.clear()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            terminal.note(f"interrupted after {self._counts or f'0 {self._unit}'}")

    def __call__(self, done: int, total: int) -> None:
        self._counts = f"{self._name}{done:,} of {total:,} {self._unit}"
        now = monotonic()
        if self._line.is_due(now) and done:
            left = (now - self._start) * (total - done) / done
            self._line.draw(f"{self._counts}, {100 * done / total:.0f} %, {duration(left)} left")
            self._line.shown = now
