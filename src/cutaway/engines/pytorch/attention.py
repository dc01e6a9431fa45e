"""Masked self-attention of many queries at once, for training, prefill and decode, and its masks.

Shapes: B sequences, H heads of dh, T new tokens, S keys, M distances that have an embedding.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cutaway.engines.pytorch.products import HAS_AMX, is_transformed

QUERIES = 256 if HAS_AMX else 128  # queries per block of attention on devices other than CUDA
LONG = 1024  # longer sequences recompute these blocks in the backward pass


def causal_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout: float = 0.0,
    n_prefix: Tensor | None = None,
    relative: Tensor | None = None,
) -> Tensor:
    """Compute causal attention; queries, keys and values are (B, H, T, dh). `dropout` is a share of the weights.

    The first `n_prefix` (B,) tokens of a sequence see each other. `relative` (H, M, dh) are embeddings of distances.

    On a CPU, queries are computed in blocks, which skips most of the masked half; once compiled, this is twice as fast
    there as PyTorch's own attention. In a long context the weights are recomputed for the gradients instead of being
    kept, so that memory grows with the context, not with its square.

    >>> x = torch.ones(1, 1, 3, 2)
    >>> causal_attention(x, x, x).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    n = q.shape[2]
    if q.is_cuda:
        mask = None if n_prefix is None else visible(torch.arange(n, device=q.device), n, n_prefix)
        if relative is not None:
            bias = skewed_scores(q * q.shape[-1] ** -0.5, relative, n)
            mask = bias.masked_fill(~visible(torch.arange(n, device=q.device), n, None), -math.inf)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None)
    q = q * q.shape[-1] ** -0.5
    longest = 0 if n_prefix is None else int(n_prefix.max())
    parts = []
    for start in range(0, n, QUERIES):
        end = min(start + QUERIES, n)
        seen = max(end, longest)
        arguments = (q[:, :, start:end], k[:, :, :seen], v[:, :, :seen], start, dropout, n_prefix, relative)
        recomputes = n > LONG and torch.is_grad_enabled() and not is_transformed()
        parts.append(checkpoint(_attend, *arguments, use_reentrant=False) if recomputes else _attend(*arguments))
    return torch.cat(parts, 2)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, start: int, dropout: float, n_prefix: Tensor | None, relative: Tensor | None
) -> Tensor:
    positions = torch.arange(start, start + q.shape[2], dtype=torch.int32, device=q.device)  # faster than 64 bits
    mask = visible(positions, k.shape[2], n_prefix)
    scores = at_least_float32(q @ k.transpose(-1, -2))
    if relative is not None:
        scores = scores + at_least_float32(skewed_scores(q, relative, k.shape[2]))
    return drop(masked_softmax(scores, mask, q.dtype), dropout) @ v


def masked_softmax(scores: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute the softmax over the visible keys of scores (..., S), at least float32; return it in `dtype`.

    >>> masked_softmax(torch.zeros(2, 2), torch.ones(2, 2).tril().bool(), torch.bfloat16)
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000]], dtype=torch.bfloat16)
    """
    if is_transformed():
        return _masked_softmax(scores, mask, dtype)
    weights: Tensor = MaskedSoftmax.apply(scores, mask, dtype)  # type: ignore[no-untyped-call]
    return weights


def _masked_softmax(scores: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    return scores.masked_fill(~mask, -math.inf).softmax(-1).to(dtype)


def at_least_float32(x: Tensor) -> Tensor:
    """Convert 16-bit floats to float32; return other dtypes unchanged.

    >>> [at_least_float32(torch.ones(1, dtype=dtype)).dtype for dtype in (torch.bfloat16, torch.float64)]
    [torch.float32, torch.float64]
    """
    return x if x.dtype == torch.float64 else x.float()


class MaskedSoftmax(torch.autograd.Function):
    """The softmax of `masked_softmax` with its own backward pass.

    It saves only the result and needs no mask, because gradients are 0 where a weight is 0. PyTorch's softmax would
    also save the result in float32.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
        weights = _masked_softmax(scores, mask, dtype)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        weights = at_least_float32(weights)
        weighted = at_least_float32(gradients[0]) * weights
        return weighted - weights * weighted.sum(-1, keepdim=True), None, None


