"""Signals that stop a run."""

import os
import signal
import subprocess
import sys

import pytest

from cutaway.training.signals import HEARD, StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
    with StopSignals(pytest.fail) as signals:
        assert not signals.take_save()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.take_save()
        assert not signals.take_save()
        assert signals.received is None


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM")])
def test_the_second_signal_ends_the_process_at_once(first: str, second: str) -> None:
    code = (
        "import os, signal\nfrom cutaway.training.signals import StopSignals\nwith StopSignals(len):\n"
        f"    os.kill(os.getpid(), signal.{first})\n    os.kill(os.getpid(), signal.{second})\n    print('alive')"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.stdout == ""
    assert result.returncode == -signal.Signals[second]
