"""A run from its configuration: the corpora that it reads, its model, and what may change when it is resumed."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from cutaway.checkpoints import Checkpoint, open_source
from cutaway.config import GPT2Config
from cutaway.data.batches import Windows, evaluation_windows
from cutaway.data.dataset import Dataset, open_dataset
from cutaway.errors import UsageError
from cutaway.layout import counted
from cutaway.training.config import SCRATCH, TrainingConfig, flag
from cutaway.training.distributed import World, joined
from cutaway.training.loop import Observer, Outcome, Silent, resume_or_begin, run_to_end
from cutaway.training.model import make_model, process_device
from cutaway.training.resumption import (
    Difference,
    note_surroundings,
    refuse_differences,
    run_about,
    run_place,
    saved_part,
)
from cutaway.training.runs import RunDirectory, SavedCheckpoint
from cutaway.training.schedule import Schedule
from cutaway.training.trainer import Trainer, Validation
from cutaway.untrusted import quote_path

COUNTED_TOKENS = 3_000_000  # of each corpus, to find its frequent tokens

# Settings that do not affect the computation, and those that affect its rounding only.
REPORTS = frozenset(
    {"eval_every", "eval_tokens", "sample_prompt", "save_every", "keep_last", "keep_best", "tensorboard", "data"}
    | {"on_save_error", "strict"}
)
ROUNDING = frozenset(
    {"micro_batch_size", "dtype", "parallel", "compile", "activation_checkpointing", "device", "threads"}
)
# Settings of the schedule: they may change as long as every step taken would have been the same.
SCHEDULE = frozenset(
    {
        "max_steps",
        "max_time",
        "short_ctx",
        "short_steps",
        "warmup_steps",
        "schedule",
        "hold",
        "min_lr",
        "average",
        "full_softmax",
    }
)


@dataclass(frozen=True)
class Corpus:
    """The corpora of a run, opened, with their weights."""

    datasets: Sequence[Dataset]
    weights: Sequence[float]

    @classmethod
    def open(cls, config: TrainingConfig) -> "Corpus":
        """Open the corpora of a configuration. Raises UsageError if one is missing, or their tokenizers differ."""
        if not config.data:
            raise UsageError("no data: give --data DIR, a directory that `cutaway data prepare` wrote")
        datasets = [open_dataset(directory) for directory in config.data]
        first = datasets[0]
        for other in datasets[1:]:
            if other.manifest.tokenizer.sha256 != first.manifest.tokenizer.sha256:
                raise UsageError(
                    f"{quote_path(other.directory)} and {quote_path(first.directory)} have different tokenizers: "
                    "prepare them with the same one"
                )
        tokens = [float(dataset.split("train").n_tokens) for dataset in datasets]
        return cls(datasets, config.weights or tokens)

    def windows(self, seed: int) -> Windows:
        """Return the batches of a run."""
        return Windows([dataset.split("train") for dataset in self.datasets], self.weights, seed)

    def hashes(self) -> list[str]:
        """Return a SHA-256 for each corpus: of the hashes of its shards to train on."""
        shards = [dataset.manifest.splits["train"].shards for dataset in self.datasets]
        return [sha256(" ".join(f"{s.sha256}:{s.tokens}" for s in part).encode()).hexdigest() for part in shards]

    def bytes_per_token(self) -> float | None:
        """Return the mean size of a token in a batch; None if it is unknown."""
        sizes = [dataset.split("train") for dataset in self.datasets]
        shares = np.asarray(self.weights) / np.sum(self.weights)
        mean = float(sum(share * split.n_bytes / split.n_tokens for share, split in zip(shares, sizes, strict=True)))
        return mean or None

    def validation(self, n_tokens: int) -> list[Validation]:
        """Return the held-out text of each corpus that has some; the tokens are divided among them by weight."""
        held = [(d, w) for d, w in zip(self.datasets, self.weights, strict=True) if "valid" in d.manifest.splits]
        total = sum(weight for _, weight in held)
        found = []
        for dataset, weight in held:
            split = dataset.split("valid")
            share = max(1, int(n_tokens * weight / total))
            windows = partial(evaluation_windows, split, n_tokens=share)
            size = split.n_bytes / split.n_tokens if split.n_bytes else None
            found.append(Validation(windows, size, weight / total))
        return found

    def frequent(self, n_vocab: int, count: int) -> torch.Tensor:
        """Return the ids of the most frequent tokens of the mixture, (count,) at most."""
        counts = np.zeros(n_vocab, np.float64)
        for dataset, weight in zip(self.datasets, self.weights, strict=True):
            part = dataset.split("train").token_counts(n_vocab, COUNTED_TOKENS)
            counts += weight * part / part.sum()
        return torch.from_numpy(np.argsort(-counts, kind="stable")[:count].copy())


def train(config: TrainingConfig, directory: Path, observer: Observer) -> Outcome:
    """Train as configured in a run directory, from its last checkpoint if it has one, to the end or a signal.

    Raises UsageError, before anything is written, for what cannot be trained, and RunError for what goes wrong in the
    run. Under torchrun all of its processes train together; errors are printed here and end them with SystemExit.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.data.prepare import prepare
    >>> with TemporaryDirectory() as directory:
    ...     text = Path(directory) / "a.txt"
    ...     _ = text.write_text("A robot must obey. " * 10)
    ...     shards = f"{directory}/shards"
    ...     _ = prepare([text], shards)
    ...     config = TrainingConfig(data=(shards,), n_layer=1, n_embd=4, n_ctx=8, batch_size=2, max_steps=2)
    ...     outcome = train(config, Path(directory) / "run", Silent())
    >>> outcome.steps, outcome.model.name
    (2, 'model')
    """
    with joined(config.parallel) as world:
        return _train(config, directory, observer if world.is_first else Silent(), world)


def _train(config: TrainingConfig, directory: Path, observer: Observer, world: World) -> Outcome:
    device = process_device(config.device, world)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    world.check_rows(config.batch_size)
    corpus = Corpus.open(config)
    source = corpus.windows(config.seed)
    init = None if config.init == SCRATCH else open_source(config.init)
    shape = model_config(config, corpus, init)
    for length in {config.short_ctx or config.n_ctx, config.n_ctx}:
        source.batch(0, config.batch_size, length)  # raises UsageError for too short a corpus
    with RunDirectory.open(directory, observer.note) if world.is_first else nullcontext() as run:
        saved = None if run is None else run.newest(strict=config.strict)
        if saved is not None:
            check_resumable(config, corpus.hashes(), saved, observer.note)
            note_surroundings(saved, world.size, observer.note)
        if run is not None:
            run.write_config(config.to_document())
        model = make_model(config, shape, device, None if saved else init)
        trainer = Trainer(
            config,
            model,
            source,
            validation=corpus.validation(config.eval_tokens),
            codec=corpus.datasets[0].codec,
            frequent=corpus.frequent(shape.n_vocab, config.sampled_vocab // 2) if config.sampled_vocab else None,
            about={"corpora": corpus.hashes()},
            world=world,
        )
        resume_or_begin(trainer, saved, run, observer)
        observer.start(trainer, corpus.bytes_per_token())
        return run_to_end(trainer, run, observer)


def model_config(config: TrainingConfig, corpus: Corpus, init: Checkpoint | None) -> GPT2Config:
    """Return the shape of the model: that of the configuration, or of the checkpoint to start from.

    Raises UsageError if the checkpoint does not fit the configuration or the data.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.data.prepare import prepare
    >>> with TemporaryDirectory() as directory:
    ...     text = Path(directory) / "a.txt"
    ...     _ = text.write_text("A robot must obey. " * 10)
    ...     shards = f"{directory}/shards"
    ...     _ = prepare([text], shards)
    ...     config = TrainingConfig(data=(shards,), n_layer=2)
    ...     shape = model_config(config, Corpus.open(config), init=None)
    >>> shape.n_layer, shape.n_vocab
    (2, 50257)
    """
    n_vocab = corpus.datasets[0].codec.n_vocab
    if init is None:
        return GPT2Config(n_vocab, config.n_ctx, config.n_embd, config.n_head, config.n_layer)
    shape = init.config
    if shape.n_vocab < n_vocab:
        raise UsageError(
            f"{config.init}, the --init model, has {counted(shape.n_vocab, 'token')}, and the data {n_vocab:,}: "
            f"prepare it with --tokenizer {config.init}"
        )
    _check_tokenizer(config, corpus.datasets[0], init)
    for name in ("n_layer", "n_head", "n_embd"):
        own = getattr(shape, name)
        if getattr(config, name) != own:
            raise UsageError(f"{flag(name)} must be {own}, as in {config.init}, not {getattr(config, name)}")
    if config.n_ctx > shape.n_ctx:
        raise UsageError(f"--n-ctx ({config.n_ctx}) must be at most that of {config.init} ({shape.n_ctx})")
    return shape


def _check_tokenizer(config: TrainingConfig, data: Dataset, init: Checkpoint) -> None:
    """Raise UsageError if a checkpoint to start from has another tokenizer than the data."""
    tokenizer = init.tokenizer()
    if tokenizer is not None and not tokenizer.encodes_like(data.codec):
        raise UsageError(
            f"{quote_path(data.directory)} and {config.init} have different tokenizers: "
            f"prepare the data with --tokenizer {config.init}"
        )


def check_resumable(
    config: TrainingConfig, corpora: Sequence[str], saved: SavedCheckpoint, note: Callable[[str], None]
) -> None:
    """Raise UsageError, which names all that differs, unless a configuration continues a run: every step so far would
    have been the same. `note` is given a line for settings that change rounding only.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.checkpoints import ArrayWeights
    >>> shape = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> ones = {name: np.ones(size, np.float32) for name, size in shape.tensor_shapes().items()}
    >>> document = {"config": TrainingConfig().to_document(), "about": {"corpora": []}}
    >>> with TemporaryDirectory() as directory, RunDirectory.open(directory) as run:
    ...     _ = run.save(100, ArrayWeights(shape, ones), {"momentum": np.zeros(2)}, document)
    ...     check_resumable(TrainingConfig(threads=1), [], run.newest(), note=print)
    --threads 1 instead of no --threads: the run continues, but not bit for bit
    """
    about = run_about(saved, "train")
    begun = TrainingConfig.from_document(saved_part(saved, "config"))
    fixed = Difference.between(begun.to_document(), config.to_document(), without=REPORTS | SCHEDULE | ROUNDING)
    refuse_differences(saved, fixed, [] if about.get("corpora") == list(corpora) else ["on other data"])
    rounding = Difference.between(begun.to_document(), config.to_document(), without=REPORTS | SCHEDULE)
    if rounding:
        note(f"{rounding}: the run continues, but not bit for bit")
    _check_schedule(config, begun, saved)


def _check_schedule(config: TrainingConfig, begun: TrainingConfig, saved: SavedCheckpoint) -> None:
    other = {field.name for field in fields(TrainingConfig)} - SCHEDULE
    changed = Difference.between(begun.to_document(), config.to_document(), without=other)
    if not changed:
        return
    seconds = float(str(saved.document["seconds"]))
    old = Schedule(begun)
    new = Schedule(config)
    for step in range(saved.step):
        spent = seconds * step / saved.step  # where the clock drives the schedule; exact otherwise
        if old.plan(step, old.progress(step, spent)) != new.plan(step, new.progress(step, spent)):
            raise UsageError(
                f"{run_place(saved)}: with {changed}, step {step + 1} of the {saved.step} taken would have been "
                "different: use another --out, or --init RUN/model"
            )
