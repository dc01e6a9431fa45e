"""Training from a configuration, and which settings may change when a run is resumed."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch

from cutaway.errors import UsageError
from cutaway.training.agreement import check_alike
from cutaway.training.config import TrainingConfig
from cutaway.training.corpus import Corpus
from cutaway.training.distributed import World, joined
from cutaway.training.loop import Observer, Outcome, Silent, resume_or_begin, run_to_end
from cutaway.training.model import check_compiler, make_model, process_device
from cutaway.training.opening import open_beginning
from cutaway.training.resumption import (
    Difference,
    opened_run,
    refuse_differences,
    run_about,
    run_place,
    saved_part,
)
from cutaway.training.runs import SavedCheckpoint
from cutaway.training.schedule import Schedule
from cutaway.training.trainer import Trainer

# REPORTS do not affect the computation; ROUNDING affects only its rounding.
REPORTS = frozenset(
    {"eval_every", "eval_tokens", "sample_prompt", "save_every", "keep_last", "keep_best", "tensorboard", "data"}
    | {"on_save_error", "strict"}
)
ROUNDING = frozenset(
    {"micro_batch_size", "dtype", "parallel", "compile", "activation_checkpointing", "device", "threads"}
)
# Settings of the schedule, which may change if all steps taken would have been the same.
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


def train(config: TrainingConfig, directory: str | Path, observer: Observer | None = None) -> Outcome:
    """Train in a run directory until the end or a signal, resuming from its last checkpoint if it has one.

    Raises UsageError, before anything is written, for invalid settings or data, and RunError if the run fails. Under
    torchrun the processes train together; an error is printed here and ends each process with SystemExit. The observer
    receives the events of the run; by default nothing is printed.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.data.prepare import prepare
    >>> with TemporaryDirectory() as directory:
    ...     text = Path(directory) / "a.txt"
    ...     _ = text.write_text("A robot must obey. " * 10)
    ...     shards = f"{directory}/shards"
    ...     _ = prepare([text], shards)
    ...     config = TrainingConfig(data=(shards,), n_layer=1, n_embd=4, n_ctx=8, batch_size=2, max_steps=2)
    ...     outcome = train(config, f"{directory}/run")
    >>> outcome.steps, outcome.model.name
    (2, 'model')
    """
    with joined(config.parallel) as world:
        return _train(config, Path(directory), observer if observer and world.is_first else Silent(), world)


def _train(config: TrainingConfig, directory: Path, observer: Observer, world: World) -> Outcome:
    device = process_device(config.device, config.threads, world)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    if config.compile:
        check_compiler(device)
    world.check_rows(config.batch_size)
    if config.task and world.size > 1:
        raise UsageError("a task is trained in one process: its batches have different numbers of rows")
    begin = open_beginning(config)
    corpus = begin.corpus
    validation = corpus.validation(config.eval_tokens)
    frequent = _frequent(corpus, begin.shape.n_vocab, config.sampled_vocab)
    held = [part.digest(config.n_ctx) for part in validation] if world.size > 1 else []
    check_alike(config, [*corpus.hashes(), *held], directory, world, begin.init)
    check = partial(check_resumable, config, corpus.hashes(), note=observer.note)
    with opened_run(directory, config, world, observer.note, check) as (run, saved):
        model = make_model(config, begin.shape, device, None if saved else begin.init)
        trainer = Trainer(
            config,
            model,
            begin.source,
            validation=validation,
            codec=corpus.codec,
            side_files=corpus.side_files,
            prompt=corpus.prompt(),
            frequent=frequent,
            about={"corpora": corpus.hashes()},
            world=world,
        )
        resume_or_begin(trainer, saved, run, observer)
        observer.start(trainer, corpus.bytes_per_token())
        return run_to_end(trainer, run, observer)


def _frequent(corpus: Corpus, n_vocab: int, n_sampled: int) -> torch.Tensor | None:
    """Return the ids of the most frequent tokens, which make up half of every sample of the vocabulary."""
    return torch.from_numpy(corpus.frequent(n_vocab, n_sampled // 2)) if n_sampled else None


def check_resumable(
    config: TrainingConfig, corpora: Sequence[str], saved: SavedCheckpoint, note: Callable[[str], None]
) -> None:
    """Raise UsageError, naming all differences, unless a configuration can continue a run: every step so far must have
    been the same with it. `note` receives a line for settings that change the rounding only.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from cutaway.checkpoints import ArrayWeights
    >>> from cutaway.config import GPT2Config
    >>> from cutaway.training.runs import RunDirectory
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
    step = _first_difference(begun, config, saved)
    if step is None:
        return
    with_its_warmup = replace(config, warmup_steps=begun.warmup)
    can_keep = _first_difference(begun, with_its_warmup, saved) is None
    advice = f"give --warmup-steps {begun.warmup}" if can_keep else "use another --out, or --init RUN/model"
    raise UsageError(
        f"{run_place(saved)}: with {changed}, step {step + 1} of the {saved.step} taken would have been different: "
        f"{advice}"
    )


def _first_difference(begun: TrainingConfig, config: TrainingConfig, saved: SavedCheckpoint) -> int | None:
    """Return the first step taken so far that would have been different with `config`; None if there is none."""
    seconds = float(str(saved.document["seconds"]))
    old = Schedule(begun)
    new = Schedule(config)
    for step in range(saved.step):
        spent = seconds * step / saved.step  # an estimate if the clock drives the schedule, else exact
        if old.plan(step, old.progress(step, spent)) != new.plan(step, new.progress(step, spent)):
            return step
    return None
