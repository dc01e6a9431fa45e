"""Run directory: atomic checkpoints, the log, and the finished model. Needs no PyTorch.

    RUN/config.json    RUN/metrics.jsonl    RUN/trainer.lock    RUN/model/ (at the end)
    RUN/checkpoints/step-00000100/    a Hugging Face directory, and beside its files
        optimizer.safetensors  state.json  manifest.json

A checkpoint is written to a temporary directory. Every file is synced to disk, then the manifest, then the directory.
One rename gives it its name, and it is saved once the rename is synced too. The newest checkpoint is found by listing
the directory. Only one process has the directory open (`lock`), so half-written files in it were left by a dead process
and are removed.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from cutaway.checkpoints import Checkpoint, Weights, save_checkpoint
from cutaway.checkpoints.adapter import ADAPTER_CONFIG, Adapter, remove_adapter, save_adapter
from cutaway.checkpoints.safetensors import read_arrays, write_arrays
from cutaway.checkpoints.save import remove_checkpoint, save_failure, weights_bytes, write_checkpoint
from cutaway.checks import check_int
from cutaway.data.manifest import MANIFEST
from cutaway.data.writer import PROGRESS
from cutaway.disk import replacing_file, sync
from cutaway.errors import CheckpointError, RunError, UsageError, WriteError, complain
from cutaway.formats import FORMATS
from cutaway.music.codec_file import CODEC
from cutaway.tokenizer.codec import TokenCodec
from cutaway.tokenizer.files import FILES as TOKENIZER_FILES
from cutaway.training.faults import fault
from cutaway.training.lock import Lock
from cutaway.training.manifest import check_manifest, write_manifest
from cutaway.training.metrics_log import NAME as METRICS
from cutaway.training.metrics_log import MetricsLog
from cutaway.untrusted import parse_object, quote_path, read_object

CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
MODEL = "model"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
CURVE = "curve-config.json"
# Files that mark a model, an adapter, a tokenizer, a corpus or a curve.
OTHERS = (CONFIG, ADAPTER_CONFIG, *TOKENIZER_FILES, CODEC, MANIFEST, PROGRESS, CURVE)
_STEP = re.compile(r"step-(\d{8,})")
_ASIDE = re.compile(r"(step-\d{8,})\.old-\d+-[0-9a-f]{8}")
_HALF = re.compile(r"step-\d{8,}\.(tmp|old)-\d+-[0-9a-f]{8}")


class SavedCheckpoint:
    """A checkpoint of a run. Every byte is checked when it is opened."""

    def __init__(self, directory: Path, step: int) -> None:
        self.directory = directory
        self.step = step
        manifest = check_manifest(directory, step)
        self.document = read_object(directory / STATE)
        environment = manifest["environment"]
        assert isinstance(environment, dict)  # guaranteed by its SHA-256
        self.environment: Mapping[str, object] = environment

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Read the arrays that were saved with the weights."""
        return read_arrays(self.directory / OPTIMIZER)

    def weights(self) -> Weights:
        """Open the weights."""
        return Checkpoint(self.directory, self.directory.name)


