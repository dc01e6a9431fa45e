"""The short loop: it learns, and a stopped run ends as an unstopped one."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cutaway
from cutaway.data.mixture import Mixture
from cutaway.errors import CutawayError, UsageError
from cutaway.training.pretrain import END_OF_TEXT, Run, main, open_mixture
from cutaway.training.recipe import Recipe

ROWS = {"stories": 3, "books": 1}
RECIPE = Recipe(
    n_ctx=16,
    n_embd=16,
    n_head=2,
    n_layer=1,
    rows=4,
    short=8,
    short_tokens=160,
    tokens=500,
    hold=200,
    full=0.3,
    warmup=2,
    matrix_lr=0.05,
    table_lr=0.05,
    vector_lr=0.05,
    negatives=64,
    frequent=8,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    document = [END_OF_TEXT, *range(100, 116)]
    for name in ("stories", "books-0", "books-1", "stories-valid"):
        np.save(folder / f"{name}.npy", np.array(document * 12, np.uint16))
    return folder


@pytest.fixture
def mixture(data: Path) -> Mixture:
    return open_mixture(data, ROWS)


def arguments(data: Path, **changes: object) -> list[str]:
    paths = {"data": data, "out": data.parent / "run", "mixture": "stories=3,books=1", "valid": "stories"}
    flags = (asdict(RECIPE) | paths | {"threads": 1} | changes).items()
    return [f"--{name.replace('_', '-')}={value}" for name, value in flags]


def state_of(run: Run) -> dict[str, list[float]]:
    stores = run.parameters | {f"m.{k}": v for k, v in run.muon.momentum.items()} | run.average.values
    return {name: value.detach().flatten().tolist() for name, value in stores.items()}


def test_a_run_learns_measures_and_leaves_a_checkpoint(data: Path) -> None:
    main(arguments(data, validate=4))
    log = [json.loads(line) for line in (data.parent / "run" / "log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in log] == list(range(1, 12))
    assert log[-1]["tokens"] == 544
    measured = [event["valid"]["stories"] for event in log if "valid" in event]
    assert len(measured) == 3
    assert measured[-1] < measured[0] - 0.5
    model = cutaway.load(data.parent / "run" / "checkpoint")
    assert model.config == RECIPE.config()


@pytest.mark.parametrize("stop", [1, 4, 5, 7, 10])
def test_a_stopped_run_ends_bit_for_bit_as_an_unstopped_one(mixture: Mixture, tmp_path: Path, stop: int) -> None:
    straight = Run(RECIPE, mixture, tmp_path / "straight")
    losses = [straight.advance() for _ in range(11)]
    stopped = Run(RECIPE, mixture, tmp_path / "stopped")
    assert not stopped.resume()
    first = [stopped.advance() for _ in range(stop)]
    stopped.save()
    resumed = Run(RECIPE, mixture, tmp_path / "stopped")
    assert resumed.resume()
    assert first + [resumed.advance() for _ in range(11 - stop)] == losses
    assert state_of(resumed) == state_of(straight)
    assert straight.average.values, "the last steps are averaged"


def test_a_gradient_that_is_not_finite_changes_nothing(mixture: Mixture, tmp_path: Path) -> None:
    run = Run(RECIPE, mixture, tmp_path / "run")
    run.advance()
    with torch.no_grad():
        run.parameters["ln_f.bias"][0] = float("inf")
    before = state_of(run)
    with pytest.raises(CutawayError, match="step 1: the gradient is not finite"):
        run.advance()
    assert state_of(run) == before


def test_gradients_are_clipped(mixture: Mixture, tmp_path: Path) -> None:
    run = Run(RECIPE, mixture, tmp_path / "run")
    norms = []

    def record(parameters: object, limit: float) -> torch.Tensor:
        norms.append(limit)
        return torch.zeros(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", record)
        run.advance()
    assert norms == [1.0]


def test_a_run_resumes_in_its_own_shape_only(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments(data, tokens=300))
    main(arguments(data))
    assert '"resumed": true, "step": 8' in capsys.readouterr().out
    with pytest.raises(UsageError, match="run: the run has n_layer 1, not 2; use another --out"):
        main(arguments(data, n_layer=2))
    with pytest.raises(UsageError, match="run: the run has mixture"):
        main(arguments(data, mixture="stories=2,books=2"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"mixture": "stories=3"}, "the mixture has 3 rows, the recipe 4"),
        ({"mixture": "stories=3,poems=1"}, "no shard poems.npy"),
        ({"valid": "nothing"}, "nothing-valid.npy: not a token shard"),
        ({"validate": 0}, "validate must be at least 1"),
        ({"hold": 500}, "hold .500. must be below tokens"),
    ],
)
def test_invalid_commands_are_refused_before_anything_is_written(
    data: Path, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        main(arguments(data, **changes))
    assert not (data.parent / "run").exists()


def test_the_schedule_can_follow_the_clock(data: Path) -> None:
    main(arguments(data, max_time=1e-9))
    assert (data.parent / "run" / "log.jsonl").read_text() == ""


def test_seeds_differ(mixture: Mixture, tmp_path: Path) -> None:
    losses = {Run(replace(RECIPE, seed=seed), mixture, tmp_path / str(seed)).advance() for seed in (1, 2)}
    assert len(losses) == 2
