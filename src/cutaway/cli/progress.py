"""The progress of a training run on standard error: one live line, and a line for each evaluation and its sample."""

import math
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from cutaway.cli.terminal import DIM, columns, note, safe, style

if TYPE_CHECKING:
    from cutaway.training.trainer import Trainer

WINDOW = 20  # steps over which rates are averaged
SECONDS = 0.2  # between two states of the live line
QUIET_SECONDS = 30.0  # between two lines where standard error is no terminal


class Silent:
    """Follows a run and prints only warnings."""

    def start(self, trainer: "Trainer", bytes_per_token: float | None) -> None:
        """Print nothing."""

    def event(self, event: Mapping[str, object]) -> None:
        """Print nothing."""

    def note(self, message: str) -> None:
        """Print nothing: the document says at which step the run is."""


class ProgressLine:
    """Follows a run: step, loss, bits per byte, tokens a second, share of the measured peak, time left, memory."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.live = self.stream.isatty()
        self.recent: deque[tuple[float, int, float, float]] = deque(maxlen=WINDOW)  # seconds, tokens, FLOPs, progress
        self.shown = -math.inf
        self.width = 0

    def start(self, trainer: "Trainer", bytes_per_token: float | None) -> None:
        """Measure the processor, and say what is trained."""
        from cutaway.training.throughput import measure_matmul_peak

        self.trainer = trainer
        self.bytes_per_token = bytes_per_token
        self.tokens = trainer.tokens
        config = trainer.config
        self.peak = measure_matmul_peak(trainer.device, config.dtype) * trainer.world.size
        n_params = trainer.model.config.n_params
        steps = "" if config.step_limit is None else f", {config.step_limit:,} steps"
        self._line(
            f"{n_params / 1e6:.1f}M parameters{steps} of {config.batch_size} x {config.n_ctx} tokens; {trainer.device} "
            f"multiplies at most {self.peak / 1e9:,.0f} GFLOP/s in {config.dtype}"
        )

    def event(self, event: Mapping[str, object]) -> None:
        """Show an event."""
        if event["kind"] == "train":
            self._train(event)
        elif event["kind"] in ("eval", "final"):
            self._evaluation(event)

    def note(self, message: str) -> None:
        """Print a line of its own."""
        self._erase()
        note(message)

    def _train(self, event: Mapping[str, object]) -> None:
        tokens = int(str(event["tokens"]))
        seconds = float(str(event["seconds"]))
        step = int(str(event["step"]))
        self.recent.append((seconds, tokens - self.tokens, self.trainer.flops(step - 1), self.trainer.progress()))
        self.tokens = tokens
        now = time.monotonic()
        if now - self.shown < (SECONDS if self.live else QUIET_SECONDS) and self.trainer.progress() < 1:
            return
        self.shown = now
        line = self._state(step, float(str(event["loss"])))
        if self.live:
            self._erase()
            self.width = len(line)
            print(line, end="", file=self.stream, flush=True)
        else:
            self._line(line)

    def _state(self, step: int, loss: float) -> str:
        from cutaway.training.throughput import memory_bytes

        spent = sum(seconds for seconds, _, _, _ in self.recent) or 1e-9
        speed = sum(tokens for _, tokens, _, _ in self.recent) / spent
        share = sum(flops for _, _, flops, _ in self.recent) / spent / self.peak
        limit = self.trainer.config.step_limit
        parts = [
            f"step {step:,}" + (f"/{limit:,}" if limit else ""),
            f"loss {loss:.3f}",
            *([f"{loss / math.log(2) / self.bytes_per_token:.3f} bits/byte"] if self.bytes_per_token else []),
            f"{speed:,.0f} tokens/s",
            f"{share:.0%} of peak",
            f"{self._left(spent)} left",
            f"{memory_bytes(self.trainer.device) / 2**30:.1f} GiB",
        ]
        return "  ".join(parts)[: columns() if self.live else None]

    def _left(self, spent: float) -> str:
        first = self.recent[0]
        last = self.recent[-1]
        if len(self.recent) < 2 or last[3] <= first[3]:
            return "?"
        pace = (last[3] - first[3]) / (spent - first[0])
        return duration(max(0.0, 1 - last[3]) / pace)

    def _evaluation(self, event: Mapping[str, object]) -> None:
        words = [f"step {event['step']:,}"]
        if "valid_loss" in event:
            words.append(f"validation loss {event['valid_loss']:.4f}")
        if "bits_per_byte" in event:
            words.append(f"{event['bits_per_byte']:.4f} bits/byte")
        if event["kind"] == "final":
            words.append("(averaged weights, which are kept)")
        self._line("  ".join(words))
        if event.get("sample"):
            self._line(style("  | " + safe(" ".join(str(event["sample"]).split()))[: columns() - 4], DIM, self.stream))

    def _line(self, text: str) -> None:
        self._erase()
        print(text, file=self.stream, flush=True)

    def _erase(self) -> None:
        if self.live and self.width:
            print(f"\r{' ' * self.width}\r", end="", file=self.stream)
            self.width = 0


def duration(seconds: float) -> str:
    """Write a time with its two largest units.

    >>> duration(59.4), duration(3700), duration(172800)
    ('59s', '1h01m', '2d00h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
