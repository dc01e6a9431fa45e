"""The live line of a run."""

import io
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from cutaway.cli.training_progress import WINDOW, TrainingProgress
from cutaway.training.distributed import World
from cutaway.training.loop import run_to_end
from cutaway.training.runs import RunDirectory
from cutaway.training.trainer import Step, Trainer
from tests.training.runs_of import make_trainer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_state_names_step_loss_speed_share_time_and_memory(stream: io.StringIO) -> None:
    trainer = make_trainer()
    trainer.tokens = 3200  # before this session
    progress = TrainingProgress(stream)
    progress.start(trainer, 4.0)
    progress.peak = 1e9
    for _ in range(3):
        trainer.steps += 1
        trainer.tokens += 32
        progress.line.shown = -100.0
        event = {"kind": "train", "step": trainer.steps, "tokens": trainer.tokens, "loss": 2.0, "seconds": 0.5}
        progress.event(event)
    progress.event({"kind": "save", "step": 3})
    progress.event({"kind": "eval", "step": 3, "valid_loss": 2.5, "sample": "A\nrobot\x1b[2J"})
    text = stream.getvalue()
    share = f"{trainer.flops(0) / 0.5 / 1e9:.0%}"
    share += " peak" if stream.isatty() else " of peak"  # a line of 80 columns has no room for more
    assert f"step 3/20  loss 2.000  0.721 bits/byte  64 tokens/s  {share}  8s left  " in text
    assert "step 3  validation loss 2.5000\n" in text
    assert "A robot␛[2J" in text
    assert ("\r" in text) == stream.isatty()


def test_the_first_line_says_whether_kernels_serve() -> None:
    lines = []
    for is_fused in (False, True):
        stream = io.StringIO()
        trainer = make_trainer()
        trainer.model.is_fused = is_fused
        TrainingProgress(stream).start(trainer, 4.0)
        lines.append(stream.getvalue().splitlines()[0])
    assert lines[0].endswith(" GFLOP/s in float32")
    assert lines[1].endswith(" GFLOP/s in float32, blocks by fused kernels")


def shown(trainer: Trainer, step_seconds: Sequence[float], other_seconds: float) -> str:
    """Take steps, each followed by an evaluation, in so many seconds; return the last state of a terminal."""
    stream = Terminal()
    progress = TrainingProgress(stream)
    progress.start(trainer, 4.0)
    for seconds in step_seconds:
        trainer.steps += 1
        trainer.tokens += 32
        trainer.seconds += seconds
        progress.line.shown = -100.0
        event = {"kind": "train", "step": trainer.steps, "tokens": trainer.tokens, "loss": 2.0, "seconds": seconds}
        progress.event(event)
        trainer.seconds += other_seconds
    return stream.getvalue().rpartition("\r")[2]


@pytest.mark.slow
def test_the_time_left_is_that_of_the_clock_and_counts_evaluations() -> None:
    assert "  40s left" in shown(make_trainer(max_steps=None, max_time=60.0), [4.0] * 3, 4.0)
    assert "  22s left" in shown(make_trainer(max_steps=8, max_time=60.0), [4.0] * 4, 2.0)
    trainer = make_trainer(max_steps=20)
    trainer.seconds = 500.0  # before this session
    assert "  1m30s left" in shown(trainer, [4.0] * 5, 2.5)


def test_the_speed_is_that_of_the_last_steps() -> None:
    assert " 32 tok/s " in shown(make_trainer(max_steps=100), [99.0] * 5 + [1.0] * WINDOW, 0.0)


def test_the_peak_is_of_all_processes_and_no_less_than_what_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.training.throughput.measure_matmul_peak", lambda device, dtype: 1e6)
    trainer = make_trainer(short_ctx=4, short_steps=3)
    trainer.world = World(0, 2)
    rate = f"{trainer.flops(0) / 2e6:.0%} peak"
    assert rate in shown(trainer, [1.0] * 3, 0.0)
    assert "100% peak" in shown(make_trainer(), [1e-3] * 3, 0.0)


