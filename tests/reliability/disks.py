"""Check that a full disk or a quota, made with the system's own means, costs a save but no checkpoint."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cutaway.errors import RunError
from cutaway.training.runs import RunDirectory
from tests.reliability.harness import FINISHED, REFUSED, Result, forked, look, save, scratch

_PAGE = 4096


def file_size_limits(trials: int = 16) -> Result:
    """Save under RLIMIT_FSIZE, which fails every write beyond it, from nothing up to the size of the largest file."""
    result = Result()
    with scratch() as directory:
        with RunDirectory.open(directory / "template") as run:
            save(run, 1, 1)
            largest = max(path.stat().st_size for path in (run.checkpoints / "step-00000001").iterdir())
        for trial in range(trials):
            root = directory / "run"
            shutil.copytree(directory / "template", root)
            limit = largest * trial // trials
            result.add(f"at most {limit} bytes a file", _saved_or_refused(root, lambda: _limit(limit), "too large"))  # noqa: B023
            shutil.rmtree(root)
    return result


def _limit(n_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))


def full_disks(trials: int = 16) -> Result:
    """Save on a tmpfs that is full after ever fewer pages. Needs root."""
    result = Result()
    for pages in range(trials):
        with scratch() as directory, _tmpfs(directory / "disk") as root:
            with RunDirectory.open(root) as run:
                save(run, 1, 1)
            _fill(root, pages)
            problems = _saved_or_refused(root, lambda: None, "No space left on device (")
            result.add(f"{pages} pages left", problems)
    return result


@contextmanager
def _tmpfs(root: Path) -> Iterator[Path]:
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", root], check=True)


def can_mount() -> bool:
    """Return True if a tmpfs can be mounted here."""
    if os.geteuid():
        return False
    with scratch() as directory:
        (directory / "disk").mkdir()
        command = ["mount", "-t", "tmpfs", "tmpfs", str(directory / "disk")]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", directory / "disk"], check=True)
    return True


def _fill(root: Path, pages_left: int) -> None:
    free = os.statvfs(root)
    with (root / "filler").open("wb") as file:
        file.write(bytes((free.f_bavail - pages_left) * _PAGE))


def _saved_or_refused(root: Path, limit: Callable[[], None], reason: str) -> list[str]:
    """Save a second checkpoint in a forked process: it is there, or the refusal is one line and the first is intact."""
    message = root.parent / "message"

    def work() -> int:
        try:
            with RunDirectory.open(root) as run:
                limit()
                save(run, 2, 2)
        except RunError as error:
            _limit(resource.RLIM_INFINITY)
            message.write_text(str(error))
            raise
        return FINISHED

    limited = forked(work)
    (root / "filler").unlink(missing_ok=True)
    seeds, problems = look(root)
    if (limited, seeds) not in ((FINISHED, {1: 1, 2: 2}), (REFUSED, {1: 1})):
        problems.append(f"exit code {limited}, then step: seed is {seeds}")
    if limited == REFUSED:
        said = message.read_text()
        named = str(root) in said and reason in said and "\n" not in said
        problems += [] if named else [f"refused with {said!r}"]
    return problems
