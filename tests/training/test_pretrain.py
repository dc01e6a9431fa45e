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
from cutaway.training.averaging import SHARE
from cutaway.training.losses import SampledVocabulary
from cutaway.training.muon import NorMuon
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


def test_a_crash_loses_no_more_than_the_steps_since_the_last_save(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Run.advance

    def fail_at_four(run: Run, progress: float | None = None) -> float:
        if run.step == 4:
            raise RuntimeError("power cut")
        return advance(run, progress)

    monkeypatch.setattr(Run, "advance", fail_at_four)
    with pytest.raises(RuntimeError, match="power cut"):
        main(arguments(data, save_minutes=0))
    resumed = Run(RECIPE, open_mixture(data, ROWS), data.parent / "run")
    assert resumed.resume()
    assert resumed.step == 4


def test_the_average_starts_near_the_end_and_is_blended_into_the_weights(mixture: Mixture, tmp_path: Path) -> None:
    run = Run(RECIPE, mixture, tmp_path / "run")
    started = []
    for _ in range(11):
        progress = run.progress()
        run.advance()
        started.append((progress >= 0.87, bool(run.average.values)))
    assert all(expected == there for expected, there in started)
    assert [there for _, there in started].count(True) == 1
    run.average.values = {name: torch.zeros_like(value) for name, value in run.average.values.items()}
    kept = run.weights().read("wte.weight")
    np.testing.assert_allclose(kept, (1 - SHARE) * run.parameters["wte.weight"].detach().numpy(), rtol=1e-6)


def test_every_step_draws_another_sample_of_the_vocabulary(
    mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    class Recording(SampledVocabulary):
        def __init__(self, *given: object) -> None:
            generator = given[-1]
            assert isinstance(generator, torch.Generator)
            drawn.append(generator.initial_seed())
            super().__init__(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("cutaway.training.pretrain.SampledVocabulary", Recording)
    recipe = replace(RECIPE, negatives=2000)
    run = Run(recipe, mixture, tmp_path / "run")
    run.advance()
    run.save()
    run.advance()
    resumed = Run(recipe, mixture, tmp_path / "run")
    resumed.resume()
    resumed.advance()
    assert drawn[0] != drawn[1]
    assert drawn[1] == drawn[2]


def test_steps_are_those_of_the_optimizers_written_out(mixture: Mixture, tmp_path: Path) -> None:
    """Three steps of a table, a vector and a matrix, from gradients of PyTorch's own loss.

    Of the table the rows of the corpus' tokens: the gradients of all others are near 1e-9, mostly rounding, which AdamW
    scales up as it does any gradient.
    """
    rows = {"wte.weight": slice(100, 116)}
    recipe = replace(RECIPE, full=1, weight_decay=0.3)
    run = Run(recipe, mixture, tmp_path / "run")
    rates = {"wte.weight": recipe.table_lr, "ln_f.weight": recipe.vector_lr}
    expected = {name: run.parameters[name].detach().clone() for name in (*rates, "h.0.mlp.c_fc.weight")}
    first = {name: torch.zeros_like(expected[name]) for name in rates}
    second = {name: torch.zeros_like(expected[name]) for name in rates}
    matrix = {"h.0.mlp.c_fc.weight": expected["h.0.mlp.c_fc.weight"].clone().requires_grad_()}
    muon = NorMuon(matrix, torch.float32)
    for step in range(3):
        gradients = clipped_gradients(run)
        rate = recipe.rate(step, run.progress())
        for name, lr in rates.items():
            first[name] = 0.9 * first[name] + 0.1 * gradients[name]
            second[name] = 0.98 * second[name] + 0.02 * gradients[name] ** 2
            mean = first[name] / (1 - 0.9 ** (step + 1))
            square = second[name] / (1 - 0.98 ** (step + 1))
            expected[name] -= lr * rate * mean / (square.sqrt() + 1e-10)
        matrix["h.0.mlp.c_fc.weight"].grad = gradients["h.0.mlp.c_fc.weight"]
        muon.step(recipe.matrix_lr * rate, recipe.momentum(step), weight_decay=0.3)
        run.advance()
    expected["h.0.mlp.c_fc.weight"] = matrix["h.0.mlp.c_fc.weight"].detach()
    for name, value in expected.items():
        shown = rows.get(name, slice(None))
        torch.testing.assert_close(run.parameters[name].detach()[shown], value[shown], rtol=1e-4, atol=1e-5)


def clipped_gradients(run: Run) -> dict[str, torch.Tensor]:
    """The gradients of the run's next step, scaled to a norm of at most 1, by PyTorch's own loss."""
    ids, targets = run.mixture.batch(RECIPE.seed, RECIPE.batch_number(run.step), RECIPE.length(run.step))
    hidden = run.forward.hidden(torch.from_numpy(ids))
    logits = hidden @ run.parameters["wte.weight"].T
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets.copy()).flatten())
    gradients = torch.autograd.grad(loss, list(run.parameters.values()), allow_unused=True)
    there = {name: g for name, g in zip(run.parameters, gradients, strict=True) if g is not None}
    norm = float(torch.sqrt(sum((g.square().sum() for g in there.values()), torch.zeros(()))))
    return {name: g / max(1.0, norm) for name, g in there.items()}


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
        ({"mixture": "stories=3,books=x"}, "--mixture must look like stories=15,books=8, not 'stories=3,books=x'"),
        ({"mixture": "stories=4,books=0"}, "rows of books must be at least 1"),
        ({"valid": ""}, "-valid.npy: not a token shard"),
        ({"max_time": 0}, "max_time must be from 1 to 1e.09"),
        ({"n_ctx": 204}, "stories.npy: 204 tokens are too few for windows of 204; 409 are needed"),
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


def test_a_part_or_a_validation_shard_shorter_than_a_window_is_refused(data: Path) -> None:
    np.save(data / "stories-valid.npy", np.array([END_OF_TEXT, *range(15)], np.uint16))
    with pytest.raises(UsageError, match="stories-valid.npy: 16 tokens are too few for a window of 17"):
        main(arguments(data))
    np.save(data / "stories.npy", np.array([END_OF_TEXT, *range(15)], np.uint16))
    with pytest.raises(
        UsageError, match="stories.npy: 16 tokens are too few for windows of (8|16); (17|33) are needed"
    ):
        main(arguments(data))
    assert not (data.parent / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_cuda_device_is_named(data: Path) -> None:
    with pytest.raises(UsageError, match="PyTorch finds no CUDA device here; train with --device cpu"):
        main(arguments(data, device="cuda"))


def test_the_schedule_can_follow_the_clock(data: Path) -> None:
    moments = iter([0.0, 2.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cutaway.training.pretrain.time.monotonic", lambda: next(moments))
        main(arguments(data, max_time=1))
    assert (data.parent / "run" / "log.jsonl").read_text() == ""


def test_seeds_differ(mixture: Mixture, tmp_path: Path) -> None:
    losses = {Run(replace(RECIPE, seed=seed), mixture, tmp_path / str(seed)).advance() for seed in (1, 2)}
    assert len(losses) == 2
