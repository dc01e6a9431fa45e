"""A run in its directory: what is saved, kept, logged and resumed."""

import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from cutaway.checkpoints import open_checkpoint
from cutaway.errors import CheckpointError, EngineError, RunError, WriteError
from cutaway.training.distributed import Request, World
from cutaway.training.loop import Event, Outcome, resume, run_to_end
from cutaway.training.runs import RunDirectory
from cutaway.training.signals import HEARD
from cutaway.training.tensorboard import EventWriter
from cutaway.training.trainer import Trainer
from tests.training.runs_of import make_trainer, state_of


class Recorder:
    """An observer that keeps what it is told, and can act on an event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.signals: Mapping[int, signal.Signals] = {}

    def start(self, trainer: Trainer, bytes_per_token: float | None) -> None:
        raise AssertionError("the loop does not start its observer")

    def event(self, event: Event) -> None:
        self.events.append(event)
        if event["kind"] == "train" and event["step"] in self.signals:
            os.kill(os.getpid(), self.signals[int(str(event["step"]))])

    def note(self, message: str) -> None:
        assert message == HEARD

    def end(self) -> None:
        pass


def session(path: Path, signals: Mapping[int, signal.Signals] | None = None, **changes: Any) -> tuple[Trainer, Outcome]:
    """Run a trainer in a directory, resuming if it has a checkpoint."""
    trainer = make_trainer(**changes)
    recorder = Recorder()
    recorder.signals = signals or {}
    with RunDirectory.open(path) as run:
        saved = run.newest()
        if saved is not None:
            resume(trainer, saved, run)
        return trainer, run_to_end(trainer, run, recorder)


def log(path: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if key != "seconds"} for event in events]


def checkpoints(path: Path) -> list[int]:
    return sorted(int(each.name.removeprefix("step-")) for each in (path / "checkpoints").iterdir())


def test_a_run_logs_evaluates_saves_and_leaves_a_model(tmp_path: Path) -> None:
    trainer, outcome = session(tmp_path, eval_every=8, save_every=6, keep_last=2, keep_best=False)
    assert outcome == Outcome(20, tmp_path / "model", None)
    events = log(tmp_path)
    assert [event["step"] for event in events if event["kind"] == "train"] == list(range(1, 21))
    assert [event["step"] for event in events if event["kind"] == "eval"] == [8, 16, 20]
    assert [event["step"] for event in events if event["kind"] == "save"] == [6, 12, 18, 20]
    assert [event["kind"] for event in events][-1] == "final"
    assert events[0].keys() == {"step", "kind", "tokens", "loss", "lr", "grad_norm"}
    assert events[0]["tokens"] == 32
    assert events[0]["lr"] == pytest.approx(0.02 / 3)
    assert checkpoints(tmp_path) == [18, 20]
    assert events[-1]["kept"] == (events[-1]["valid_loss"] <= trainer.evaluate()["valid_loss"])


@pytest.mark.parametrize(("averaged", "is_kept"), [(1.9, True), (2.0, True), (2.1, False)])
def test_the_model_has_the_averaged_weights_unless_the_last_ones_are_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, averaged: float, is_kept: bool
) -> None:
    losses = iter([2.0, averaged] * 2)
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: {"valid_loss": next(losses)})
    for _ in range(2):  # the second session finds all steps taken
        trainer, outcome = session(tmp_path, max_steps=6, average=0.5)
        assert outcome.model is not None
        kept = open_checkpoint(outcome.model).read("wte.weight")
        blended = trainer.average.blend(trainer.parameters)["wte.weight"]
        last = trainer.model.wte.weight.detach()
        np.testing.assert_array_equal(kept, (blended if is_kept else last).numpy())
        assert log(tmp_path)[-1] == {"step": 6, "kind": "final", "kept": is_kept, "valid_loss": averaged}


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 5, 6, 13, 19])
def test_a_run_stopped_by_a_signal_ends_bit_for_bit_as_one_never_stopped(tmp_path: Path, stop: int) -> None:
    settings: dict[str, Any] = {"dropout": 0.1, "eval_every": 6, "save_every": 6}
    straight, _ = session(tmp_path / "straight", **settings)
    stopped, outcome = session(tmp_path / "stopped", {stop: signal.SIGTERM}, **settings)
    assert outcome == Outcome(stop, None, signal.SIGTERM)
    assert stopped.steps == stop
    assert not (tmp_path / "stopped" / "model").exists()
    resumed, _ = session(tmp_path / "stopped", **settings)
    assert state_of(resumed) == state_of(straight)
    extra = {"step": stop, "kind": "save"}  # of the signal; the rest of the log is that of a run never stopped
    assert log(tmp_path / "stopped").count(extra) == 1
    logs = [[event for event in log(tmp_path / name) if event != extra] for name in ("straight", "stopped")]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_a_crash_loses_no_more_than_the_steps_since_the_last_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, _ = session(tmp_path / "straight", save_every=6)
    step = Trainer.step

    def fail(trainer: Trainer) -> object:
        if trainer.steps == 9:
            raise RuntimeError("power cut")
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            session(tmp_path / "crashed", save_every=6)
    assert checkpoints(tmp_path / "crashed") == [6]
    resumed, _ = session(tmp_path / "crashed", save_every=6)
    assert state_of(resumed) == state_of(straight)
    assert log(tmp_path / "crashed") == log(tmp_path / "straight")


def test_a_signal_can_ask_for_a_checkpoint_only(tmp_path: Path) -> None:
    _, outcome = session(tmp_path, {4: signal.SIGUSR1}, save_every=0, keep_last=9)
    assert outcome.steps == 20
    assert checkpoints(tmp_path) == [5, 20]


@pytest.mark.parametrize(("keep_best", "kept"), [(True, [10, 20]), (False, [20])])
def test_the_best_checkpoint_is_kept_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_best: bool, kept: list[int]
) -> None:
    losses = iter([3.0, 1.0, 1.0, 2.5])  # the first of equals is the best
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: {"valid_loss": next(losses)})
    trainer, _ = session(tmp_path, eval_every=5, save_every=5, keep_last=1, average=0.0, keep_best=keep_best)
    assert trainer.best == (10, 1.0)
    assert checkpoints(tmp_path) == kept


def test_nan_stops_with_the_best_checkpoint_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulate = Trainer.accumulate

    def poisoned(trainer: Trainer, *given: Any) -> torch.Tensor:
        if trainer.steps == 7:
            trainer.model.get_parameter("h.0.ln_1.weight").data[0] = float("inf")
        return accumulate(trainer, *given)

    monkeypatch.setattr(Trainer, "accumulate", poisoned)
    with pytest.raises(RunError, match=r"step 8: h.0.ln_1.weight is not finite"):
        session(tmp_path, eval_every=5, save_every=3)
    assert checkpoints(tmp_path) == [5, 6]
    with RunDirectory.open(tmp_path) as run:
        saved = run.newest(strict=True)
        assert saved is not None
        assert np.isfinite(saved.weights().read("h.0.ln_1.weight")).all()


class FullDisk:
    """Refuses the checkpoint of a step, and the lines of the log from that step to another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int, last: int) -> None:
        save = RunDirectory.save
        append = RunDirectory.append_metrics

        def failing_save(run: RunDirectory, step: int, *given: Any) -> Path:
            if first <= step <= last:
                raise WriteError("disk full")
            return save(run, step, *given)

        def failing_append(run: RunDirectory, event: Event) -> None:
            if first <= int(str(event["step"])) <= last:
                raise WriteError("disk full")
            append(run, event)

        monkeypatch.setattr(RunDirectory, "save", failing_save)
        monkeypatch.setattr(RunDirectory, "append_metrics", failing_append)