def skewed_scores(q: Tensor, relative: Tensor, n_keys: int) -> Tensor:
    """Multiply queries by the embeddings of their distances to all S keys: (B, H, T, S), 0 for distances from M on.

    q (B, H, T, dh) are the queries of the last T of the S = `n_keys` tokens; `relative` (H, M, dh) are the embeddings
    of the distances 0 to M - 1. Entries for keys after a query are meaningless and must be masked.

    Each query is multiplied by each distance, and the rows are skewed (Huang et al. 2018): after adding a column and
    dropping the first T - 1 numbers, each row of a view with S columns begins one number earlier than the row before.
    No tensor of shape (T, S, dh) is ever made.

    >>> q = torch.tensor([1.0, 10.0, 100.0])[None, None, :, None]
    >>> skewed_scores(q, torch.tensor([[[0.5], [0.25]]]), 3).tril()  # of the token itself, and of the one before
    tensor([[[[ 0.5000,  0.0000,  0.0000],
              [ 2.5000,  5.0000,  0.0000],
              [ 0.0000, 25.0000, 50.0000]]]])
    """
    n_new = q.shape[2]
    near = relative[:, :n_keys].flip(1).to(q.dtype)  # largest distance first, in the order of keys
    by_distance = F.pad(q @ near.transpose(1, 2), (n_keys - near.shape[1], 1))  # (B, H, T, S + 1)
    skewed = by_distance.flatten(2)[:, :, n_new - 1 : n_new - 1 + n_new * n_keys]
    return skewed.view(*q.shape[:3], n_keys)


def gathered_scores(q: Tensor, relative: Tensor, positions: Tensor, n_keys: int) -> Tensor:
    """Compute `skewed_scores` for queries (B, H, T, dh) at any `positions`, (B, T) or (T,): (B, H, T, n_keys).

    >>> q = torch.tensor([10.0, 100.0])[None, None, :, None]
    >>> gathered_scores(q, torch.tensor([[[0.5], [0.25]]]), torch.tensor([1, 2]), 3)
    tensor([[[[ 2.5000,  5.0000,  0.0000],
              [ 0.0000, 25.0000, 50.0000]]]])
    """
    by_distance = q @ relative.to(q.dtype).transpose(1, 2)  # (B, H, T, M)
    distances = positions[..., None] - torch.arange(n_keys, device=q.device)
    distances = distances.expand(len(q), *distances.shape[-2:])[:, None]  # (B, 1, T, S), negative for later tokens
    known = (distances >= 0) & (distances < relative.shape[1])
    index = distances.clamp(0, relative.shape[1] - 1).expand(-1, q.shape[1], -1, -1)
    return by_distance.gather(3, index).masked_fill(~known, 0)


def visible(positions: Tensor, n_keys: int, n_prefix: Tensor | None) -> Tensor:
    """Return the attention mask (..., T, n_keys): True for the keys that the tokens at `positions` (..., T) see.

    A token sees itself and all earlier tokens. With `n_prefix` (B,) it also sees the first `n_prefix` tokens of its
    sequence, and the mask is (B, 1, T, n_keys).

    >>> visible(torch.arange(3), 3, torch.tensor([2])).int().tolist()
    [[[[1, 1, 0], [1, 1, 0], [1, 1, 1]]]]
    """
    keys = torch.arange(n_keys, dtype=positions.dtype, device=positions.device)
    mask = keys <= positions[..., None]
    return mask if n_prefix is None else mask | (keys < n_prefix[:, None, None, None])


def attention_despite_overflow(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, relative_scores: Tensor | None = None
) -> Tensor:
    """Attend as `reference.attention` does: q (B, H, T, dh), k and v (B, H, S, dh), mask (B, 1, T, S) or (T, S).

    `relative_scores` (B, H, T, S) are added to q · k.

    A masked token has no effect even if it is NaN. The other implementations multiply masked values by 0, and 0 times
    NaN is NaN. This one is slower, and holds all scores in memory.

    >>> q = k = torch.zeros(1, 1, 2, 1)
    >>> v = torch.tensor([[[[1.0], [float("nan")]]]])
    >>> attention_despite_overflow(q, k, v, torch.ones(2, 2).tril().bool()).flatten()
    tensor([1., nan])
    """
    scores = q @ k.transpose(-2, -1)  # (B, H, T, S)
    if relative_scores is not None:
        scores = scores + relative_scores
    scores = scores / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    finite = v.isfinite()
    reached = (weights != 0).to(v.dtype) @ (~finite).to(v.dtype) > 0
    return (weights @ v.where(finite, 0)).masked_fill(reached, math.nan)


def drop(x: Tensor, share: float) -> Tensor:
    """Apply dropout to a share of the entries of x; with a share of 0 return x itself, not a copy.

    >>> drop(torch.ones(2), 0.0)
    tensor([1., 1.])
    """
    return F.dropout(x, share) if share else x
