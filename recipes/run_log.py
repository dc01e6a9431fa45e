"""The log of a training run, for the model cards of the built-in models."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class RunLog:
    """A run: its settings, steps, tokens and hours, and the validation losses in nats."""

    settings: dict[str, Any]
    steps: int
    tokens: int
    hours: float
    losses: list[float]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the log of a run directory."""
        events = [json.loads(line) for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        steps = [event for event in events if event["kind"] == "train"]
        return cls(
            json.loads((directory / "config.json").read_text(encoding="utf-8")),
            steps[-1]["step"],
            steps[-1]["tokens"],
            sum(event["seconds"] for event in steps) / 3600,
            [event["valid_loss"] for event in events if event["kind"] == "eval"],
        )

    @property
    def millions(self) -> float:
        """Millions of tokens."""
        return self.tokens / 1e6

    @property
    def points(self) -> int:
        """Number of validation losses."""
        return len(self.losses)

    @property
    def curve(self) -> str:
        """The validation losses from the first to the last, as bars."""
        return f"{self.losses[0]:.2f}  {bars(self.losses)}  {self.losses[-1]:.2f}"


def bars(losses: list[float]) -> str:
    """Draw a line of bars, one for each loss, from low to high.

    >>> bars([3.0, 2.0, 1.0])
    '█▅▁'
    """
    low = min(losses)
    height = max(losses) - low or 1
    return "".join(BARS[1 + round((loss - low) / height * (len(BARS) - 2))] for loss in losses)
