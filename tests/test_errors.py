"""The guard turns every error into one line and an exit code."""

from importlib import import_module

import pytest

from cutaway.errors import (
    BROKEN_PIPE,
    INTERRUPTED,
    NO_MEMORY,
    OUTSIDE,
    CheckpointError,
    EngineError,
    HubError,
    RunError,
    UsageError,
    guarded,
)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no"), 2, "no"),
        (CheckpointError("a:\nb"), 3, "a: b"),
        (HubError("no network"), 4, "no network"),
        (EngineError("not built"), 5, "not built"),
        (RunError("run is in use"), 6, "run is in use"),
        (MemoryError(), 5, NO_MEMORY),
        (
            FileNotFoundError(2, "No such file or directory", "books.jsonl"),
            OUTSIDE,
            "books.jsonl: No such file or directory",
        ),
        (OSError("out of order"), OUTSIDE, "out of order"),
        (
            ImportError("advice\nlibquadmath.so: failed to map segment from shared object"),
            5,
            NO_MEMORY,
        ),
        (ImportError("libx.so: cannot open shared object file: Cannot allocate memory"), 5, NO_MEMORY),
        (KeyboardInterrupt(), INTERRUPTED, None),
        (BrokenPipeError(), BROKEN_PIPE, None),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    assert guarded(fail) == code
    assert capsys.readouterr().err == (f"cutaway: {line}\n" if line else "")


def test_an_interrupt_while_a_class_is_made_is_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    class Slow:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    assert guarded(lambda: print(type("Owner", (), {"slow": Slow()}))) == INTERRUPTED
    assert capsys.readouterr().err == ""


def test_success_is_silent_and_bugs_are_raised(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: None) == 0
    assert capsys.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: print(1 / 0))
    with pytest.raises(ImportError):
        guarded(lambda: print(import_module("no_such_module")))
    with pytest.raises(SystemExit):
        guarded(lambda: exit("terminated"))


def test_an_error_while_reporting_keeps_the_exit_code() -> None:
    def fail(message: str) -> None:
        raise OSError(message)

    assert guarded(lambda: fail("the disk is full"), fail) == OUTSIDE
