"""The loop of a run, from its first step or last checkpoint to its end: evaluations, checkpoints, log, signals."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

import torch

from cutaway.checkpoints import ArrayWeights, Weights
from cutaway.errors import CheckpointError, EngineError, RunError, WriteError
from cutaway.training.memory import keep_freed_memory
from cutaway.training.runs import RunDirectory, SavedCheckpoint
from cutaway.training.signals import StopSignals
from cutaway.training.tensorboard import EventWriter
from cutaway.training.trainer import Array, Trainer
from cutaway.untrusted import quote_path

Event = Mapping[str, object]


class Observer(Protocol):
    """Receives the events of a run, such as the progress line does."""

    def start(self, trainer: Trainer, bytes_per_token: float | None) -> None:
        """Begin a session. The trainer is ready for its next step; `bytes_per_token` is the mean in its batches."""

    def event(self, event: Event) -> None:
        """Receive an event after it has been logged."""

    def note(self, message: str) -> None:
        """Receive a message for the user."""

    def end(self) -> None:
        """End the session: there are no more events, whether it finished, failed or was stopped."""


class Silent:
    """An observer that prints nothing, for commands that output JSON and for all processes but the first."""

    def start(self, trainer: Trainer, bytes_per_token: float | None) -> None:
        """Print nothing."""

    def event(self, event: Event) -> None:
        """Print nothing."""

    def note(self, message: str) -> None:
        """Print nothing."""

    def end(self) -> None:
        """Print nothing."""


@dataclass(frozen=True)
class Outcome:
    """The result of a session: the finished model's directory, or the signal that stopped it.

    Only process 0 has the directory.
    """

    steps: int
    model: Path | None
    signal: Signals | None


def resume(trainer: Trainer, saved: SavedCheckpoint | None, run: RunDirectory | None) -> None:
    """Restore a trainer from a checkpoint and truncate the log to its step. Raises RunError if a part is missing.

    Under torchrun all processes must call this, with None in all but process 0, which broadcasts what it reads.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.config import GPT2Config
    >>> from cutaway.data.batches import Windows
    >>> from cutaway.data.dataset import Split
    >>> from cutaway.engines.pytorch.model import GPT2
    >>> from cutaway.training.config import TrainingConfig
    >>> model = GPT2(GPT2Config(n_vocab=8, n_ctx=4, n_embd=4, n_head=1, n_layer=1))
    >>> model.initialise(seed=1)
    >>> source = Windows([Split.from_documents([[0, 1, 2, 3, 4, 5, 6, 7, 1, 2]])], [1.0], seed=1)
    >>> trainer = Trainer(TrainingConfig(n_ctx=4, batch_size=2, max_steps=3), model, source)
    >>> with TemporaryDirectory() as directory, RunDirectory.open(directory) as run:
    ...     _ = run_to_end(trainer, run, Silent())
    ...     resumed = Trainer(trainer.config, model, source)
    ...     resume(resumed, run.newest(), run)
    >>> resumed.steps, resumed.tokens
    (3, 24)
    """
    try:
        trainer.restore(*read_state(trainer, saved))
    except CheckpointError as error:
        raise RunError(str(error) if saved is None else f"{quote_path(saved.directory)}: {error}") from None
    if saved is not None and run is not None:
        run.rewind_metrics(saved.step)


def resume_or_begin(
    trainer: Trainer, saved: SavedCheckpoint | None, run: RunDirectory | None, observer: Observer
) -> None:
    """Resume from a checkpoint if there is one, else begin with an empty log. All processes must call this.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.config import GPT2Config
    >>> from cutaway.data.batches import Windows
    >>> from cutaway.data.dataset import Split
    >>> from cutaway.engines.pytorch.model import GPT2
    >>> from cutaway.training.config import TrainingConfig
    >>> model = GPT2(GPT2Config(n_vocab=8, n_ctx=4, n_embd=4, n_head=1, n_layer=1))
    >>> source = Windows([Split.from_documents([[0, 1, 2, 3, 4, 5, 6, 7, 1, 2]])], [1.0], seed=1)
    >>> trainer = Trainer(TrainingConfig(n_ctx=4, batch_size=2, max_steps=3), model, source)
    >>> with TemporaryDirectory() as directory, RunDirectory.open(directory) as run:
    ...     resume_or_begin(trainer, run.newest(), run, Silent())
    >>> trainer.steps
    0
    """
    if trainer.world.broadcast(saved is not None):
        resume(trainer, saved, run)
        if run is not None:
            observer.note(f"{quote_path(run.path)}: resumed at step {trainer.steps}")
    elif run is not None:
        run.rewind_metrics(0)  # a run killed before its first checkpoint left a log


def read_state(
    trainer: Trainer, saved: SavedCheckpoint | None
) -> tuple[Weights, Mapping[str, Array], Mapping[str, object]]:
    """Return the weights, arrays and document of a checkpoint. All processes must call this, as `resume`.

    >>> from types import SimpleNamespace
    >>> saved = SimpleNamespace(weights=lambda: "weights", arrays=dict, document={"step": 1})
    >>> read_state(SimpleNamespace(world=SimpleNamespace(size=1)), saved)
    ('weights', {}, {'step': 1})
    """
    world = trainer.world
    if saved is not None and world.size == 1:
        return saved.weights(), saved.arrays(), saved.document
    shape = trainer.model.config
    weights = None if saved is None else saved.weights()
    tensors = {} if weights is None else {name: weights.read(name) for name in shape.tensors}
    arrays = {} if saved is None else saved.arrays()
    document = world.broadcast(None if saved is None else saved.document)
    return ArrayWeights(shape, world.broadcast_arrays(tensors)), world.broadcast_arrays(arrays), document


def run_to_end(
    trainer: Trainer, run: RunDirectory | None, observer: Observer, finish: Callable[[], Path | None] | None = None
) -> Outcome:
    """Train until the schedule ends or a signal stops the run. Under torchrun only process 0 has a `run`.

    SIGINT, SIGTERM or SIGHUP to any process saves at the end of the step and stops; SIGUSR1 saves and continues. At the
    end `finish` writes the model. By default the averaged weights are written to RUN/model, or the last weights if
    those have a lower loss. Raises RunError if the run cannot continue or be saved, EngineError if it runs out of
    memory.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.config import GPT2Config
    >>> from cutaway.data.batches import Windows
    >>> from cutaway.data.dataset import Split
    >>> from cutaway.engines.pytorch.model import GPT2
    >>> from cutaway.training.config import TrainingConfig
    >>> model = GPT2(GPT2Config(n_vocab=8, n_ctx=4, n_embd=4, n_head=1, n_layer=1))
    >>> model.initialise(seed=1)
    >>> source = Windows([Split.from_documents([[0, 1, 2, 3, 4, 5, 6, 7, 1, 2]])], [1.0], seed=1)
    >>> trainer = Trainer(TrainingConfig(n_ctx=4, batch_size=2, max_steps=3), model, source)
    >>> with TemporaryDirectory() as directory, RunDirectory.open(directory) as run:
    ...     outcome = run_to_end(trainer, run, Silent())
    ...     saved = run.steps()
    >>> outcome.steps, outcome.model.name, saved
    (3, 'model', [3])
    """
    if trainer.device.type == "cpu" and trainer.source.is_even:
        keep_freed_memory()
    loop = _Loop(trainer, run, observer)
    signals = StopSignals(observer.note, echoes=trainer.world.size > 1)
    with closing(loop), _memory_errors(trainer), _compiler_errors(), _write_errors(loop), signals:
        while not trainer.done:
            request = trainer.world.agree(signals)
            if request.stop is not None:
                loop.save(is_last=True)
                return Outcome(trainer.steps, None, request.stop)
            loop.step(request.save)
        return Outcome(trainer.steps, finish() if finish else loop.finish(), None)


@contextmanager
def _memory_errors(trainer: Trainer) -> Iterator[None]:
    """Turn PyTorch's out-of-memory errors into a one-line EngineError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "t allocate memory" not in str(error):
            raise
        raise EngineError(
            f"step {trainer.steps + 1}: not enough memory for {trainer.micro_rows} sequences at a time: "
            "give a smaller --micro-batch-size"
        ) from None


