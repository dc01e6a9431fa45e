"""A run from its first step, or its last checkpoint, to its end: evaluations, checkpoints, the log, signals."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from cutaway.errors import CheckpointError, RunError
from cutaway.training.runs import RunDirectory, SavedCheckpoint
from cutaway.training.signals import StopSignals
from cutaway.training.tensorboard import EventWriter
from cutaway.training.trainer import Trainer
from cutaway.untrusted import quote_path

Event = Mapping[str, object]


class Observer(Protocol):
    """A follower of a run, such as the progress line."""

    def start(self, trainer: Trainer, bytes_per_token: float | None) -> None:
        """Begin, with a trainer that is ready to take its next step and the mean size of a token in its batches."""

    def event(self, event: Event) -> None:
        """Take an event, after it is in the log."""

    def note(self, message: str) -> None:
        """Take a line that a person should read."""


@dataclass(frozen=True)
class Outcome:
    """The end of a session: the finished model's directory, or the signal that stopped it before."""

    steps: int
    model: Path | None
    signal: Signals | None


def resume(trainer: Trainer, saved: SavedCheckpoint, run: RunDirectory) -> None:
    """Restore a trainer from a checkpoint, and cut the log back to it. Raises RunError if part of it is missing."""
    try:
        trainer.restore(saved.weights(), saved.arrays(), saved.document)
    except CheckpointError as error:
        raise RunError(f"{quote_path(saved.directory)}: {error}") from None
    run.rewind_metrics(saved.step)


def run_to_end(
    trainer: Trainer,
    run: RunDirectory,
    observer: Observer,
    finish: Callable[[Trainer, RunDirectory], Path] | None = None,
) -> Outcome:
    """Train until the schedule ends or a signal stops it.

    SIGINT and SIGTERM save at the end of the step and stop, SIGUSR1 saves and goes on. At the end the weights to keep
    are evaluated and written to RUN/model, or `finish` writes them. Raises RunError if the run cannot continue or be
    saved.
    """
    loop = _Loop(trainer, run, observer)
    with closing(loop), StopSignals() as signals:
        while not trainer.done and signals.received is None:
            loop.step(signals.take_save())
        if not trainer.done:
            loop.save()
            return Outcome(trainer.steps, None, signals.received)
        return Outcome(trainer.steps, finish(trainer, run) if finish else loop.finish(), None)


class _Loop:
    def __init__(self, trainer: Trainer, run: RunDirectory, observer: Observer) -> None:
        self.trainer = trainer
        self.run = run
        self.observer = observer
        self.tensorboard = EventWriter(run.path, trainer.steps) if trainer.config.tensorboard else None
        self.saved = trainer.steps if run.steps() else None  # the step of the last checkpoint

    def step(self, wants_save: bool) -> None:
        """Take a step, and evaluate and save after it where that is due."""
        trainer = self.trainer
        config = trainer.config
        done = trainer.step()
        self._log(
            {
                "step": trainer.steps,
                "kind": "train",
                "tokens": trainer.tokens,
                "loss": done.loss,
                "lr": config.lr * done.rate,
                "grad_norm": done.grad_norm,
                "seconds": round(done.seconds, 4),
            }
        )
        evaluates = _is_due(config.eval_every, trainer.steps) or trainer.done
        is_best = evaluates and self._evaluate()
        if wants_save or _is_due(config.save_every, trainer.steps) or trainer.done or (is_best and config.keep_best):
            self.save()

    def _evaluate(self) -> bool:
        """Evaluate, and return True if the validation loss is the lowest so far."""
        trainer = self.trainer
        found = trainer.evaluate()
        self._log({"step": trainer.steps, "kind": "eval", **found})
        loss = found.get("valid_loss")
        if not isinstance(loss, float) or (trainer.best is not None and loss >= trainer.best[1]):
            return False
        trainer.best = (trainer.steps, loss)
        return True

    def save(self) -> None:
        """Save a checkpoint of the last step unless there is one, then delete those that are not to be kept."""
        trainer = self.trainer
        if self.saved == trainer.steps:
            return
        self.run.save(trainer.steps, trainer.weights(), trainer.arrays(), trainer.state(), trainer.codec)
        self.saved = trainer.steps
        self.observer.event({"step": trainer.steps, "kind": "save"})
        best = trainer.best[0] if trainer.best and trainer.config.keep_best else None
        self.run.prune(trainer.config.keep_last, best)

    def finish(self) -> Path:
        """Evaluate the weights to keep where they are not the last ones, and write them."""
        trainer = self.trainer
        if not trainer.average.values:
            return self.run.finish(trainer.weights(), trainer.codec)
        with trainer.averaged():
            self._log({"step": trainer.steps, "kind": "final", **trainer.evaluate()})
            return self.run.finish(trainer.weights(), trainer.codec)

    def _log(self, event: Event) -> None:
        self.run.append_metrics(event)
        if self.tensorboard is not None:
            self.tensorboard.write(event)
        self.observer.event(event)

    def close(self) -> None:
        """Close the event file for TensorBoard, if there is one."""
        if self.tensorboard is not None:
            self.tensorboard.close()


def _is_due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
