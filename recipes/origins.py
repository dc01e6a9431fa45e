"""Clone public repositories at fixed commits, and split their documents by hash."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

Record = dict[str, str]
MAX_BYTES = 4 * 2**20


class CorpusError(Exception):
    """Raised for an invalid or missing source: what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Document:
    """A document of a repository: its title, which may be empty or shared, its path in the repository, its text."""

    title: str
    path: str
    text: str


def clone(clones: Path, repository: str, commit: str, patterns: tuple[str, ...]) -> Path:
    """Return the clone of owner/name inside `clones`; clone if it is missing.

    Only files that match `patterns` (as in .gitignore) are downloaded and checked out. Raises CorpusError for a clone
    at another commit. A folder without .git is used as it is.
    """
    folder = clones / repository.split("/")[1]
    if not folder.exists():
        url = f"https://github.com/{repository}"
        git("clone", "--quiet", "--filter=blob:none", "--no-checkout", url, str(folder))
        git("-C", str(folder), "sparse-checkout", "set", "--no-cone", *patterns)
        git("-C", str(folder), "checkout", "--quiet", commit)
    elif (folder / ".git").exists() and not git("-C", str(folder), "rev-parse", "HEAD").startswith(commit):
        raise CorpusError(f"{folder} is not at its commit; run git -C {folder} checkout {commit}")
    return folder


def git(*arguments: str) -> str:
    """Return the output of git. Raises CorpusError with git's last line if it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CorpusError(f"git {' '.join(arguments)}: {reason}; or clone it yourself into the folder of --sources")
    return done.stdout.strip()


def existing(path: Path) -> Path:
    """Return the path of a file in a clone. Raises CorpusError if it is missing."""
    if not path.is_file():
        raise CorpusError(f"{path} is missing; check that the clone is whole and at its commit")
    return path


def is_small(path: Path) -> bool:
    """Return True for a file below 4 MiB. Larger files were not read for the recorded text."""
    return path.stat().st_size < MAX_BYTES


def bucket(key: str) -> int:
    """Return the SHA-256 of a key modulo 100. Buckets 0 and 1 are set aside, 2 is for validation, others for training.

    >>> bucket("Emma")
    93
    """
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100
