"""Graceful shutdown: SIGINT, SIGTERM and SIGHUP stop a run at the end of a step, a second signal immediately.

A terminal that is closed may send SIGHUP several times, and a service manager SIGTERM after it: none of these is a
second signal. Nor is one that torchrun has passed on: a scheduler sends SIGTERM to all processes of a job, torchrun
among them, which sends it to its own again.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ECHO = 3.0  # seconds in which torchrun has passed a signal on
HEARD = "the run stops at the end of this step, saved; a second signal stops it immediately, without saving"


class StopSignals:
    """Records signals while it is entered; `received` is the one that asks to stop, `wants_save` is SIGUSR1's.

    `tell` is given a line when a signal asks to stop: a step may be long. A signal that is ignored, as SIGHUP is under
    nohup, stays ignored. With `echoes`, under torchrun, the same signal again within `ECHO` seconds is the first one.

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
        """Return True once for each SIGUSR1, or for several together."""
        wanted = self.wants_save
        self.wants_save = False
        return wanted

    def _stop(self, number: int, frame: FrameType | None) -> None:
        is_second = self.received not in (None, signal.SIGHUP)
        if is_second and (number == signal.SIGHUP or self._is_echo(number)):
            return
        if is_second:  # die of it, as if it had never been handled
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = signal.Signals(number)
        self._received_at = time.monotonic()
        with suppress(RuntimeError, OSError):  # the signal came while a line was printed, or nobody reads any more
            self.tell(HEARD)

    def _is_echo(self, number: int) -> bool:
        return self.echoes and number == self.received and time.monotonic() - self._received_at < ECHO

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.wants_save = True
