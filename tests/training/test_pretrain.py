"""The short loop: it learns, its sampled loss is right on average, and a stopped run ends as an unstopped one."""

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from cutaway.data.shards import Corpus
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import UsageError
from cutaway.training.pretrain import Recipe, Run, events, main, sampled_loss, validation_loss
from tests.tiny import random_ids, tiny_weights

RECIPE = Recipe(
    n_ctx=16,
    n_embd=16,
    n_head=2,
    n_layer=1,
    batch_size=4,
    steps=12,
    warmup=2,
    decay=4,
    full=3,
    lr=0.05,
    frequent=8,
    drawn=64,
)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    np.save(tmp_path / "shard.npy", np.tile(np.arange(100, 116, dtype=np.uint16), 40))
    return Corpus([tmp_path / "shard.npy"])


def test_a_run_learns(corpus: Corpus, tmp_path: Path) -> None:
    run = Run(RECIPE, corpus, tmp_path / "run")
    before = validation_loss(run.model, corpus, batches=1)
    seen = list(events(run, corpus, every=6))
    assert [event["step"] for event in seen] == list(range(1, 13))
    assert seen[-1]["valid_loss"] < before - 1
    assert ["valid_loss" in event for event in seen].count(True) == 2


def arguments(tmp_path: Path, **changes: object) -> list[str]:
    options = asdict(RECIPE) | {
        "train": tmp_path / "shard.npy",
        "valid": tmp_path / "shard.npy",
        "out": tmp_path / "run",
    }
    flags = (options | changes).items()
    return [f"--{name.replace('_', '-')}={value}" for name, value in flags]


@pytest.mark.usefixtures("corpus")
def test_a_run_goes_on_in_its_own_shape_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments(tmp_path, steps=2))
    main(arguments(tmp_path, steps=3))
    assert '"resumed": true, "step": 2' in capsys.readouterr().out
    with pytest.raises(UsageError, match="run: the run there has n_ctx 16, not 8: go on with that, or choose another"):
        main(arguments(tmp_path, n_ctx=8))


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"steps": -1}, "steps must be at least 1"),
        ({"warmup": 0}, "warmup must be at least 1"),
        ({"lr": -1.0}, "lr must be from 0 to 100"),
        ({"n_head": 3}, "n_embd .16. must be a multiple of n_head .3."),
        ({"save_every": 0}, "save_every must be at least 1"),
        ({"valid": "nowhere.npy"}, "nowhere.npy: not a token shard"),
        ({"n_ctx": 640}, "a shard of 640 tokens is shorter than one window of 641"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        main(arguments(tmp_path, **changes))
    assert not (tmp_path / "run").exists()


def test_a_stopped_run_ends_bit_for_bit_as_an_unstopped_one(corpus: Corpus, tmp_path: Path) -> None:
    straight = Run(RECIPE, corpus, tmp_path / "straight")
    losses = [straight.advance() for _ in range(RECIPE.steps)]
    stopped = Run(RECIPE, corpus, tmp_path / "stopped")
    assert not stopped.resume()
    first = [stopped.advance() for _ in range(7)]
    stopped.save()
    resumed = Run(RECIPE, corpus, tmp_path / "stopped")
    assert resumed.resume()
    assert first + [resumed.advance() for _ in range(5)] == losses
    for name, array in straight.model.export().items():
        np.testing.assert_array_equal(resumed.model.export()[name], array)


def test_the_rate_warms_up_stays_and_falls_to_nearly_zero() -> None:
    rates = [RECIPE.rate(step) / RECIPE.lr for step in range(RECIPE.steps)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert [RECIPE.samples_vocabulary(step) for step in (8, 9)] == [True, False]


def test_the_sampled_softmax_sum_is_right_on_average() -> None:
    """exp(loss) is the estimated sum over the target's exponential; its mean over many draws is the true one."""
    weights = tiny_weights(n_vocab=300)
    model = GPT2(weights.config)
    model.load(weights)
    ids, target = torch.tensor([random_ids(weights.config, 4)]), torch.tensor([[7, 8, 9, 10]])
    ids, target = ids[:, :1], target[:, :1]
    frequent = torch.arange(20)
    draws = [
        sampled_loss(model, ids, target, frequent, 60, torch.Generator().manual_seed(i)).item() for i in range(300)
    ]
    exact = model.loss(ids, target).item()
    assert math.log(np.mean(np.exp(draws))) == pytest.approx(exact, abs=0.05)


def test_sampling_all_of_the_vocabulary_is_the_full_loss() -> None:
    weights = tiny_weights()
    model = GPT2(weights.config)
    model.load(weights)
    ids = torch.tensor([random_ids(weights.config, 9)])
    sampled = sampled_loss(model, ids[:, :-1], ids[:, 1:], torch.arange(5), 1000, torch.Generator())
    torch.testing.assert_close(sampled, model.loss(ids[:, :-1], ids[:, 1:]))
