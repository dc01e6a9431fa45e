"""Signals that stop a run."""

import os
import signal
import subprocess
import sys

import pytest

from cutaway.training.signals import ECHO, HEARD, STOPPING, StopSignals

pytestmark = pytest.mark.usefixtures("heeded_signals")


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_is_recorded_and_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    told: list[str] = []
    with StopSignals(told.append) as signals:
        os.kill(os.getpid(), number)
        assert signals.received is number
    assert told == [HEARD]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("error", [RuntimeError("reentrant call"), BrokenPipeError()])
def test_a_signal_that_cannot_be_told_of_is_recorded(error: Exception) -> None:
    def fail(message: str) -> None:
        raise error

    with StopSignals(fail) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received is signal.SIGTERM


def test_a_wish_to_save_is_taken_once() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with StopSignals(pytest.fail) as signals:
        assert not signals.take_save()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.take_save()
        assert not signals.take_save()
        assert signals.received is None
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM")])
def test_the_second_signal_ends_the_process_at_once(first: str, second: str) -> None:
    code = (
        "import atexit, os, signal\natexit.register(print, 'ended in order')\n"
        "from cutaway.training.signals import StopSignals\nwith StopSignals(len):\n"
        f"    os.kill(os.getpid(), signal.{first})\n    os.kill(os.getpid(), signal.{second})\n    print('alive')"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.stdout == ""
    assert result.returncode == -signal.Signals[second]


@pytest.mark.parametrize(
    ("numbers", "received"),
    [
        ((signal.SIGHUP, signal.SIGHUP), signal.SIGHUP),
        ((signal.SIGHUP, signal.SIGTERM), signal.SIGTERM),
        ((signal.SIGINT, signal.SIGHUP), signal.SIGINT),
    ],
)
def test_a_closed_terminal_never_ends_the_process_at_once(
    numbers: tuple[signal.Signals, ...], received: signal.Signals
) -> None:
    told: list[str] = []
    with StopSignals(told.append) as signals:
        for number in numbers:
            os.kill(os.getpid(), number)
        assert signals.received is received
    assert told


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_that_torchrun_passes_on_is_no_second_one(number: signal.Signals) -> None:
    told: list[str] = []
    with StopSignals(told.append, echoes=True) as signals:
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert signals.received is number
    assert HEARD in told


@pytest.mark.parametrize(
    ("second", "seconds"), [("SIGTERM", ECHO), ("SIGINT", 0)], ids=["the same one later", "another one"]
)
def test_under_torchrun_too_a_second_signal_ends_the_process_at_once(second: str, seconds: float) -> None:
    code = (
        "import os, signal, time\nfrom cutaway.training.signals import StopSignals\n"
        "now = 7.0\ntime.monotonic = lambda: now\nwith StopSignals(len, echoes=True):\n"
        f"    os.kill(os.getpid(), signal.SIGTERM)\n    now += {seconds}\n    os.kill(os.getpid(), signal.{second})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.Signals[second]


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_that_is_ignored_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopSignals(pytest.fail) as signals:
            os.kill(os.getpid(), number)
            assert signals.received is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
