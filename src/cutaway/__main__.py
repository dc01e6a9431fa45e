"""`python -m cutaway` and the `cutaway` script: the command line, with Ctrl-C answered while it is imported."""

import os
import signal
import sys


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
        return cli.main()
    except KeyboardInterrupt:  # before or after the guard of `cli.main`
        return errors.INTERRUPTED


if __name__ == "__main__":
    code = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # One of torchrun's processes: threads that PyTorch leaves behind now and then abort an interpreter at its end.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)
