"""Inputs of a prepared corpus: everything that determines its bytes, except the tokenizer."""

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cutaway.checks import check_float, check_int
from cutaway.data.blocks import BLOCK_BYTES, PART_BYTES, Lot, make_lots
from cutaway.data.sources import SourceFile, find_sources
from cutaway.errors import UsageError
from cutaway.untrusted import quote_path


@dataclass(frozen=True)
class Inputs:
    """Everything that determines the bytes of a corpus, except the tokenizer."""

    sources: tuple[SourceFile, ...]
    valid_share: float
    field: str
    block_bytes: int
    part_bytes: int

    def document(self) -> dict[str, object]:
        """Describe the inputs for comparison; files are identified by path, size and modification time."""
        files = [
            [str(source.path), source.n_bytes, source.split, source.path.stat().st_mtime_ns] for source in self.sources
        ]
        return {**vars(self), "sources": files}

    def lots(self) -> list[Lot]:
        """Group the files into lots."""
        return make_lots(self.sources, self.field, self.valid_share, self.block_bytes, self.part_bytes)

    def without(self, directory: Path) -> "Inputs":
        """Return a copy without the files in a directory."""
        own = directory.resolve()
        sources = tuple(source for source in self.sources if own not in source.path.resolve().parents)
        return replace(self, sources=sources)


def find_inputs(
    files: Sequence[str | Path],
    valid: float | Sequence[str | Path] = 0,
    field: str = "text",
    block_bytes: int = BLOCK_BYTES,
    part_bytes: int = PART_BYTES,
) -> Inputs:
    """Find the files of a corpus. `valid` is the share of documents to draw for validation, or the validation files.

    Raises UsageError if a file is missing, is not a regular file, or is used for both training and validation, and for
    a number out of range.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     _ = Path(f"{directory}/a.txt").write_text("A robot must obey")
    ...     [source.n_bytes for source in find_inputs([directory]).sources]
    [17]
    """
    share = valid if isinstance(valid, int | float) else 0.0
    check_float("valid", share, 0, 0.5)
    sources = find_sources([Path(path) for path in files])
    held = [] if isinstance(valid, int | float) else find_sources([Path(path) for path in valid], "valid")
    check_files([*sources, *held])
    _check_apart(sources, held)
    return Inputs((*sources, *held), share, field, check_int("block_bytes", block_bytes, 1), part_bytes)


def check_files(sources: Sequence[SourceFile]) -> None:
    """Raise UsageError for a pipe, a socket or a device: they cannot be read again when a preparation resumes.

    >>> check_files([SourceFile(Path("/dev/null"), 0)])
    Traceback (most recent call last):
    cutaway.errors.UsageError: /dev/null: is not a regular file; save its content to one, and prepare that
    """
    for source in sources:
        if not source.path.is_file():
            raise UsageError(
                f"{quote_path(source.path)}: is not a regular file; save its content to one, and prepare that"
            )


def _check_apart(train: Sequence[SourceFile], valid: Sequence[SourceFile]) -> None:
    """Raise UsageError if a validation file, or a copy of it, is also a training file."""
    of_size: dict[int, list[Path]] = {}
    for source in train:
        of_size.setdefault(source.n_bytes, []).append(source.path)
    for held in valid:
        for path in of_size.get(held.n_bytes, []) if held.n_bytes else []:
            if not (path.samefile(held.path) or filecmp.cmp(path, held.path, shallow=False)):
                continue
            copy = "" if path == held.path else f", as {quote_path(path)},"
            raise UsageError(
                f"{quote_path(held.path)}: is to be validated on, and{copy} to be trained on; "
                "take it out of one of them, or hold out a share with --valid 1%"
            )
