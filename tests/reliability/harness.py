"""Common parts of the checks: results, scratch directories, forked trials, and a small run to try them on."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.errors import CheckpointError, CutawayError
from cutaway.tokenizer.vocabulary import gpt2_vocabulary
from cutaway.training.manifest import check_manifest, fingerprint
from cutaway.training.metrics_log import read_metrics
from cutaway.training.runs import RunDirectory, SavedCheckpoint
from tests.random_weights import random_weights

CONFIG = GPT2Config(n_vocab=9, n_ctx=4, n_embd=4, n_head=1, n_layer=1)
FINISHED = 0
REFUSED = CutawayError.exit_code  # an expected error
UNEXPECTED = 2
SURVIVED = 7  # finished, although a call failed
_PREFIX = "cutaway-reliability-"  # of a scratch directory; the process that made it follows


class BrokenPromiseError(Exception):
    """Raised at the first violation where one is enough, as it is on sabotaged code."""


@dataclass
class Result:
    """Trials of one check, and in words each trial that broke the promise."""

    one_is_enough: ClassVar[bool] = False

    trials: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, trial: str, problems: list[str]) -> None:
        """Count a trial."""
        self.trials += 1
        self.violations += [f"{trial}: {problem}" for problem in problems]
        if self.violations and self.one_is_enough:
            raise BrokenPromiseError(self.violations[0])

    def __add__(self, other: "Result") -> "Result":
        return Result(self.trials + other.trials, self.violations + other.violations)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a directory in memory where there is one: what is killed is a process, so no disk is needed."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    _remove_leftovers(parent)
    place = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def _remove_leftovers(parent: Path) -> None:
    """Remove scratch directories of processes that were killed, and unmount what they had mounted there."""
    for left in parent.glob(f"{_PREFIX}*-*"):
        if not _is_alive(int(left.name.removeprefix(_PREFIX).split("-")[0])):
            for place in filter(os.path.ismount, left.iterdir()):
                subprocess.run(["umount", place], check=False)
            shutil.rmtree(left, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def forked(work: Callable[[], int]) -> int:
    """Run `work` in a forked process and return its exit code, -9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(started(work), 0)[1])


def started(work: Callable[[], int]) -> int:
    """Run `work` in a forked process, which exits with what it returns; return the process."""
    child = os.fork()
    if child:
        return child
    try:
        code = work()
    except CutawayError:
        code = REFUSED
    except BaseException as error:  # noqa: BLE001 - a bug, which the exit code reports
        os.write(2, f"unexpected: {error!r}\n".encode())
        code = UNEXPECTED
    os._exit(code)


def result_of(work: Callable[[], Result]) -> Result:
    """Run `work` in a forked process and return its result."""
    ours, theirs = os.pipe()

    def report() -> int:
        with os.fdopen(theirs, "w") as file:
            json.dump(asdict(work()), file)
        return FINISHED

    child = started(report)
    os.close(theirs)
    with os.fdopen(ours) as file:
        reported = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == FINISHED
    return Result(**json.loads(reported))


def warm_up() -> None:
    """Do in this process what a save does once, so that forked trials need not."""
    gpt2_vocabulary()
    fingerprint()
    for seed in (1, 2, 3):
        weights_of(seed)


@cache
def weights_of(seed: int) -> ArrayWeights:
    """Return other weights for each seed."""
    return random_weights(CONFIG, seed, spread=0.1)


def arrays_of(seed: int) -> Mapping[str, NDArray[Any]]:
    """Return other arrays for each seed."""
    return {"momentum": np.full((3, 2), seed, np.float32), "generator": np.array([seed, 1], np.uint8)}


def save(run: RunDirectory, step: int, seed: int) -> None:
    """Append a line to the log and save the checkpoint that belongs to the seed."""
    run.append_metrics({"kind": "train", "step": step, "loss": 1 / seed})
    run.save(step, weights_of(seed), arrays_of(seed), {"seed": seed})


def seed_of(saved: SavedCheckpoint) -> int:
    """Return the seed to which weights, arrays and document of a checkpoint belong, -1 if they do not fit together."""
    seed = saved.document["seed"]
    assert isinstance(seed, int)
    arrays = saved.arrays()
    weights = saved.weights()
    same = arrays.keys() == arrays_of(seed).keys() and all(
        np.array_equal(arrays[name], array) for name, array in arrays_of(seed).items()
    )
    same = same and all(np.array_equal(weights.read(name), weights_of(seed).read(name)) for name in CONFIG.tensors)
    return seed if same else -1


def look(root: Path) -> tuple[dict[int, int], list[str]]:
    """Open a run as the next trainer does; return the seed of each step's checkpoint, and what is wrong."""
    problems: list[str] = []
    with RunDirectory.open(root, warn=problems.append) as run:
        seeds = {}
        for step in run.steps():
            directory = run.checkpoints / f"step-{step:08d}"
            try:
                check_manifest(directory, step)
                seeds[step] = seed_of(SavedCheckpoint(directory, step))
            except CheckpointError as error:
                problems.append(str(error))
        named = {f"step-{step:08d}" for step in run.steps()}
        problems += [f"{path.name} is left" for path in run.checkpoints.iterdir() if path.name not in named]
        newest = run.newest() if seeds else None
        if newest:
            run.rewind_metrics(newest.step)
            if read_metrics(root)[-1] != {"kind": "save", "step": newest.step}:
                problems.append("the log does not end with the newest checkpoint")
    problems += [f"{path.name} is left" for path in root.glob("trainer.lock*")]
    return seeds, problems
