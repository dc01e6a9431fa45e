"""Calls to the file system, observed and made to fail: each open, write, close, fsync, rename, ... by its number.

The functions of `os`, and `io.open` for files opened to write, are replaced in this process; so it should be a forked
one. What is below Python, strace sees (`traced.py`).
"""

import errno
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

FAULTS = ("kill", "torn", "ENOSPC", "EIO", "dead disk")
_NAMES = ("open", "write", "fsync", "rename", "replace", "link", "unlink", "rmdir", "mkdir", "ftruncate")


@dataclass
class Calls:
    """Calls made since `install`. The call of index `at` fails as `fault` says, "" for none.

    kill: SIGKILL before the call. torn: SIGKILL when half of the bytes are written. ENOSPC, EIO: the call raises, after
    half of the bytes if it writes. "dead disk": this call and all later ones raise EIO.
    """

    fault: str = ""
    at: int = -1
    made: list[tuple[str, str]] = field(default_factory=list)  # name and path

    def install(self) -> None:
        """Replace the functions; for the rest of this process's life."""
        for name in _NAMES:
            setattr(os, name, self._observed(name, getattr(os, name)))
        self._open = io.open
        io.open = self._open_file

    def _observed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self._fails(name, _path(arguments[0])):
                if name == "write":
                    function(arguments[0], arguments[1][: len(arguments[1]) // 2])
                self._fail()
            return function(*arguments, **options)

        return call

    def _open_file(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode.strip("bt") == "r":
            return self._open(file, mode, *arguments, **options)
        if self._fails("open", str(file)):
            self._fail()
        return _File(self._open(file, mode, *arguments, **options), self)

    def _fails(self, name: str, path: str) -> bool:
        index = len(self.made)
        self.made.append((name, path))
        fails = index == self.at or (self.fault == "dead disk" and 0 <= self.at < index)
        if fails and (self.fault == "kill" or (self.fault == "torn" and name != "write")):
            os.kill(os.getpid(), signal.SIGKILL)
        return fails

    def _fail(self) -> NoReturn:
        if self.fault == "torn":
            os.kill(os.getpid(), signal.SIGKILL)
        code = errno.ENOSPC if self.fault == "ENOSPC" else errno.EIO
        raise OSError(code, os.strerror(code))


class _File:
    """A file opened to write, whose writes and whose close are calls too."""

    def __init__(self, file: Any, calls: Calls) -> None:
        self._file = file
        self._calls = calls

    def write(self, data: Any) -> int:
        if self._calls._fails("write", self._file.name):
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            self._calls._fail()
        written: int = self._file.write(data)
        return written

    def close(self) -> None:
        if not self._file.closed and self._calls._fails("close", str(self._file.name)):
            self._file.close()
            self._calls._fail()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _path(argument: object) -> str:
    """Return the path that a call is about, by way of its descriptor if it has only that."""
    return str(Path(f"/proc/self/fd/{argument}").readlink()) if isinstance(argument, int) else str(argument)
