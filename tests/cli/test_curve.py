import json
from pathlib import Path

import pytest

from cutaway.cli.curve import read_point
from tests.cli.invoke import invoke


@pytest.mark.slow
def test_trains_from_both_starts_and_draws_the_curve(tiny: str, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{n} is", "completion": f" {n}"}) + "\n" for n in range(8)))
    steps = ("--max-steps", "1", "--batch-size", "2", "--device", "cpu", "--shares", "50", "100", "--seeds", "1")
    command = ("curve", "--model", tiny, "--data", str(data), "--out", str(tmp_path / "curve"), *steps)
    result = invoke(*command)
    assert result.code == 0
    assert "run 4 of 4: pretrained-100%-seed1" in result.err
    assert "from scratch" in result.out
    assert (tmp_path / "curve" / "curve.svg").read_text().startswith("<svg")
    document = invoke(*command, "--json").document
    assert document["shares"] == [0.5, 1.0]
    losses = document["losses"]
    assert isinstance(losses, dict)
    assert [len(seeds) for by_share in losses.values() for seeds in by_share] == [1, 1, 1, 1]


def test_a_number_from_1_on_is_percent() -> None:
    assert [read_point(text) for text in ("1", "1%", "0.01", "0.5", "0.5%", "100")] == [0.01, 0.01, 0.01, 0.5, 0.005, 1]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    command = ("curve", "--data", "data.jsonl", "--out", str(tmp_path / "curve"))
    for share in ("0", "all", "101", "200%"):
        error = f"--shares must be above 0% and at most 100%, such as 5% or 0.05, not '{share}'"
        assert error in invoke(*command, "--shares", share, "10").error
    assert "--shares must be different from each other" in invoke(*command, "--shares", "10", "10%").error
    assert "--seeds must be from 1" in invoke(*command, "--seeds", "0").error
    assert "data.jsonl: cannot be read" in invoke(*command).error
    assert "unrecognized arguments: --method" in invoke(*command, "--method", "lora").error
