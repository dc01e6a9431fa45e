"""Attention with masks, prefixes and long contexts against PyTorch's own. Relative positions: test_relative.py."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.engines.pytorch.attention import (
    LONG,
    QUERIES,
    MaskedSoftmax,
    attention_despite_overflow,
    causal_attention,
)


@pytest.mark.parametrize("n_tokens", [1, QUERIES - 1, QUERIES, QUERIES + 1, 3 * QUERIES])
def test_attention_equals_pytorchs_with_its_gradients(n_tokens: int) -> None:
    generator = torch.Generator().manual_seed(n_tokens)
    q, k, v = (torch.randn(2, 3, n_tokens, 8, generator=generator).requires_grad_() for _ in range(3))
    ours = causal_attention(q, k, v)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn(ours.shape, generator=generator)
    grads = torch.autograd.grad((ours * weight).sum(), (q, k, v))
    torch.testing.assert_close(grads, torch.autograd.grad((expected * weight).sum(), (q, k, v)))


@pytest.mark.parametrize("n_tokens", [5, QUERIES, 2 * QUERIES + 3])
def test_prefix_attention_equals_a_plain_mask_with_its_gradients(n_tokens: int) -> None:
    generator = torch.Generator().manual_seed(n_tokens)
    q, k, v = (
        torch.randn(4, 3, n_tokens, 8, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3)
    )
    n_prefix = torch.tensor([0, 2, n_tokens - 1, n_tokens])
    mask = torch.zeros(4, 1, n_tokens, n_tokens, dtype=torch.bool)
    for row, count in enumerate(n_prefix.tolist()):
        mask[row, 0] = torch.ones(n_tokens, n_tokens).tril().bool()
        mask[row, 0, :count, :count] = True
    ours = causal_attention(q, k, v, n_prefix=n_prefix)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    grads = torch.autograd.grad((ours * weight).sum(), (q, k, v))
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    torch.testing.assert_close(grads, wanted)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_long_context_is_computed_again_with_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 3, 3 * QUERIES, 8, generator=generator).requires_grad_() for _ in range(3))
    n_prefix = torch.tensor([70, 3])
    found = []
    for long in (LONG, QUERIES):
        monkeypatch.setattr("cutaway.engines.pytorch.attention.LONG", long)
        torch.manual_seed(5)
        out = causal_attention(q, k, v, dropout, n_prefix)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def kept(x: Tensor) -> int:
    """Return the bytes that attention from x to itself keeps for its gradients."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        causal_attention(x, x, x)
    return sum(sizes.values())


def test_memory_of_a_long_context_grows_with_its_length_alone() -> None:
    long, short = (torch.ones(1, 1, n * LONG, 4, requires_grad=True) for n in (4, 2))
    assert kept(long) < 2.5 * kept(short)


def test_weights_are_kept_once_and_in_the_dtype_of_training() -> None:
    x = torch.ones(1, 1, QUERIES, 1, dtype=torch.bfloat16, requires_grad=True)
    assert kept(x) < 1.1 * 2 * QUERIES**2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_masked_softmax_has_the_gradients_of_pytorchs(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 3, 5, 7, generator=generator).mul(3).requires_grad_()
    mask = torch.ones(5, 7).tril().bool()
    weights = MaskedSoftmax.apply(scores, mask, dtype)  # type: ignore[no-untyped-call]
    exact = scores.detach().double().requires_grad_()
    expected = exact.masked_fill(~mask, -torch.inf).softmax(-1)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    assert weights.dtype == dtype
    torch.testing.assert_close(weights.double(), expected, rtol=tolerance, atol=tolerance)
    gradient = torch.randn(weights.shape, generator=generator).to(dtype)
    torch.autograd.backward([weights, expected], [gradient, gradient.double()])
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)
    assert not scores.grad.masked_select(~mask).any()


@pytest.mark.parametrize(("score", "is_reached"), [(-20.0, True), (-200.0, False)])
def test_a_value_that_overflows_is_reached_by_the_smallest_weight_but_0(score: float, is_reached: bool) -> None:
    q = torch.ones(1, 1, 1, 1)
    k = torch.tensor([[[[0.0], [score]]]])
    v = torch.tensor([[[[1.0], [torch.inf]]]])
    z = attention_despite_overflow(q, k, v, torch.ones(1, 2, dtype=torch.bool))
    assert bool(z.isnan().all()) == is_reached
