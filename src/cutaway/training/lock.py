"""Lock of a run directory: only one trainer at a time. The stale lock of a dead trainer is replaced.

A lock is a file that names its owner by host, boot, process id and start time. The start time distinguishes it from a
later process with the same id. The file is created with `os.link`, which fails if a lock exists and never exposes a
half-written file. It does not rely on flock, which some network file systems ignore.

Replacing a stale lock must not remove the lock of a third process that was faster. So a successor first creates
`trainer.lock.after-TOKEN`, named after the dead owner's unique token; only one process can do that. If the chain of
these files from `trainer.lock` on then ends with the successor, it owns the directory and renames its file to
`trainer.lock`. Otherwise another process had already replaced the dead lock, and the successor starts again.
"""

import json
import os
import platform
import secrets
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cutaway.errors import CheckpointError, RunError
from cutaway.untrusted import quote_name, quote_path, read_object

NAME = "trainer.lock"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ATTEMPTS = 1000


@dataclass(frozen=True)
class Owner:
    """The process that owns a lock. `started` and `boot` are compared as text; "" if the system does not report one."""

    pid: int
    started: str
    host: str
    boot: str
    token: str

    @classmethod
    def this_process(cls) -> "Owner":
        """Return this process as a new owner. Raises OSError."""
        return cls(os.getpid(), _start_time(os.getpid()), platform.node(), _boot(), secrets.token_hex(8))

    def is_alive(self) -> bool:
        """Return False if the owner is known to be dead; one on another host, or that cannot be inspected, is alive."""
        if self.host != platform.node() or not self.started:
            return True
        try:
            return self.boot == _boot() and self.started == _start_time(self.pid)
        except OSError:  # for example too many open files
            return True


def _boot() -> str:
    return _BOOT.read_text().strip() if _BOOT.exists() else ""


def _start_time(pid: int) -> str:
    """Return the start time of a process as the system reports it; "" if no such process is alive.

    Raises OSError if the system does not report it: a lock without it could never be recognised as stale.
    """
    if not _BOOT.exists():
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    try:  # Linux: clock ticks since boot, the 22nd field; the second, in brackets, may hold spaces
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie is dead, although its parent has not reaped it yet


class Lock:
    """The lock of one directory. Raises RunError if a living process, or one on another host, holds it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     lock = Lock(Path(directory))
    ...     (Path(directory) / "trainer.lock").exists()
    ...     lock.release()
    ...     (Path(directory) / "trainer.lock").exists()
    True
    False
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / NAME
        self.owner = Owner.this_process()
        candidate = self._beside(f"{os.getpid()}-{self.owner.token}")
        try:
            self._acquire(candidate)
        finally:
            candidate.unlink(missing_ok=True)
        self._remove_leftovers()

    def release(self) -> None:
        """Release the lock. In a forked child this does nothing: the lock is the parent's."""
        if self.owner.pid == os.getpid():
            with suppress(CheckpointError, FileNotFoundError):
                if _read_owner(self.path) == self.owner:
                    self.path.unlink()

    def _acquire(self, candidate: Path) -> None:
        for _ in range(_ATTEMPTS):  # each failed attempt means that another process succeeded
            self._write(candidate)
            chain = self._chain()
            if chain and chain[-1].is_alive():
                if _read_owner(self.path) != chain[0]:  # replaced while it was read: the successor may have lost
                    continue
                self._refuse(chain[-1])
            if self._claim(candidate, chain):
                return
        raise RunError(f"{quote_path(self.path)} is contended by too many processes")

    def _write(self, candidate: Path) -> None:
        """Write the candidate lock file and sync it to disk: a lock must not be empty after a power failure."""
        if candidate.exists():
            return
        with candidate.open("x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self.owner)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _claim(self, candidate: Path, chain: list[Owner]) -> bool:
        """Try to become the first owner, or the successor of the chain's last owner, which is dead."""
        place = self._beside(f"after-{chain[-1].token}") if chain else self.path
        try:
            os.link(candidate, place)
        except (FileExistsError, FileNotFoundError):  # another process was faster, or removed the candidate
            return False
        if not chain:
            return True
        if self.owner not in self._chain():  # another process had already replaced the dead lock
            place.unlink(missing_ok=True)
            return False
        place.replace(self.path)
        return True

    def _chain(self) -> list[Owner]:
        """Return the owner that the lock names, followed by the successors of dead owners; [] if there is no lock."""
        owners: list[Owner] = []
        place = self.path
        while (owner := _read_owner(place)) is not None:
            owners.append(owner)
            place = self._beside(f"after-{owner.token}")
        return owners

    def _beside(self, suffix: str) -> Path:
        return self.directory / f"{NAME}.{suffix}"

    def _refuse(self, owner: Owner) -> None:
        name = quote_path(self.directory)
        if owner.host == self.owner.host:
            raise RunError(
                f"{name} is in use by process {owner.pid} on {quote_name(owner.host)}: "
                "stop it, wait for it, or choose another directory"
            )
        raise RunError(
            f"{name} is in use by process {owner.pid} on another host, {quote_name(owner.host)}: "
            f"wait for it, or delete {NAME} if it is dead"
        )

    def _remove_leftovers(self) -> None:
        """Remove the files of processes that died while acquiring the lock.

        A half-written file may belong to a living process, which then finds it missing and writes it again.
        """
        for path in self.directory.glob(f"{NAME}.*"):
            try:
                owner = _read_owner(path)
            except RunError:
                path.unlink(missing_ok=True)
            else:
                if owner is not None and not owner.is_alive():
                    path.unlink(missing_ok=True)


def _read_owner(path: Path) -> Owner | None:
    """Read a lock; None if there is none. Raises RunError if it is damaged."""
    if not path.exists():
        return None
    try:
        match read_object(path):
            case {"pid": int(pid), "started": str(started), "host": str(host), "boot": str(boot), "token": str(token)}:
                if token.isalnum():
                    return Owner(pid, started, host, boot, token)
    except CheckpointError as error:
        if not path.exists():  # released in the meantime
            return None
        raise RunError(f"{error}; delete it if no trainer is running") from None
    raise RunError(f"{quote_path(path)}: is not a lock; delete it if no trainer is running")
