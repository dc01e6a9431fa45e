import json
from pathlib import Path

import pytest

from cutaway.cli import make_parser, train_plot
from cutaway.errors import UsageError


@pytest.fixture
def run(tmp_path: Path) -> str:
    lines = [{"kind": "train", "step": step, "loss": 5 - step / 100, "lr": 1e-3} for step in range(1, 201)]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(tmp_path / "run")


def plot(*arguments: str) -> None:
    train_plot.run(make_parser("train_plot").parse_args(arguments))


def test_draws_in_the_terminal(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    plot(run)
    shown = capsys.readouterr().out
    assert shown.startswith("run\n\nLoss, nats per token\n")
    assert "Learning rate\n" in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_writes_an_svg(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot(run, run, "-o", str(tmp_path / "losses.svg"))
    assert (tmp_path / "losses.svg").read_text().startswith("<svg")
    assert capsys.readouterr().out == f"{tmp_path / 'losses.svg'}: run, run\n"


def test_json_has_the_points(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    plot(run, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["file"] is None
    [entry] = document["runs"]
    assert entry["run"] == "run"
    assert entry["train"]["loss"][0] == 4.99
    assert entry["eval"] == {"step": [], "valid_loss": []}


def test_only_svg_is_written(run: str) -> None:
    with pytest.raises(UsageError, match=r"must end in .svg, not losses.png"):
        plot(run, "-o", "losses.png")
