"""The loss over chunks equals PyTorch's, with its gradients; the sampled loss is right on average."""

import math

import pytest
import torch
from torch.nn import functional as F

from cutaway.training.losses import CrossEntropy, SampledVocabulary


def example(n: int = 7, n_vocab: int = 50, d: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(n, d, generator=generator)
    w = torch.randn(n_vocab, d, generator=generator)
    return h.requires_grad_(), w.requires_grad_(), torch.randint(0, n_vocab, (n,), generator=generator)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_loss_and_gradients_equal_pytorchs(chunk: int) -> None:
    h, w, targets = example()
    ours = CrossEntropy(chunk, compiled=False)(h, w, targets)
    expected = F.cross_entropy(h @ w.T, targets)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * ours, (h, w)), torch.autograd.grad(3 * expected, (h, w)))


def test_a_sample_of_everything_is_the_whole_vocabulary() -> None:
    h, w, targets = example()
    sample = SampledVocabulary(50, targets, torch.arange(4), 50, torch.Generator().manual_seed(1))
    assert sample.ids.sort().values.tolist() == list(range(50))
    loss = CrossEntropy(4, compiled=False).sampled(h, w, targets, sample)
    torch.testing.assert_close(loss, F.cross_entropy(h @ w.T, targets))


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
