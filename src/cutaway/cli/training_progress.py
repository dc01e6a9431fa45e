"""The progress of a training run on standard error: one live line, and a line for each evaluation and its sample."""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from cutaway.cli.live_line import LiveLine, duration
from cutaway.cli.terminal import DIM, columns, note, safe, style
from cutaway.layout import counted, fitting

if TYPE_CHECKING:
    from cutaway.training.trainer import Trainer

WINDOW = 20  # steps over which rates are averaged
QUIET_SECONDS = 30.0  # between two lines if standard error is not a terminal
SHORTER = {"of peak": "peak", "tokens/s": "tok/s", "bits/byte": "bits/B", "step ": "", "  ": " "}  # words of a line


class TrainingProgress:
    """Follows a run: step, loss, bits per byte, tokens a second, share of the measured peak, time left, memory.

    A stream that cannot be written to does not end the run: Ctrl-C ends a `tee` behind it at once, but not the run.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.line = LiveLine(stream, quiet=QUIET_SECONDS)
        self.recent: deque[tuple[float, int, float, float]] = deque(maxlen=WINDOW)  # seconds, tokens, FLOPs, read
        self.stepping = 0.0  # seconds of all steps of this session

    def start(self, trainer: "Trainer", bytes_per_token: float | None) -> None:
        """Measure the processor, and say what is trained."""
        from cutaway.training.throughput import measure_matmul_peak
        from cutaway.training.tuners import FineTuner

        self.trainer = trainer
        self.bytes_per_token = bytes_per_token
        self.tokens = trainer.tokens
        self.before = trainer.seconds
        config = trainer.config
        self.peak = measure_matmul_peak(trainer.device, config.dtype) * trainer.world.size
        is_said = isinstance(trainer, FineTuner)  # by its summary
        n_params = "" if is_said else f"{trainer.model.config.n_params:,} parameters, "
        steps = "steps" if config.step_limit is None else counted(config.step_limit, "step")
        limit = "" if config.max_time is None else f", at most {duration(config.max_time)}"
        fused = ", blocks by fused kernels" if trainer.model.is_fused else ""
        self._print(
            f"{n_params}{steps} of {config.batch_size} x {config.n_ctx} tokens{limit}; "
            f"{trainer.device} multiplies at most {self.peak / 1e9:,.0f} GFLOP/s in {config.dtype}{fused}"
        )
        if config.step_limit is not None and config.warmup >= config.step_limit > 1:
            warmup = f"--warmup-steps ({config.warmup})"
            self.note(f"the learning rate rises to the end of the run: {warmup} is not less than its steps")
        if not trainer.validation:
            self.note("no text is held out: there will be no validation loss, and no best checkpoint")

    def event(self, event: Mapping[str, object]) -> None:
        """Show an event."""
        if event["kind"] == "train":
            self._train(event)
        elif event["kind"] in ("eval", "final"):
            self._evaluation(event)

    def note(self, message: str) -> None:
        """Print a line of its own."""
        with suppress(OSError):
            self.line.clear()
            note(message)

    def end(self) -> None:
        """Remove the live line, so that what is printed next begins a line."""
        with suppress(OSError):
            self.line.clear()

    def _train(self, event: Mapping[str, object]) -> None:
        tokens = int(str(event["tokens"]))
        seconds = float(str(event["seconds"]))
        step = int(str(event["step"]))
        read = self.trainer.schedule.progress(step)  # by tokens, because the clock adds what is not of these steps
        self.recent.append((seconds, tokens - self.tokens, self.trainer.flops(step - 1), read))
        self.tokens = tokens
        self.stepping += seconds
        now = time.monotonic()
        if not self.line.is_due(now) and self.trainer.progress() < 1:
            return
        self.line.shown = now
        parts = self._state(step, float(str(event["loss"])))
        if self.line.is_live:
            with suppress(OSError):
                self.line.draw(_fitted(parts, columns() - 1))
        else:
            self._print("  ".join(parts))

    def _state(self, step: int, loss: float) -> list[str]:
        from cutaway.training.throughput import memory_bytes

        spent = sum(seconds for seconds, _, _, _ in self.recent) or 1e-9
        speed = sum(tokens for _, tokens, _, _ in self.recent) / spent
        reached = sum(flops for _, _, flops, _ in self.recent) / spent
        self.peak = max(self.peak, reached)  # which other programs made too low, if it is less
        limit = self.trainer.config.step_limit
        return [
            f"step {step:,}" + (f"/{limit:,}" if limit else ""),
            f"loss {loss:.3f}",
            *([f"{loss / math.log(2) / self.bytes_per_token:.3f} bits/byte"] if self.bytes_per_token else []),
            f"{speed:,.0f} tokens/s",
            f"{reached / self.peak:.0%} of peak",
            f"{self._left(spent)} left",
            f"{memory_bytes(self.trainer.device) / 2**30:.1f} GiB",
        ]

    def _left(self, spent: float) -> str:
        """Return the time left: of the clock, or of the steps and their evaluations, if that is less."""
        first = self.recent[0]
        last = self.recent[-1]
        limit = self.trainer.config.max_time
        times = [] if limit is None else [max(0.0, limit - self.trainer.seconds)]
        if last[3] > first[3]:
            pace = (last[3] - first[3]) / (spent - first[0])
            share = (self.trainer.seconds - self.before) / (self.stepping or 1e-9)  # evaluations take time too
            times.append((1 - last[3]) / pace * max(1.0, share))
        return duration(min(times)) if times else "?"

    def _evaluation(self, event: Mapping[str, object]) -> None:
        words = [f"step {event['step']:,}"]
        if "valid_loss" in event:
            words.append(f"validation loss {event['valid_loss']:.4f}")
        if "bits_per_byte" in event:
            words.append(f"{event['bits_per_byte']:.4f} bits/byte")
        if event["kind"] == "final":
            words.append(f"(averaged weights, {'which are kept' if event['kept'] else 'but the last ones are kept'})")
        self._print("  ".join(words))
        if event.get("sample"):
            sample = safe(" ".join(str(event["sample"]).split()))
            shown = sample[: fitting(sample, columns() - 4)]
            self._print(style(f"  | {shown}", DIM, self.line.stream))

    def _print(self, text: str) -> None:
        with suppress(OSError):
            self.line.clear()
            print(text, file=self.line.stream, flush=True)


def _fitted(parts: Sequence[str], width: int) -> str:
    """Join the parts of a state; shorten as many words as needed to fit them into a line.

    >>> _fitted(["loss 5.990", "5.103 bits/byte", "5,584 tokens/s", "14% of peak"], 50)
    'loss 5.990  5.103 bits/byte  5,584 tok/s  14% peak'
    """
    text = "  ".join(parts)
    for long, short in SHORTER.items():
        if len(text) > width:
            text = text.replace(long, short)
    return text
