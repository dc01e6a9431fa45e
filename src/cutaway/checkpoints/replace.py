"""Atomic replacement of a directory: all or nothing, even if the process is killed or the machine crashes.

Everything is written to a staging directory beside the target and flushed to disk; then the staging directory is
renamed to the target. If the target exists, the files to keep are first linked into the staging directory, and then the
two directories are exchanged. This is one system call on Linux. Elsewhere it takes two renames; a crash between them
leaves both directories complete, as `.NAME.saving-*`, until the next replacement restores the old one.
"""

import ctypes
import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cutaway.disk import sync

# from Linux's fcntl.h and fs.h
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

_OLD = "-old"  # suffix of a directory that was moved aside
_STAGING: set[Path] = set()  # directories that threads of this process are writing


@contextmanager
def replacing(target: Path, belongs: Callable[[str], bool]) -> Iterator[Path]:
    """Yield a new directory to write to. It becomes `target` if the block succeeds, and is removed if the block fails.

    Files of the old `target` are removed if `belongs(name)`; all others are kept. `target` must be absolute. Raises
    OSError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     for text in ("old", "new"):
    ...         with replacing(Path(directory) / "run", belongs=lambda name: name == "state.txt") as staging:
    ...             _ = (staging / "state.txt").write_text(text)
    ...     (Path(directory) / "run" / "state.txt").read_text()
    'new'
    """
    if target.is_mount():
        raise OSError(errno.EBUSY, f"{target.name} is a mount point: choose a directory in it", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target, belongs)  # first: they may fill the disk
    staging = target.with_name(f".{target.name}.saving-{os.getpid()}-{secrets.token_hex(4)}")
    _STAGING.add(staging)
    try:
        staging.mkdir()
        try:
            yield staging
            for path in staging.iterdir():
                sync(path)
            _link_others(target, staging, belongs)
            sync(staging)
            _install(staging, target)
        except BaseException:
            with suppress(OSError):
                _retire(staging, target, belongs)
            raise
    finally:
        _STAGING.discard(staging)
    with suppress(OSError):  # the new directory is in place: the next replacement retries a failed cleanup
        sync(target.parent)
        _remove_leftovers(target, belongs)


def _link_others(target: Path, staging: Path, belongs: Callable[[str], bool]) -> None:
    """Link the files of `target` that are kept into `staging`, before the exchange."""
    for path in target.iterdir() if target.is_dir() else ():
        if path.is_dir() or not belongs(path.name):
            if os.path.lexists(staging / path.name):
                raise OSError(errno.EEXIST, f"{path.name} is not a file", str(path))
            _link(path, staging / path.name)


def _link(path: Path, to: Path) -> None:
    import shutil  # not needed for a first token

    if path.is_dir() and not path.is_symlink():
        if path.is_mount():
            raise OSError(errno.EBUSY, f"{path.name} is a mount point", str(path))
        to.mkdir()
        for each in path.iterdir():
            _link(each, to / each.name)
        shutil.copystat(path, to)
        return
    try:
        os.link(path, to, follow_symlinks=False)
    except OSError:  # a file system without hard links, or another user's file
        shutil.copy2(path, to, follow_symlinks=False)
        if not to.is_symlink():
            sync(to)


def _install(staging: Path, target: Path) -> None:
    """Rename `staging` to `target`; the old target, if any, gets a name that `_leftovers` finds."""
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        staging.chmod(target.stat().st_mode & 0o7777)
        _exchange(staging, target)


def _exchange(staging: Path, target: Path) -> None:
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 and not renameat2(_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE):
        return
    aside = staging.with_name(f"{staging.name}{_OLD}")
    target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        aside.rename(target)
        raise


def _remove_leftovers(target: Path, belongs: Callable[[str], bool]) -> None:
    """Remove directories that this or an interrupted replacement left beside the target, ignoring errors."""
    for leftover in _leftovers(target):
        with suppress(OSError):
            if leftover.name.endswith(_OLD) and not target.exists():  # a crash between the two renames
                leftover.rename(target)
            else:
                _retire(leftover, target, belongs)


def _leftovers(target: Path) -> list[Path]:
    """List the directories of ended replacements beside the target, beginning with those that were moved aside."""
    name = re.compile(rf"\.{re.escape(target.name)}\.saving-(\d+)-[0-9a-f]{{8}}({_OLD})?")
    found = [(path, name.fullmatch(path.name)) for path in target.parent.iterdir()]
    ended = [path for path, match in found if match and path not in _STAGING and not _is_busy(int(match[1]))]
    return sorted(ended, key=lambda path: not path.name.endswith(_OLD))


def _is_busy(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return process != os.getpid()  # our own id is stale: in a container every process may have the same id


def _retire(leftover: Path, target: Path, belongs: Callable[[str], bool]) -> None:
    """Remove a directory that was replaced; a file to keep that is not linked yet moves back to `target`."""
    _make_writable(leftover)
    for path in leftover.iterdir():
        if belongs(path.name) and not path.is_dir():
            path.unlink()
        elif target.exists():
            _give_back(path, target / path.name)
    if not any(leftover.iterdir()):
        leftover.rmdir()


def _give_back(path: Path, to: Path) -> None:
    """Move a file or directory to `to`, or remove it if `to` is the same; keep it if `to` differs."""
    if not os.path.lexists(to):
        path.rename(to)
    elif _is_same(path, to):
        path.unlink()
    elif all(each.is_dir() and not each.is_symlink() for each in (path, to)):
        _make_writable(path)
        for each in path.iterdir():
            _give_back(each, to / each.name)
        if not any(path.iterdir()):
            path.rmdir()


def _make_writable(directory: Path) -> None:
    """Let the owner remove the files of a directory, which may be read-only."""
    directory.chmod(directory.stat().st_mode & 0o7777 | 0o700)


def _is_same(one: Path, other: Path) -> bool:
    import filecmp  # not needed for a first token

    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    if not (one.is_file() and other.is_file()):
        return not one.is_dir() and one.samefile(other)  # a device, a pipe
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
