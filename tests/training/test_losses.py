"""The loss over chunks equals PyTorch's, with its gradients; the sampled loss is right on average."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cutaway.data.batches import padded_batches
from cutaway.data.examples import Example
from cutaway.engines.pytorch.model import GPT2
from cutaway.training.losses import (
    ChunkedCrossEntropy,
    CrossEntropy,
    Objective,
    SampledVocabulary,
    cross_entropy_slope,
    cross_entropy_slope_in_place,
)
from tests.tiny import random_ids, tiny_weights


def example(n: int = 7, n_vocab: int = 50, d: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(n, d, generator=generator)
    w = torch.randn(n_vocab, d, generator=generator)
    return h.requires_grad_(), w.requires_grad_(), torch.randint(0, n_vocab, (n,), generator=generator)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_loss_and_gradients_equal_pytorchs(chunk: int) -> None:
    h, w, targets = example()
    ours = CrossEntropy(chunk, compiled=False)(h, w, targets)
    expected = F.cross_entropy(h @ w.T, targets, reduction="sum")
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * ours, (h, w)), torch.autograd.grad(3 * expected, (h, w)))


@pytest.mark.slow  # torch.compile runs a C++ compiler
@pytest.mark.filterwarnings("ignore")  # of PyTorch itself while it compiles
def test_compiled_in_bfloat16_it_has_the_eager_gradients() -> None:
    h, w, targets = example(9)
    found = []
    for compiled in (False, True):
        loss = CrossEntropy(4, compiled=compiled)(h.bfloat16(), w, targets)
        found.append((loss, *torch.autograd.grad(loss, (h, w))))
    torch.testing.assert_close(found[1], found[0], rtol=0.02, atol=0.02)
    exact = F.cross_entropy(h @ w.T, targets, reduction="sum")
    torch.testing.assert_close(found[1][1:], torch.autograd.grad(exact, (h, w)), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("sampled", [True, False])
def test_negative_targets_count_for_nothing(sampled: bool) -> None:
    h, w, targets = example()
    targets[2:5] = -1
    cross_entropy = CrossEntropy(3, compiled=False)
    sample = SampledVocabulary(50, targets.clamp(min=0), torch.arange(4), 50, torch.Generator().manual_seed(1))
    ours = cross_entropy.sampled(h, w, targets, sample) if sampled else cross_entropy(h, w, targets)
    expected = F.cross_entropy(h @ w.T, targets, ignore_index=-1, reduction="sum")
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(torch.autograd.grad(ours, (h, w)), torch.autograd.grad(expected, (h, w)))


def test_label_smoothing_has_pytorchs_gradients_and_the_plain_loss() -> None:
    h, w, targets = example()
    ours = CrossEntropy(3, compiled=False, smoothing=0.1)(h, w, targets)
    plain = F.cross_entropy(h @ w.T, targets, reduction="sum")
    torch.testing.assert_close(ours, plain)
    smoothed = F.cross_entropy(h @ w.T, targets, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(torch.autograd.grad(ours, (h, w)), torch.autograd.grad(smoothed, (h, w)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_in_place_it_has_the_same_numbers(dtype: torch.dtype, smoothing: float) -> None:
    h, w, targets = example(n=40)
    targets[::3] = -1
    offset = torch.zeros(50)
    offset[30:] = 0.7  # of tokens that were drawn
    offset[46:] = -math.inf  # of none
    targets = targets.clamp(max=45)
    logits = (3 * h @ w.T).detach().to(dtype)
    kept = logits.clone()
    loss, slope = cross_entropy_slope_in_place(logits, offset, targets, smoothing)
    expected_loss, expected = cross_entropy_slope(logits, offset, targets, smoothing)
    assert torch.equal(logits, kept)
    assert torch.equal(loss, expected_loss)
    assert slope.dtype == dtype
    tolerance = 0.0 if smoothing == 0 else 1e-7 if dtype == torch.float32 else 0.004
    torch.testing.assert_close(slope, expected, rtol=0, atol=tolerance)


def test_without_gradients_none_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    h, w, targets = example()
    monkeypatch.delattr(ChunkedCrossEntropy, "forward")
    with torch.no_grad():
        loss = CrossEntropy(3, compiled=False)(h, w, targets)
        torch.testing.assert_close(loss, F.cross_entropy(h @ w.T, targets, reduction="sum"))


@pytest.mark.parametrize("n_learned", [0, 1, 9, 14])
def test_the_objective_is_over_learned_targets_only(n_learned: int) -> None:
    weights = tiny_weights()
    model = GPT2(weights.config)
    model.load(weights)
    ids = torch.tensor([random_ids(weights.config, 8, seed) for seed in (1, 2)])
    learned = (torch.arange(14) % 14 < n_learned).view(2, 7)
    ours = Objective(model, CrossEntropy(4, compiled=False))(ids[:, :-1], ids[:, 1:], learned)
    expected = F.cross_entropy(model(ids[:, :-1])[learned], ids[:, 1:][learned], reduction="sum")
    torch.testing.assert_close(ours, expected)
    gradients = torch.autograd.grad(ours, list(model.parameters()), retain_graph=True)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, list(model.parameters())), rtol=1e-4, atol=1e-5)


def test_the_objective_of_padded_prefixes_is_that_of_each_row_alone() -> None:
    weights = tiny_weights()
    model = GPT2(weights.config)
    model.load(weights)
    objective = Objective(model, CrossEntropy(4, compiled=False))
    rows = [random_ids(weights.config, length, length) for length in (4, 7, 9)]
    prefixes = [3, 2, 0]
    batch = padded_batches([_example(ids, n) for ids, n in zip(rows, prefixes, strict=True)], 100)[0]
    assert batch.learned is not None
    assert batch.n_prefix is not None
    parts = (batch.inputs, batch.targets, batch.learned, batch.n_prefix)
    together = objective(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
    alone = torch.zeros(())
    for ids, n in zip(rows, prefixes, strict=True):
        learned = torch.arange(1, len(ids))[None] >= max(1, n)
        alone += objective(torch.tensor([ids[:-1]]), torch.tensor([ids[1:]]), learned, torch.tensor([n]))
    torch.testing.assert_close(together, alone)


def _example(ids: list[int], n_prefix: int) -> Example:
    return Example(np.array(ids), np.arange(len(ids)) >= max(1, n_prefix), n_prefix)


def test_a_sample_of_everything_is_the_whole_vocabulary() -> None:
    h, w, targets = example()
    sample = SampledVocabulary(50, targets, torch.arange(4), 50, torch.Generator().manual_seed(1))
    assert sample.ids.sort().values.tolist() == list(range(50))
    loss = CrossEntropy(4, compiled=False).sampled(h, w, targets, sample)
    torch.testing.assert_close(loss, F.cross_entropy(h @ w.T, targets, reduction="sum"))


def test_where_every_token_is_known_none_is_drawn() -> None:
    h, w, targets = example()
    sample = SampledVocabulary(50, targets, torch.arange(50), 8192, torch.Generator().manual_seed(1))
    assert sample.ids.tolist() == list(range(50))
    loss = CrossEntropy(4, compiled=False).sampled(h, w, targets, sample)
    torch.testing.assert_close(loss, F.cross_entropy(h @ w.T, targets, reduction="sum"))


def test_the_sum_of_the_softmax_is_estimated_without_bias() -> None:
    n_vocab = 3000
    h, w, targets = example(n_vocab=n_vocab)
    exact = (h @ w.T).exp().sum(-1)
    estimates = []
    for seed in range(40):
        sample = SampledVocabulary(n_vocab, targets, torch.arange(10), 0, torch.Generator().manual_seed(seed))
        assert len(sample.ids) % 1024 == 0
        assert len(sample.ids) < n_vocab
        estimates.append((h @ w[sample.ids].T + sample.offset).exp().sum(-1))
    mean = torch.stack(estimates).mean(0)
    torch.testing.assert_close(mean, exact, rtol=0.15, atol=0)
    assert sample.ids[sample.places(targets)].tolist() == targets.tolist()
    assert math.isclose(float(sample.offset[0]), 0)


def test_in_bfloat16_the_loss_and_the_gradient_of_the_table_are_summed_in_float32() -> None:
    h, w, targets = example()
    logits = (h @ w.T).bfloat16()
    loss, _ = cross_entropy_slope(logits, torch.zeros(logits.shape[1]), targets)
    torch.testing.assert_close(loss, F.cross_entropy(logits.float(), targets, reduction="sum"))
    table = w.detach().clone().requires_grad_()
    CrossEntropy(4, compiled=False)(h.detach().bfloat16(), table, targets).backward()  # type: ignore[no-untyped-call]
    assert table.grad is not None
    assert not torch.equal(table.grad, table.grad.bfloat16().float())


def test_a_sample_has_the_size_that_is_asked_for() -> None:
    targets = torch.arange(700)
    sample = SampledVocabulary(9000, targets, torch.arange(500, 1500), 4096, torch.Generator().manual_seed(1))
    assert len(sample.ids) == 4096
