"""`python -m cutaway` and the `cutaway` script: the command line, with signal handling."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)  # besides Ctrl-C


def main() -> int:
    """Run the command that the process's arguments name and return its exit code.

    Until `cutaway.cli` is imported, Ctrl-C ends the process at once and silently, as it does any other program.

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
    """Exit with 128 + the signal's number, as a shell reports it, so that no unfinished file is left. A second signal
    ends the process at once. An ignored signal, as with nohup, stays ignored. In torchrun's processes a signal keeps
    its default action, because they may wait for each other where Python handles no signals.
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
        # One of torchrun's processes: threads that PyTorch leaves behind sometimes abort the interpreter at exit.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)
