import json
from pathlib import Path

import numpy as np
import pytest

from cutaway.errors import UsageError
from cutaway.training.plots import read_curves, smooth, training_charts, transfer_chart


def write(run: Path, *lines: object, end: str = "\n") -> Path:
    run.mkdir()
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (run / "metrics.jsonl").write_text("\n".join(texts) + end)
    return run


def test_reads_losses_rates_and_evaluations_and_skips_other_kinds(tmp_path: Path) -> None:
    run = write(
        tmp_path / "run",
        {"kind": "train", "step": 1, "tokens": 8, "loss": 4.0, "lr": 0.1, "grad_norm": 1.0, "seconds": 0.1},
        {"kind": "train", "step": 2, "tokens": 16, "loss": 3.0, "lr": 0.2, "grad_norm": 1.0, "seconds": 0.1},
        {"kind": "eval", "step": 2, "valid_loss": 3.5, "bits_per_byte": 1.1, "sample": "x"},
        {"kind": "save", "step": 2},
    )
    curves = read_curves(run)
    assert curves.name == "run"
    assert curves.steps.tolist() == [1, 2]
    assert curves.loss.tolist() == [4, 3]
    assert curves.lr.tolist() == [0.1, 0.2]
    assert (curves.eval_steps.tolist(), curves.valid_loss.tolist()) == ([2], [3.5])


def test_a_torn_last_line_and_losses_that_are_no_numbers_are_skipped(tmp_path: Path) -> None:
    whole = {"kind": "train", "step": 1, "loss": 4.0, "lr": 0.1}
    missing = {"kind": "train", "step": 2, "loss": None, "lr": 0.1}
    run = write(tmp_path / "run", whole, missing, '{"kind": "train", "st', end="")
    assert read_curves(run).loss.tolist() == [4]


@pytest.mark.parametrize("line", ["[]", "{", '{"kind": "train"}', '{"step": true}', "\\xff"])
def test_an_invalid_line_is_an_error_with_its_number(tmp_path: Path, line: str) -> None:
    run = write(tmp_path / "run", {"kind": "save", "step": 1}, line)
    with pytest.raises(UsageError, match=r"metrics.jsonl, line 2: must be a JSON object with a step"):
        read_curves(run)


def test_a_directory_that_is_no_run_and_a_run_without_losses_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run: cannot read metrics.jsonl: No such file"):
        read_curves(tmp_path)
    with pytest.raises(UsageError, match="holds no losses yet"):
        read_curves(write(tmp_path / "run", {"kind": "save", "step": 1}))


def test_smoothing_keeps_a_line_straight_and_its_ends() -> None:
    straight = np.linspace(5, 1, 101)
    np.testing.assert_allclose(smooth(straight, 7), straight)
    noise = np.random.default_rng(0).normal(size=1000)
    assert smooth(noise, 50)[100:-100].std() < 0.2
    assert smooth(noise, 0).tolist() == pytest.approx(noise.tolist())


def test_one_run_has_a_colour_for_each_loss_and_several_have_one_each(tmp_path: Path) -> None:
    events = [{"kind": "train", "step": step, "loss": 4.0 + step % 2, "lr": 0.1} for step in range(1, 200)]
    events.append({"kind": "eval", "step": 199, "valid_loss": 4.5})
    one = read_curves(write(tmp_path / "one", *events))
    two = read_curves(write(tmp_path / "two", *events))
    loss, rate = training_charts([one])
    assert [(line.label, line.colour) for line in loss.lines] == [("training", 0), ("validation", 1)]
    assert loss.lines[0].raw is not None
    np.testing.assert_array_equal(loss.lines[0].y, smooth(one.loss, 3))  # of 199 steps, a fiftieth on either side
    loss, rate = training_charts([one, two])
    assert [(line.label, line.colour) for line in loss.lines] == [
        ("one, training", 0),
        ("one, validation", 0),
        ("two, training", 1),
        ("two, validation", 1),
    ]
    assert [line.colour for line in rate.lines] == [0, 1]
    assert rate.x == loss.x


def test_a_run_of_evaluations_alone_has_no_chart_of_rates(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"kind": "eval", "step": 5, "valid_loss": 4.5})
    assert [chart.title for chart in training_charts([read_curves(run)])] == ["Loss"]


def test_transfer_has_a_band_over_the_seeds() -> None:
    chart = transfer_chart([0.01, 0.1, 1.0], {"a": [[5, 6, 7], [4, 4, 4], [3, 2, 4]], "b": [[1], [1], [1]]})
    line = chart.lines[0]
    assert line.low is not None
    assert line.high is not None
    assert (line.y.tolist(), line.low.tolist(), line.high.tolist()) == ([6, 4, 3], [5, 4, 2], [7, 4, 4])
    assert [label for _, label in chart.x.ticks] == ["1 %", "10 %", "100 %"]
    assert (chart.y.low < 1, chart.y.high > 7) == (True, True)
