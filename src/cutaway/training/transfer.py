"""The transfer curve: a model trained from scratch and pre-trained, on shares of the same data, with several seeds.

Khandelwal et al. (2019, "Sample Efficient Text Summarization Using a Single Pre-Trained Transformer") show in this way
that pre-training helps more, the less data there is. Every run is validated on the same examples, uses early stopping,
and is scored by its best checkpoint.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals

from cutaway.data.records import read_records
from cutaway.disk import replacing_file
from cutaway.errors import CutawayError, UsageError
from cutaway.tasks import open_task
from cutaway.tasks.records import read_task_records
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.finetuning import AFTER, finetune
from cutaway.training.loop import Observer
from cutaway.training.metrics_log import NAME as METRICS
from cutaway.training.resumption import Difference
from cutaway.training.runs import CHECKPOINTS, CURVE, refuse_others
from cutaway.untrusted import quote_path, read_object

RUNS = "runs"
LABELS = {True: "from scratch", False: "pre-trained"}


@dataclass(frozen=True)
class TransferRun:
    """One run of a curve. `number` counts the runs from 1."""

    number: int
    from_scratch: bool
    share: float
    seed: int

    @property
    def name(self) -> str:
        """The run's directory: "scratch-3%-seed1".

        >>> TransferRun(1, True, 0.03, 1).name
        'scratch-3%-seed1'
        """
        return f"{'scratch' if self.from_scratch else 'pretrained'}-{100 * self.share:g}%-seed{self.seed}"


@dataclass(frozen=True)
class TransferCurve:
    """Validation losses in nats by label, then share, then seed; incomplete if a `signal` ended the session."""

    shares: Sequence[float]
    losses: dict[str, list[list[float]]]
    signal: Signals | None = None


def plan_runs(shares: Sequence[float], seeds: Sequence[int]) -> list[TransferRun]:
    """Return the runs of a curve, the ones with the least data first.

    >>> [run.name for run in plan_runs([1.0], [1])]
    ['scratch-100%-seed1', 'pretrained-100%-seed1']
    """
    order = [(share, seed, scratch) for share in sorted(shares) for seed in seeds for scratch in (True, False)]
    return [TransferRun(i, scratch, share, seed) for i, (share, seed, scratch) in enumerate(order, start=1)]


def measure_transfer(
    config: FineTuneConfig,
    shares: Sequence[float],
    seeds: Sequence[int],
    directory: Path,
    observe: Callable[[TransferRun, int], Observer],
) -> TransferCurve:
    """Train all models of a curve, each in its own run directory, and return their validation losses.

    `observe` maps each run and the number of runs to an observer. Finished runs are skipped, and an interrupted run is
    resumed. The checkpoints and the model of a finished run are deleted. Raises UsageError if there are no held-out
    examples or if the directory holds another curve.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from cutaway.checkpoints import ArrayWeights, save_checkpoint
    >>> from cutaway.config import GPT2Config
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> from cutaway.training.loop import Silent
    >>> shape = GPT2Config(n_ctx=8, n_embd=2, n_head=1, n_layer=1)
    >>> ones = ArrayWeights(shape, {name: np.ones(s, np.float32) for name, s in shape.tensor_shapes().items()})
    >>> with TemporaryDirectory() as directory:
    ...     save_checkpoint(f"{directory}/tiny", ones, tokenizer=Tokenizer.gpt2())
    ...     data = Path(directory) / "robots.jsonl"
    ...     _ = data.write_text('{"text": "A robot must obey."}\\n{"text": "A robot must serve."}\\n')
    ...     config = FineTuneConfig(model=f"{directory}/tiny", data=str(data), valid="50%", max_steps=1)
    ...     curve = measure_transfer(config, [1.0], [1], Path(directory) / "curve", lambda run, count: Silent())
    >>> {label: len(losses) for label, losses in curve.losses.items()}
    {'from scratch': 1, 'pre-trained': 1}
    """
    if config.valid_share == 0:
        raise UsageError("a curve compares validation losses: give --valid a share above 0%, or a file")
    _check_data(config)
    _claim(directory, config)
    losses: dict[tuple[bool, float], list[float]] = {}
    runs = plan_runs(shares, seeds)
    for run in runs:
        path = directory / RUNS / run.name
        if not (path / AFTER).exists():
            settings = replace(config, from_scratch=run.from_scratch, share=run.share, seed=run.seed)
            with _naming(run):
                outcome = finetune(settings, path, observe(run, len(runs))).outcome
            if outcome.signal is not None:
                return TransferCurve(shares, {}, outcome.signal)
        for name in ("checkpoints", "model"):
            shutil.rmtree(path / name, ignore_errors=True)
        losses.setdefault((run.from_scratch, run.share), []).append(_loss(path / AFTER))
    found = {label: [losses[scratch, share] for share in sorted(shares)] for scratch, label in LABELS.items()}
    return TransferCurve(sorted(shares), found)


def _check_data(config: FineTuneConfig) -> None:
    """Read the data once. Raises UsageError, before anything is written, if it is invalid."""
    names = [config.data, *([config.valid] if config.valid_share is None else [])]
    for path in (Path(name).expanduser() for name in names):
        if config.task:
            read_task_records(path, open_task(config.task))
        else:
            read_records(path)


@contextmanager
def _naming(run: TransferRun) -> Iterator[None]:
    """Return a context manager that adds the run's name to an expected error."""
    try:
        yield
    except CutawayError as error:
        raise type(error)(f"run {run.name}: {error}") from None


def _claim(directory: Path, config: FineTuneConfig) -> None:
    """Record the settings of a curve in its directory. Raises UsageError if it has runs with other settings."""
    refuse_others(directory, "curve", CURVE, (CHECKPOINTS, METRICS))
    path = directory / CURVE
    document = config.to_document()
    is_begun = path.exists() and (directory / RUNS).exists()  # not begun if the first run was refused
    different = Difference.between(read_object(path), document) if is_begun else None
    if different:
        raise UsageError(f"{quote_path(directory)}: this curve would have {different}: use another --out")
    directory.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())


def _loss(path: Path) -> float:
    loss = read_object(path).get("valid_loss")
    if not isinstance(loss, float):
        raise UsageError(f"{quote_path(path)}: has no valid_loss: delete the run, and run the same command again")
    return loss


def table(curve: TransferCurve) -> Iterator[str]:
    """Yield the mean losses as lines of text.

    >>> losses = {"from scratch": [[5.0, 5.2], [4.0]], "pre-trained": [[3.5], [3.0]]}
    >>> print("\\n".join(table(TransferCurve([0.01, 1.0], losses))))
    share of the data       1 %    100 %
    from scratch          5.100    4.000
    pre-trained           3.500    3.000
    """
    yield f"{'share of the data':<18}" + "".join(f"{f'{100 * share:g} %':>9}" for share in curve.shares)
    for label, by_share in curve.losses.items():
        yield f"{label:<18}" + "".join(f"{sum(losses) / len(losses):>9.3f}" for losses in by_share)