class Noting(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_what_cannot_be_written_stops_a_run_unless_it_is_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, 10, 12)
    recorder = Noting()
    with RunDirectory.open(tmp_path / "stops") as run, pytest.raises(WriteError, match="disk full"):
        run_to_end(make_trainer(save_every=5), run, recorder)
    with RunDirectory.open(tmp_path / "continues") as run:
        trainer = make_trainer(save_every=5, keep_last=9, on_save_error="continue")
        assert run_to_end(trainer, run, recorder).steps == 20
    assert checkpoints(tmp_path / "continues") == [5, 15, 20]
    assert recorder.notes == ["warning: disk full; training continues"]
    steps = [event["step"] for event in log(tmp_path / "continues") if event["kind"] == "train"]
    assert steps == [*range(1, 10), *range(13, 21)]


def test_each_error_of_writing_is_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(target: RunDirectory | EventWriter, event: Event) -> None:
        raise WriteError(f"{type(target).__name__} is full")

    monkeypatch.setattr(RunDirectory, "append_metrics", refuse)
    monkeypatch.setattr(EventWriter, "write", refuse)
    monkeypatch.setattr(RunDirectory, "save", lambda *_: None)
    recorder = Noting()
    with RunDirectory.open(tmp_path) as run:
        run_to_end(make_trainer(max_steps=3, tensorboard=True, on_save_error="continue"), run, recorder)
    assert recorder.notes == [
        f"warning: {name} is full; training continues" for name in ("RunDirectory", "EventWriter")
    ]


