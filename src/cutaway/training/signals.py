"""Graceful shutdown: SIGINT, SIGTERM or SIGHUP stops a run at the end of the step, a second signal immediately.

A closed terminal may send SIGHUP several times, and a service manager SIGTERM after it: these do not count as a second
signal. Neither does a signal that torchrun passes on: a scheduler sends SIGTERM to all processes of a job, including
torchrun, which sends it to its workers again.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ECHO = 3.0  # seconds within which torchrun passes a signal on
HEARD = "the run stops at the end of this step, saved; a second signal stops it immediately, without saving"


class StopSignals:
    """A context manager that records signals. `received` is the signal to stop, `wants_save` is set by SIGUSR1.

    `tell` receives a line when a signal asks to stop, since a step may be long. An ignored signal stays ignored, such
    as SIGHUP under nohup. With `echoes`, for torchrun, a repeat of the same signal within `ECHO` seconds is not a
    second one.

    >>> with StopSignals(print) as signals:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     signals.received.name
    the run stops at the end of this step, saved; a second signal stops it immediately, without saving
    'SIGTERM'
    """

    def __init__(self, tell: Callable[[str], None], *, echoes: bool = False) -> None:
        self.tell = tell
        self.echoes = echoes
        self.received: signal.Signals | None = None
        self.wants_save = False
        self._received_at = 0.0

    def __enter__(self) -> Self:
        heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._stop) for number in heeded}
        self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._save)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take_save(self) -> bool:
        """Return True once after each SIGUSR1; several before a call count once."""
        wanted = self.wants_save
        self.wants_save = False
        return wanted

    def _stop(self, number: int, frame: FrameType | None) -> None:
        is_second = self.received not in (None, signal.SIGHUP)
        if is_second and (number == signal.SIGHUP or self._is_echo(number)):
            return
        if is_second:  # die of it, as with the default handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = signal.Signals(number)
        self._received_at = time.monotonic()
        with suppress(RuntimeError, OSError):  # the signal interrupted a print, or the output is closed
            self.tell(HEARD)

    def _is_echo(self, number: int) -> bool:
        return self.echoes and number == self.received and time.monotonic() - self._received_at < ECHO

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.wants_save = True
