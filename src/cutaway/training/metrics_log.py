"""The log of a run, `metrics.jsonl`: one JSON object per line, each with a "step" and a "kind".

Lines are in order of steps, and each is appended with one write. When a run resumes from a checkpoint, the lines after
its save are truncated. So a run that was killed ends with the same log as one that was not.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cutaway.disk import sync
from cutaway.errors import CheckpointError, RunError, WriteError
from cutaway.untrusted import parse_object, quote_path

NAME = "metrics.jsonl"


class MetricsLog:
    """The log of one run directory, open for appending."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._file: int | None = None

    def append(self, event: Mapping[str, object]) -> None:
        """Append one event. Raises RunError if it holds NaN or infinity, or cannot be written."""
        try:
            line = _encode(event)
        except ValueError:
            raise RunError(f"{quote_path(self.path)}: step {event.get('step')} holds NaN or infinity") from None
        with self._run_errors("cannot be written"):
            self._write(line)

    def _write(self, line: bytes) -> None:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        end = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):  # the disk is full: a second write raises the error
                os.write(self._file, line[written:])
        except OSError:
            os.ftruncate(self._file, end)  # so that the next line does not continue a torn one
            raise

    def sync(self) -> None:
        """Sync all lines and the directory entry of the file to disk. Raises OSError."""
        if self._file is not None:
            os.fsync(self._file)
            sync(self.path.parent)

    def rewind(self, step: int, last: Mapping[str, object]) -> None:
        """Truncate the log after `last`, the last line of `step`; append that line if it is missing.

        Raises RunError if an earlier line is damaged, because the lines after it would be lost.
        """
        self.close()
        with self._run_errors("cannot be rewound"):
            lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
            kept = self._up_to(step, lines)
            if _encode(last) in kept:
                kept = kept[: kept.index(_encode(last)) + 1]
            if len(kept) < len(lines):
                self._truncate(sum(map(len, kept)))
        if not kept or kept[-1] != _encode(last):
            self.append(last)

    def clear(self) -> None:
        """Remove all lines. Raises RunError."""
        self.close()
        with self._run_errors("cannot be rewound"):
            self.path.unlink(missing_ok=True)

    def _up_to(self, step: int, lines: list[bytes]) -> list[bytes]:
        """Return the lines before the first one that is torn or belongs to a later step."""
        steps = [_step(line, self.path) for line in lines]
        end = next((index for index, of in enumerate(steps) if of is None or of > step), len(lines))
        if any(of is not None and of <= step for of in steps[end:]):
            raise RunError(
                f"{quote_path(self.path)}: line {end + 1} is damaged: restore it, or move the file out of the run"
            )
        return lines[:end]

    def _truncate(self, end: int) -> None:
        os.truncate(self.path, end)
        sync(self.path)

    @contextmanager
    def _run_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(f"{quote_path(self.path)}: {what}: {error.strerror}") from None

    def close(self) -> None:
        """Close the file; `append` opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _encode(event: Mapping[str, object]) -> bytes:
    return json.dumps(event, allow_nan=False).encode() + b"\n"


def _step(line: bytes, path: Path) -> int | None:
    """Return the step of a line; None if the line is torn or damaged."""
    try:
        step = parse_object(line, path).get("step")
    except CheckpointError:
        return None
    return step if line.endswith(b"\n") and type(step) is int else None


def read_metrics(directory: str | Path) -> list[dict[str, object]]:
    """Return the events of a run, without a torn last line; an empty list if there is no log yet.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     log = MetricsLog(Path(directory))
    ...     log.append({"step": 1, "kind": "train", "loss": 3.5})
    ...     log.close()
    ...     read_metrics(directory)
    [{'step': 1, 'kind': 'train', 'loss': 3.5}]
    """
    path = Path(directory) / NAME
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [parse_object(line, path) for line in lines if line.endswith(b"\n")]