@pytest.mark.parametrize("sessions", [[{}], [{7: signal.SIGTERM}, {}]])
@pytest.mark.parametrize(
    ("keep_best", "losses", "best", "kept"),
    [
        (True, [2.0, 1.0, 2.5, 3.0], (5, 2.0), [5, 20]),
        (True, [2.0, 1.0, 1.5, 3.0], (15, 1.5), [15, 20]),
        (False, [2.0, 1.0, 1.5, 3.0], (10, 1.0), [20]),
    ],
)
@pytest.mark.slow
def test_a_best_checkpoint_that_cannot_be_saved_leaves_the_one_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sessions: list[dict[int, signal.Signals]],
    keep_best: bool,
    losses: list[float],
    best: tuple[int, float],
    kept: list[int],
) -> None:
    FullDisk(monkeypatch, 10, 10)
    monkeypatch.setattr(Recorder, "note", lambda recorder, message: None)
    measured = iter(losses)
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: {"valid_loss": next(measured)})
    settings = {"eval_every": 5, "save_every": 5, "keep_last": 1, "average": 0.0, "on_save_error": "continue"}
    for signals in sessions:
        trainer, _ = session(tmp_path, signals, keep_best=keep_best, **settings)
    assert trainer.best == best
    assert checkpoints(tmp_path) == kept


def test_a_run_that_is_stopped_says_that_it_is_saved_only_if_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, 10, 12)
    recorder = Noting()
    recorder.signals = {10: signal.SIGTERM}
    with RunDirectory.open(tmp_path) as run, pytest.raises(WriteError, match="disk full"):
        run_to_end(make_trainer(save_every=0, on_save_error="continue"), run, recorder)


@pytest.mark.parametrize("choice", ["stop", "continue"])
@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (3, "no checkpoint was saved: the same command starts from scratch"),
        (8, "the last checkpoint is that of step 5: the same command resumes there"),
    ],
)
def test_an_error_of_writing_that_ends_a_run_says_where_it_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str, first: int, rest: str
) -> None:
    FullDisk(monkeypatch, first, 20)
    monkeypatch.setattr(RunDirectory, "finish", failing(WriteError("disk full")))
    with RunDirectory.open(tmp_path) as run, pytest.raises(WriteError, match=f"^disk full; {rest}$"):
        run_to_end(make_trainer(save_every=5, on_save_error=choice), run, Noting())
    monkeypatch.undo()
    _, outcome = session(tmp_path)
    assert outcome.steps == 20


def test_a_resumed_run_that_cannot_write_its_model_says_where_it_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session(tmp_path)
    monkeypatch.setattr("cutaway.training.runs.save_checkpoint", failing(CheckpointError("disk full")))
    with pytest.raises(WriteError, match="model: cannot be saved: disk full; the last checkpoint is that of step 20: "):
        session(tmp_path)


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fail(*given: object, **named: object) -> NoReturn:
        raise error

    return fail


def test_a_run_that_is_stopped_where_it_was_saved_is_not_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session(tmp_path, {5: signal.SIGTERM}, save_every=5)
    before = log(tmp_path)
    assert before.count({"step": 5, "kind": "save"}) == 1
    monkeypatch.setattr(World, "agree", lambda world, signals: Request(signal.SIGTERM, save=False))
    _, outcome = session(tmp_path, save_every=5)
    assert outcome == Outcome(5, None, signal.SIGTERM)
    assert log(tmp_path) == before