def test_the_last_step_is_told_however_soon_it_comes(tmp_path: Path) -> None:
    stream = io.StringIO()
    trainer = make_trainer(max_steps=3)
    progress = TrainingProgress(stream)
    progress.start(trainer, 4.0)
    with RunDirectory.open(tmp_path) as run:
        run_to_end(trainer, run, progress)
    states = [line.split("  ")[0] for line in stream.getvalue().splitlines() if "  loss " in line]
    assert states == ["step 1/3", "step 3/3"]


@pytest.mark.parametrize(
    ("kept", "words"), [(True, "which are kept"), (False, "but the last ones are kept"), (None, "")]
)
def test_an_evaluation_is_a_line(kept: bool | None, words: str) -> None:
    stream = io.StringIO()
    event = {"step": 1234, "valid_loss": 2.5, "bits_per_byte": 0.9}
    TrainingProgress(stream).event(event | ({"kind": "eval"} if kept is None else {"kind": "final", "kept": kept}))
    measured = "step 1,234  validation loss 2.5000  0.9000 bits/byte"
    assert stream.getvalue() == measured + (f"  (averaged weights, {words})\n" if words else "\n")


@pytest.mark.parametrize(("sample", "line"), [("robots " * 20, "robots " * 10 + "robots"), ("机" * 80, "机" * 38)])
def test_a_long_sample_is_cut_to_a_line(sample: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    TrainingProgress(stream).event({"kind": "eval", "step": 1, "sample": sample})
    assert stream.getvalue().splitlines() == ["step 1", f"  | {line}"]


def test_a_line_of_a_terminal_has_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    state = shown(make_trainer(max_steps=20000), [0.001] * 1234, 0.0)
    assert state.endswith(" GiB\x1b[K")
    assert len(state) - len("\x1b[K") <= 79
    assert state.startswith("1,234/20,000 loss 2.000 0.721 bits/B 32,000 tok/s ")


@pytest.mark.usefixtures("heeded_signals")
def test_what_is_printed_after_a_session_begins_a_line(tmp_path: Path) -> None:
    stream = Terminal()
    progress = TrainingProgress(stream)
    trainer = make_trainer()
    progress.start(trainer, 4.0)
    take = trainer.step

    def interrupted() -> Step:
        os.kill(os.getpid(), signal.SIGINT)
        return take()

    trainer.step = interrupted  # type: ignore[method-assign]
    with RunDirectory.open(tmp_path) as run:
        assert run_to_end(trainer, run, progress).signal == signal.SIGINT
    _, states = stream.getvalue().split("\n")
    assert "step 1/20  loss " in states
    assert states.endswith("\r\x1b[K")


def test_a_run_without_held_out_text_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer()
    trainer.validation = []
    TrainingProgress(io.StringIO()).start(trainer, 4.0)
    assert capsys.readouterr().err.startswith("cutaway: no text is held out: there will be no validation loss")


@pytest.mark.parametrize(("is_terminal", "last"), [(True, ""), (True, "loss"), (False, "")])
@pytest.mark.slow
def test_a_run_goes_on_when_nobody_reads_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, last: str
) -> None:
    class Closed(Terminal):
        def isatty(self) -> bool:
            return is_terminal

        is_closed = not last

        def write(self, text: str) -> int:
            if self.is_closed and text:
                raise BrokenPipeError
            self.is_closed |= last in text
            return len(text)

    stream = Closed()
    monkeypatch.setattr("sys.stderr", stream)
    trainer = make_trainer(max_steps=2, eval_every=1)
    progress = TrainingProgress()
    progress.start(trainer, 4.0)
    progress.note("a warning")
    with RunDirectory.open(tmp_path) as run:
        assert run_to_end(trainer, run, progress).steps == 2
    assert stream.is_closed


@pytest.mark.parametrize(("warmup_steps", "is_said"), [(20, True), (19, False)])
def test_a_run_without_an_end_to_its_warm_up_says_so(
    warmup_steps: int, is_said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    TrainingProgress(io.StringIO()).start(make_trainer(warmup_steps=warmup_steps), 4.0)
    assert ("rises to the end of the run: --warmup-steps (20) is not less" in capsys.readouterr().err) == is_said
