"""`python -m cutaway` and the `cutaway` script: the command line, with signals answered."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)  # besides Ctrl-C


def main() -> int:
    """Run the command that the process's arguments name and return its exit code.

    Until `cutaway.cli` is imported Ctrl-C ends the process at once and in silence, as it ends any other program.

    >>> from unittest.mock import patch
    >>> with patch("sys.argv", ["cutaway", "tokenizer", "encode", "A robot"]):
    ...     main()
    32 9379
    0
    """
    heeds_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not with nohup, say
    if heeds_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cutaway import cli, errors

    try:
        if heeds_ctrl_c:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with _ended_by_signals():
            return cli.main()
    except KeyboardInterrupt:  # before or after the guard of `cli.main`
        return errors.INTERRUPTED


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End with 128 + the signal's number, as a shell reports it, so that no unfinished file is left; a second signal
    ends the process at once. One that is ignored, as with nohup, stays ignored; torchrun's processes, which may wait
    for each other where Python answers no signal, die of it.
    """
    handled = [
        number
        for number in _ENDING
        if signal.getsignal(number) is signal.SIG_DFL and "TORCHELASTIC_RUN_ID" not in os.environ
    ]
    for number in handled:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    code = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # One of torchrun's processes: threads that PyTorch leaves behind now and then abort an interpreter at its end.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)
