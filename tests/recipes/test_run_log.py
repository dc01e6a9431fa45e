"""A run as its log tells it."""

import json
from pathlib import Path

import pytest

from recipes.run_log import RunLog, bars


def test_steps_tokens_hours_and_losses_are_those_of_the_log(tmp_path: Path) -> None:
    events = [
        {"kind": "train", "step": 1, "tokens": 8, "seconds": 1800.0, "loss": 3.0},
        {"kind": "eval", "step": 1, "valid_loss": 3.0},
        {"kind": "train", "step": 2, "tokens": 2_500_000, "seconds": 5400.0, "loss": 2.0},
        {"kind": "eval", "step": 2, "valid_loss": 2.0},
        {"kind": "final", "step": 2, "valid_loss": 1.9},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (tmp_path / "config.json").write_text('{"hold": 0.4}')
    run = RunLog.read(tmp_path)
    assert (run.steps, run.tokens, run.millions, run.hours, run.points) == (2, 2_500_000, 2.5, 2.0, 2)
    assert run.settings["hold"] == 0.4
    assert run.curve == "3.00  █▁  2.00"


@pytest.mark.parametrize(("losses", "drawn"), [([3.0, 2.0, 1.0], "█▅▁"), ([1.0], "▁"), ([2.0, 2.0], "▁▁")])
def test_bars_go_from_low_to_high(losses: list[float], drawn: str) -> None:
    assert bars(losses) == drawn
