"""Named fault points: places of a run at which a test can have the process killed."""

import os
import signal

_reached: dict[str, int] = {}


def fault(name: str) -> None:
    """Kill this process with SIGKILL if CUTAWAY_FAULT names this point; else nothing.

    CUTAWAY_FAULT=save.after_rename kills at the first time that the point is reached, save.after_rename:3 at the third.
    """
    wanted = os.environ.get("CUTAWAY_FAULT")
    if not wanted:
        return
    point, _, count = wanted.partition(":")
    if point == name:
        _reached[name] = _reached.get(name, 0) + 1
        if _reached[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