def test_averaged_weights_are_kept_where_no_text_is_held_out(tmp_path: Path) -> None:
    trainer = make_trainer(max_steps=3, average=0.5)
    trainer.validation = []
    with RunDirectory.open(tmp_path) as run:
        run_to_end(trainer, run, Recorder())
    kept = open_checkpoint(tmp_path / "model").read("wte.weight")
    np.testing.assert_array_equal(kept, trainer.average.blend(trainer.parameters)["wte.weight"].numpy())
    assert log(tmp_path)[-1]["kept"]


def test_a_finished_run_that_is_asked_again_changes_nothing(tmp_path: Path) -> None:
    session(tmp_path)
    before = log(tmp_path)
    _, outcome = session(tmp_path)
    assert outcome.steps == 20
    assert log(tmp_path) == before


def test_memory_that_cannot_be_allocated_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(trainer: Trainer, *given: Any) -> float:
        return float(torch.empty(2**60).sum())

    monkeypatch.setattr(Trainer, "accumulate", too_large)
    complaint = "^step 1: not enough memory for 2 sequences at a time: give a smaller --micro-batch-size$"
    with pytest.raises(EngineError, match=complaint):
        session(tmp_path, micro_batch_size=2)


class _Compilation(TorchDynamoException):
    pass


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("backend='inductor' raised:\nCppError: No compiler\n\nSet TORCH_LOGS", "CppError: No compiler"),
        ("C++ compile error\n\nCommand:\ng++\n  a.h:1:2: fatal error: full\n 1 | };", "a.h:1:2: fatal error: full"),
        ("", "_Compilation"),
    ],
)
def test_what_cannot_be_compiled_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, reason: str
) -> None:
    monkeypatch.setattr(Trainer, "accumulate", failing(_Compilation(message)))
    complaint = f"^torch.compile failed: {re.escape(reason)}; fix that, or leave out --compile$"
    with pytest.raises(EngineError, match=complaint):
        session(tmp_path)


def test_other_errors_stay_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "accumulate", failing(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="^a bug$"):
        session(tmp_path)


def test_event_files_are_written_on_request_and_continue_from_the_step_of_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[int] = []

    class Recorded(EventWriter):
        def __init__(self, directory: Path, step: int = 0) -> None:
            began.append(step)
            super().__init__(directory, step)

    monkeypatch.setattr("cutaway.training.loop.EventWriter", Recorded)
    session(tmp_path, {2: signal.SIGTERM}, tensorboard=True, max_steps=3)
    session(tmp_path, tensorboard=True, max_steps=3)
    assert began == [0, 2]
    first, second = sorted(tmp_path.glob("events.out.tfevents.*"))
    assert [path.read_bytes().count(b"loss/train") for path in (first, second)] == [2, 1]
    assert not list(tmp_path.rglob("*.pt"))


def test_a_time_limit_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(0.25 * n for n in range(1000))
    monkeypatch.setattr("cutaway.training.trainer.time.monotonic", lambda: next(moments))
    trainer, outcome = session(tmp_path, max_steps=None, max_time=1.0)
    assert outcome.steps == 4
    assert trainer.seconds == 1.25  # with the evaluation at the end


def test_an_observer_can_end_a_run(tmp_path: Path) -> None:
    trainer = make_trainer(average=0.0)

    class Stopping(Recorder):
        def event(self, event: Event) -> None:
            trainer.stopping = event["step"] == 4

    with RunDirectory.open(tmp_path) as run:
        outcome = run_to_end(trainer, run, Stopping())
    assert outcome == Outcome(4, tmp_path / "model", None)
    assert checkpoints(tmp_path) == [4]
    assert [event["kind"] for event in log(tmp_path)][-2:] == ["eval", "save"]


def test_a_damaged_state_is_refused_by_name(tmp_path: Path) -> None:
    trainer = make_trainer()
    trainer.step()
    arrays = {name: array for name, array in trainer.arrays().items() if "second" not in name}
    with RunDirectory.open(tmp_path) as run:
        run.save(1, trainer.weights(), arrays, trainer.state())
        saved = run.newest()
        assert saved is not None
        with pytest.raises(RunError, match=r"step-00000001: the optimizer's state is missing muon.second"):
            resume(make_trainer(), saved, run)
