"""Named fault points, at which a test can have the process killed."""

import os
import signal

_reached: dict[str, int] = {}


def fault(name: str) -> None:
    """Kill this process with SIGKILL if CUTAWAY_FAULT names this point.

    CUTAWAY_FAULT=save.after_rename kills it the first time the point is reached, save.after_rename:3 the third time.

    >>> import subprocess
    >>> import sys
    >>> code = "from cutaway.training.faults import fault; fault('save.after_rename')"
    >>> environment = {**os.environ, "CUTAWAY_FAULT": "save.after_rename"}
    >>> subprocess.run([sys.executable, "-c", code], env=environment).returncode == -signal.SIGKILL
    True
    """
    wanted = os.environ.get("CUTAWAY_FAULT")
    if not wanted:
        return
    point, _, count = wanted.partition(":")
    if point == name:
        _reached[name] = _reached.get(name, 0) + 1
        if _reached[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
