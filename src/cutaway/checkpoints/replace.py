"""Atomic replacement of a directory: all or nothing, even if the process is killed or the machine crashes.

Everything is written in a directory beside the target and seen onto the disk; then that directory takes the target's
name in one step. Where the target holds files already, the two directories are exchanged (one system call on Linux;
elsewhere three renames, and a crash between them leaves both whole beside each other, as `.NAME.saving-*`).
"""

import ctypes
import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# from Linux's fcntl.h and fs.h
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replacing(target: Path, belongs: Callable[[str], bool]) -> Iterator[Path]:
    """Give a new directory to write in, which becomes `target` when the block ends well, and vanishes when it does not.

    Of the files that `target` held before, those whose name `belongs` to what is replaced go, and all others stay.
    `target` must be absolute. Raises OSError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     for text in ("old", "new"):
    ...         with replacing(Path(directory) / "run", belongs=lambda name: name == "state.txt") as staging:
    ...             _ = (staging / "state.txt").write_text(text)
    ...     (Path(directory) / "run" / "state.txt").read_text()
    'new'
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.saving-{os.getpid()}-{secrets.token_hex(4)}")
    staging.mkdir()
    try:
        yield staging
        for path in (*staging.iterdir(), staging):
            sync(path)
        _install(staging, target)
    except BaseException:
        with suppress(OSError):
            _retire(staging, target, belongs)
        raise
    sync(target.parent)
    for leftover in _leftovers(target):
        _retire(leftover, target, belongs)


def _install(staging: Path, target: Path) -> None:
    """Give `staging` the name of `target`; what was there is under the name of `staging` afterwards."""
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        staging.chmod(target.stat().st_mode & 0o7777)
        _exchange(staging, target)


def _exchange(one: Path, other: Path) -> None:
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 and not renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        return
    aside = one.with_name(f"{one.name}-old")
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)


def _leftovers(target: Path) -> list[Path]:
    """List what this or an interrupted replacement left beside the target; not the directories of running processes."""
    name = re.compile(rf"\.{re.escape(target.name)}\.saving-(\d+)-[0-9a-f]{{8}}(-old)?")
    found = [(path, name.fullmatch(path.name)) for path in target.parent.iterdir()]
    return [path for path, match in found if match and not _is_busy(int(match[1]))]


def _is_busy(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return process != os.getpid()  # ours from an earlier life: in a container every process may have the same number


def _retire(leftover: Path, target: Path, belongs: Callable[[str], bool]) -> None:
    """Remove a directory that was replaced; what is not ours to remove moves to where it was."""
    for path in leftover.iterdir():
        if belongs(path.name):
            path.unlink()
        elif not (target / path.name).exists():
            path.rename(target / path.name)
    if not any(leftover.iterdir()):
        leftover.rmdir()


def sync(path: Path) -> None:
    """See a file's or a directory's content onto the disk. Raises OSError.

    >>> sync(Path("/"))
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