@contextmanager
def _compiler_errors() -> Iterator[None]:
    """Turn torch.compile's long errors into a one-line EngineError."""
    try:
        yield
    except RuntimeError as error:
        dynamo = sys.modules.get("torch._dynamo.exc")  # takes a second to import; already imported if it raised
        if dynamo is None or not isinstance(error, dynamo.TorchDynamoException):
            raise
        lines = [line.strip() for line in str(error).splitlines() if not line.endswith("raised:")]
        reason = next((line for line in lines if "error: " in line), next(filter(None, lines), type(error).__name__))
        raise EngineError(f"torch.compile failed: {reason}; fix that, or leave out --compile") from None


@contextmanager
def _write_errors(loop: "_Loop") -> Iterator[None]:
    """Add the step at which the run can be resumed to a write error that ends it."""
    try:
        yield
    except WriteError as error:
        raise WriteError(f"{error}; {loop.last_checkpoint()}") from None


class _Loop:
    def __init__(self, trainer: Trainer, run: RunDirectory | None, observer: Observer) -> None:
        self.trainer = trainer
        self.run = run
        self.observer = observer
        self.tensorboard = EventWriter(run.path, trainer.steps) if run and trainer.config.tensorboard else None
        self.saved = trainer.restored  # the step of the last checkpoint
        self.best = trainer.best  # best evaluation among the saved checkpoints
        self.valid_loss: object = None  # of the last evaluation of this session
        self.troubles: set[str] = set()  # errors that did not stop the run

    def step(self, wants_save: bool) -> None:
        """Take a training step, then evaluate and save if due."""
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
        self.valid_loss = loss
        if not isinstance(loss, float) or (trainer.best is not None and loss >= trainer.best[1]):
            return False
        trainer.best = (trainer.steps, loss)
        return True

    def save(self, *, is_last: bool = False) -> None:
        """Save a checkpoint of the last step, unless it is already saved, and delete checkpoints that are not to be
        kept.

        Raises RunError if it cannot be saved, unless `on_save_error` is "continue" and this is not the last save.
        """
        trainer = self.trainer
        if self.saved == trainer.steps:
            return
        if self.run is None:
            trainer.give_weights()
        weights = None if self.run is None else trainer.weights()
        arrays = trainer.arrays()
        is_saved = False
        if self.run is not None and weights is not None:
            with self._tolerating(may_continue=not is_last):
                self.run.save(trainer.steps, weights, arrays, trainer.state(), trainer.codec, trainer.side_files)
                is_saved = True
                self.observer.event({"step": trainer.steps, "kind": "save"})
                best = trainer.best[0] if trainer.best and trainer.config.keep_best else None
                self.run.prune(trainer.config.keep_last, best)
        if trainer.world.broadcast(is_saved):
            self.saved = trainer.steps
            self.best = trainer.best
        elif trainer.config.keep_best:
            trainer.best = self.best  # that checkpoint exists, unlike this step's

    def last_checkpoint(self) -> str:
        """Return a message that says where the same command resumes."""
        if self.saved is None:
            return "no checkpoint was saved: the same command starts from scratch"
        return f"the last checkpoint is that of step {self.saved}: the same command resumes there"

    @contextmanager
    def _tolerating(self, *, may_continue: bool = True) -> Iterator[None]:
        """Report a write error as a warning, once per message, and continue, if `on_save_error` is "continue"."""
        try:
            yield
        except WriteError as error:
            if not may_continue or self.trainer.config.on_save_error != "continue":
                raise
            if str(error) not in self.troubles:
                self.observer.note(f"warning: {error}; training continues")
            self.troubles.add(str(error))

    def finish(self) -> Path | None:
        """Evaluate the averaged weights, if any; write them, or the last weights if those have a lower loss."""
        trainer = self.trainer
        if not trainer.average.values:
            return self._write_model()
        last = self.valid_loss or trainer.evaluate().get("valid_loss")
        with trainer.averaged():
            found = trainer.evaluate()
            is_kept = last is None or float(str(found["valid_loss"])) <= float(str(last))
            self._log({"step": trainer.steps, "kind": "final", "kept": is_kept, **found})
            if is_kept:
                return self._write_model()
        return self._write_model()

    def _write_model(self) -> Path | None:
        if self.run is None:
            self.trainer.give_weights()
            return None
        return self.run.finish(self.trainer.weights(), self.trainer.codec, side_files=self.trainer.side_files)

    def _log(self, event: Event) -> None:
        """Log an event and pass it to the observer, which may end the run in all processes."""
        trainer = self.trainer
        if self.run is not None:
            with self._tolerating():
                self.run.append_metrics(event)
            with self._tolerating():
                if self.tensorboard is not None:
                    self.tensorboard.write(event)
            self.observer.event(event)
        trainer.stopping = bool(trainer.world.largest(trainer.stopping)[0])

    def close(self) -> None:
        """End the observer's session, and close TensorBoard's event file, if any."""
        self.trainer.leave()
        self.observer.end()
        if self.tensorboard is not None:
            self.tensorboard.close()


def _is_due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