class RunDirectory:
    """The directory of one run, locked until it is closed.

    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.checkpoints import ArrayWeights
    >>> from cutaway.config import GPT2Config
    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> ones = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> with TemporaryDirectory() as directory, RunDirectory.open(directory) as run:
    ...     path = run.save(100, ArrayWeights(config, ones), {"momentum": np.zeros(2)}, {"consumed": 6400})
    ...     saved = run.newest()
    >>> path.name, saved.step, saved.document
    ('step-00000100', 100, {'consumed': 6400})
    """

    def __init__(self, path: Path, lock: Lock, warn: Callable[[str], None]) -> None:
        self.path = path
        self.checkpoints = path / CHECKPOINTS
        self._lock = lock
        self._warn = warn
        self._metrics = MetricsLog(path)

    @classmethod
    def open(cls, path: str | Path, warn: Callable[[str], None] = complain) -> Self:
        """Create the directory if it is missing, lock it, and remove half-written files of an interrupted trainer.

        `warn` is called with one line for each damaged checkpoint that is skipped. Raises UsageError if the directory
        is a model, a tokenizer or a corpus, or holds files that a run would overwrite. Raises RunError if another
        trainer has locked it or if it cannot be written.
        """
        path = Path(path)
        with _run_errors(path, "cannot be used as a run directory"):
            refuse_others(path, "run", CHECKPOINTS, (METRICS, MODEL))  # CHECKPOINTS is created before these
            (path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            sync(path)
            sync(path.parent)
            run = cls(path, Lock(path), warn)
            try:
                run._remove_leftovers()
            except BaseException:
                run.close()
                raise
        return run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the log and unlock the directory."""
        self._metrics.close()
        self._lock.release()

    def write_config(self, document: Mapping[str, object]) -> None:
        """Write the settings of the run to RUN/config.json. Raises RunError."""
        with _run_errors(self.path / CONFIG, "cannot be written"), replacing_file(self.path / CONFIG) as file:
            file.write((json.dumps(document, indent=2) + "\n").encode())

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, valid or not, in order. Raises RunError."""
        with _run_errors(self.checkpoints, "cannot be read"):
            return saved_steps(self.path)

    def save(
        self,
        step: int,
        weights: Weights,
        arrays: Mapping[str, NDArray[Any]],
        document: Mapping[str, object],
        codec: TokenCodec | None = None,
        side_files: Mapping[str, str] | None = None,
    ) -> Path:
        """Save a checkpoint; return its directory once it and all earlier lines of the log are synced to disk.

        `arrays` may have any names and shapes; `document` must be valid as JSON; `side_files` are those of
        `save_checkpoint`. An existing checkpoint of this step is replaced. The line {"kind": "save", "step": step} is
        appended to the log. Raises RunError if the checkpoint cannot be saved; existing checkpoints are then unchanged.
        """
        check_int("step", step, 0)
        target = self._place(step)
        staging = self._beside(target, "tmp")
        needed = sum(array.nbytes for array in arrays.values()) + weights_bytes(weights, FORMATS[weights.dtype])
        with _run_errors(target, "cannot be saved", needed):
            try:
                staging.mkdir()
                write_checkpoint(staging, weights, FORMATS[weights.dtype], codec, side_files=side_files)
                write_arrays(staging / OPTIMIZER, arrays)
                (staging / STATE).write_bytes(_encode(document, staging / STATE))
                write_manifest(staging, step)
                fault("save.after_write")
                for path in sorted(staging.iterdir()):
                    sync(path)
                sync(staging)
                self._metrics.sync()
                fault("save.before_rename")
                self._install(staging, target)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
        self.append_metrics(_saved(step))
        return target

    def _install(self, staging: Path, target: Path) -> None:
        """Rename a checkpoint into place, and sync the rename. An existing one of that name is moved aside first."""
        aside = self._beside(target, "old")
        if target.exists():
            target.rename(aside)
            fault("save.after_aside")
        try:
            staging.rename(target)
        except OSError:
            if aside.exists():
                aside.rename(target)
            raise
        fault("save.after_rename")
        sync(self.checkpoints)
        fault("save.after_sync")
        if aside.exists():
            shutil.rmtree(aside, ignore_errors=True)  # the new one is saved; opening the run again removes the rest

    def newest(self, *, strict: bool = False) -> SavedCheckpoint | None:
        """Return the newest valid checkpoint; None if the run has no checkpoint yet.

        A damaged checkpoint is skipped with a warning; with `strict` it raises RunError. Raises RunError if all are
        damaged, because starting over would overwrite what may be recovered by hand.
        """
        damaged = ""
        for step in reversed(self.steps()):
            try:
                return self.checkpoint(step)
            except CheckpointError as error:
                damaged = str(error)
            if strict:
                raise RunError(f"{damaged}; move {self._place(step).name} away to resume from the one before")
            self._warn(f"{damaged}; {self._place(step).name} is skipped")
        if damaged:
            raise RunError(f"{damaged}; no valid checkpoint is left, choose another directory to start over")
        return None

    def checkpoint(self, step: int) -> SavedCheckpoint:
        """Open the checkpoint of a step. Raises CheckpointError if it is missing or damaged."""
        return SavedCheckpoint(self._place(step), step)

    def prune(self, keep_last: int, best: int | None = None) -> None:
        """Delete all checkpoints except the last `keep_last` and the one of step `best`.

        The newest valid checkpoint is always kept, because the run resumes from it. Raises RunError if deleting fails.
        """
        check_int("keep_last", keep_last, 1)
        steps = self.steps()
        rest = [step for step in steps if step not in (*steps[-keep_last:], best)]
        valid = next(filter(self._is_valid, reversed(steps)), None) if rest else None
        for step in rest:
            if valid is not None and step != valid:
                self._delete(self._place(step))

    def _is_valid(self, step: int) -> bool:
        try:
            check_manifest(self._place(step), step)
        except CheckpointError:
            return False
        return True

    def _delete(self, target: Path) -> None:
        """Delete a checkpoint. Rename it first, so that a half-deleted one never has a checkpoint's name."""
        with _run_errors(target, "cannot be deleted"):
            leftover = self._beside(target, "tmp")
            target.rename(leftover)
            fault("prune.after_rename")
            sync(self.checkpoints)
            shutil.rmtree(leftover)

    def append_metrics(self, event: Mapping[str, object]) -> None:
        """Append one event with its "step" and "kind" to the log. Raises RunError.

        Append all events of a step before saving it: when the run resumes, the log is truncated after the save.
        """
        self._metrics.append(event)

    def rewind_metrics(self, step: int) -> None:
        """Truncate the log after the save of the checkpoint of `step`; step 0 without a checkpoint empties the log.

        The line of the save is appended if the trainer was killed before writing it. Raises RunError.
        """
        if self._place(step).exists():
            self._metrics.rewind(step, _saved(step))
        elif step == 0:
            self._metrics.clear()
        else:
            raise UsageError(f"{quote_path(self._place(step))}: no such checkpoint")

    def finish(
        self,
        weights: Weights,
        codec: TokenCodec | None = None,
        generation_config: Mapping[str, object] | None = None,
        side_files: Mapping[str, str] | None = None,
    ) -> Path:
        """Write the finished model to RUN/model as a Hugging Face directory. Raises WriteError."""
        with self._model_errors() as target:
            save_checkpoint(
                target,
                weights,
                tokenizer=codec,
                generation_config=generation_config,
                side_files=side_files,
                overwrite=True,
            )
            remove_adapter(target)
        return target

    def finish_adapter(self, adapter: Adapter, side_files: Mapping[str, str] | None = None) -> Path:
        """Write the finished adapter to RUN/model, without the base model. Raises WriteError."""
        with self._model_errors() as target:
            remove_checkpoint(target)
            save_adapter(target, adapter, side_files)
        return target

    @contextmanager
    def _model_errors(self) -> Iterator[Path]:
        """Yield the path of the finished model, and turn errors of writing it into WriteErrors."""
        target = self.path / MODEL
        try:
            with _run_errors(target, "cannot be saved"):
                yield target
        except RunError as error:
            raise WriteError(str(error)) from None

    def _place(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}"

    def _beside(self, target: Path, kind: str) -> Path:
        return target.with_name(f"{target.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")

    def _remove_leftovers(self) -> None:
        """Restore a checkpoint that was moved aside but not replaced; remove half-written and half-deleted ones."""
        for path in sorted(self.checkpoints.iterdir()):
            aside = _ASIDE.fullmatch(path.name)
            if aside and not path.with_name(aside[1]).exists():
                path.rename(path.with_name(aside[1]))
                sync(self.checkpoints)
            elif _HALF.fullmatch(path.name):
                shutil.rmtree(path)


def saved_steps(path: Path) -> list[int]:
    """Return the steps of all checkpoints in a run directory, valid or not, in order. Raises OSError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     (Path(directory) / "checkpoints" / "step-00000100").mkdir(parents=True)
    ...     saved_steps(Path(directory))
    [100]
    """
    found = [_STEP.fullmatch(checkpoint.name) for checkpoint in (path / CHECKPOINTS).iterdir()]
    return sorted(int(match[1]) for match in found if match)


def refuse_others(path: Path, kind: str, mark: str, own: Iterable[str]) -> None:
    """Raise UsageError if a directory has no `mark`, so it is not of this `kind`, but holds files of the names in
    `own`, or files of a model, a tokenizer, a corpus or a curve.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     _ = (Path(directory) / "vocab.json").write_text("{}")
    ...     refuse_others(Path(directory), "run", CHECKPOINTS, [METRICS])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cutaway.errors.UsageError: ...: holds vocab.json but no checkpoints, so it is not a run: use another --out
    """
    found = [name for name in (*own, *OTHERS) if (path / name).exists()]
    if found and not (path / mark).exists():
        raise UsageError(
            f"{quote_path(path)}: holds {found[0]} but no {mark}, so it is not a {kind}: use another --out"
        )


def _saved(step: int) -> dict[str, object]:
    return {"kind": "save", "step": step}


@contextmanager
def _run_errors(path: Path, what: str, needed: int = 0) -> Iterator[None]:
    """Turn errors of saving and deleting into one-line RunErrors."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{quote_path(path)}: {what}: {save_failure(error, path, needed)}") from None
    except CheckpointError as error:
        own = f"{quote_path(path.expanduser().resolve())}: {what}: "  # as CheckpointError messages begin
        raise RunError(f"{quote_path(path)}: {what}: {str(error).removeprefix(own)}") from None


def _encode(document: Mapping[str, object], path: Path) -> bytes:
    """Encode a document as JSON. Raises CheckpointError if it could not be read back, for example because of NaN."""
    data = (json.dumps(document, indent=2) + "\n").encode()
    parse_object(data, path)
    return data
