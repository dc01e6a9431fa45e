"""The training objective: cross-entropy over GPT-2's 50,257 tokens, without holding all logits in memory.

The output matrix takes most of a small model's FLOPs. Loss and gradients are computed together, one chunk of tokens at
a time, and optionally over a sample of the vocabulary (`SampledVocabulary`), which is faster.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cutaway.engines.pytorch import fused
from cutaway.engines.pytorch.model import GPT2
from cutaway.engines.pytorch.products import accumulate, add_product, columns_of, linear

ROWS = 128  # the learned rows of a masked batch are padded to a multiple of this

Slope = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Add = Callable[[Tensor, Tensor, Tensor], None]


def cross_entropy_slope(
    logits: Tensor, offset: Tensor, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy in nats of logits (n, k) + offset (k,) for targets (n,), and its gradient (n, k)
    with respect to the logits, in their dtype. Rows with a negative target are ignored.

    With label smoothing the gradient is that of the smoothed loss: a share `smoothing` of each target is spread evenly
    over the tokens whose offset is finite. The returned loss, which is logged, is never smoothed.

    torch.compile fuses this into one pass; `cross_entropy_slope_in_place` computes the same without torch.compile.

    >>> loss, slope = cross_entropy_slope(torch.zeros(2, 4), torch.zeros(4), torch.tensor([1, -1]))
    >>> round(loss.item(), 4), slope.tolist()
    (1.3863, [[0.25, -0.75, 0.25, 0.25], [0.0, 0.0, 0.0, 0.0]])
    """
    x = logits.float() + offset
    largest = x.amax(-1, keepdim=True)
    exp = (x - largest).exp()
    total = exp.sum(-1, keepdim=True)
    target = targets[:, None]
    counts = (target >= 0).float()
    loss = ((largest + total.log() - x.gather(1, target.clamp(min=0))) * counts).sum()
    is_target = torch.arange(logits.shape[1], device=logits.device)[None, :] == target
    wanted = is_target.float()
    if smoothing:
        there = offset.isfinite().float()
        wanted = wanted * (1 - smoothing) + there * (smoothing / there.sum())
    return loss, ((exp / total - wanted) * counts).to(logits.dtype)


def cross_entropy_slope_in_place(
    logits: Tensor, offset: Tensor, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the same as `cross_entropy_slope`, in the memory of one (n, k) tensor.

    Without torch.compile, reading and writing (n, k) numbers takes most of the time. Here only six operations do that.

    >>> loss, slope = cross_entropy_slope_in_place(torch.zeros(2, 4), torch.zeros(4), torch.tensor([1, -1]))
    >>> round(loss.item(), 4), slope.tolist()
    (1.3863, [[0.25, -0.75, 0.25, 0.25], [0.0, 0.0, 0.0, 0.0]])
    """
    x = logits + offset  # in float32
    largest = x.amax(-1, keepdim=True)
    target = targets[:, None]
    place = target.clamp(min=0)
    counts = (target >= 0).float()
    score = x.gather(1, place)
    exp = x.sub_(largest).exp_()
    total = exp.sum(-1, keepdim=True)
    loss = ((largest + total.log() - score) * counts).sum()
    slope = exp.div_(total / counts)  # divides by infinity in an ignored row
    if smoothing:
        there = offset.isfinite().float()
        slope.sub_(there * (smoothing / there.sum()) * counts)
    slope.scatter_add_(1, place, (smoothing - 1) * counts)
    return loss, slope.to(logits.dtype)


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Return True on a GPU on which the cross-entropy kernel works.

    >>> has_kernel(torch.device("cpu"), torch.bfloat16)
    False
    """
    return device.type == "cuda" and kernel_agrees(device, dtype)


@cache
def kernel_agrees(device: torch.device, dtype: torch.dtype) -> bool:
    """Compare the kernel `fused.cross_entropy_slope` with `cross_entropy_slope` on some rows.

    If the kernel fails or differs with this GPU, driver or Triton version, training does not use it.

    >>> kernel_agrees(torch.device("meta"), torch.bfloat16)
    False
    """
    if not fused.HAS_TRITON:
        return False
    try:
        generator = torch.Generator().manual_seed(1)
        logits = torch.empty(3, 2 * fused.LOGITS + 64).normal_(0, 3, generator=generator).to(device, dtype)
        n_vocab = logits.shape[1] - 15
        offset = torch.full((logits.shape[1],), -math.inf)
        offset[:n_vocab] = torch.empty(n_vocab).normal_(generator=generator)
        targets = torch.tensor([fused.LOGITS + 1, -1, 0], device=device)
        arguments = (offset.to(device), targets)
        expected = cross_entropy_slope(logits, *arguments, 0.1)
        found = fused.cross_entropy_slope(logits.clone(), *arguments, n_vocab=n_vocab, is_sampled=True, smoothing=0.1)
        return all(torch.allclose(a, b, rtol=0.02, atol=1e-6) for a, b in zip(found, expected, strict=True))
    except Exception:  # noqa: BLE001  # from the compiler, the driver or Triton
        return False


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of h @ w.T + offset, `chunk` rows at a time; gradients are computed in the forward pass.

    The offset may be longer than `w` has rows. The additional entries pad the vocabulary and are -infinity.
    """

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, w: Tensor, offset: Tensor, targets: Tensor, chunk: int, slope_of: Slope, add: Add
    ) -> Tensor:
        table = _padded_table(w, len(offset), h.dtype)
        columns = columns_of(table)
        dh = torch.empty_like(h)
        dw = torch.zeros(w.shape, dtype=torch.float32, device=w.device)
        total = torch.zeros((), device=h.device)
        for start in range(0, len(h), chunk):
            rows = slice(start, start + chunk)
            loss, slope = slope_of(linear(h[rows], table), offset, targets[rows])
            total += loss
            dh[rows] = linear(slope, columns)
            if ctx.needs_input_grad[1]:  # a third of the work; skipped if the output matrix is frozen
                add(dw, slope, h[rows])
        ctx.save_for_backward(dh, dw)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dh, dw = ctx.saved_tensors
        scale = gradients[0]
        return dh * scale.to(dh.dtype), dw * scale, None, None, None, None, None


def _padded_table(w: Tensor, n_rows: int, dtype: torch.dtype) -> Tensor:
    """Return `w` in a dtype, padded with rows of zeros to `n_rows`."""
    if len(w) == n_rows:
        return w.to(dtype)
    table = w.new_zeros(n_rows, w.shape[1], dtype=dtype)
    table[: len(w)] = w
    return table


class CrossEntropy:
    """Computes the summed loss in nats of hidden states (n, d) and an output matrix `w` (V, d), `chunk` rows at a time.

    Targets (n,) that are negative are ignored. Label `smoothing` changes the gradient only.

    >>> loss = CrossEntropy(compiled=False)(torch.zeros(2, 3), torch.ones(4, 3), torch.tensor([1, -1]))
    >>> round(loss.item(), 4)
    1.3863
    """

    def __init__(self, chunk: int = 512, *, compiled: bool, smoothing: float = 0.0) -> None:
        self.chunk = chunk
        self.smoothing = smoothing
        slope = torch.compile(cross_entropy_slope, dynamic=False) if compiled else cross_entropy_slope_in_place
        self.slope = partial(slope, smoothing=smoothing)
        self.add = partial(add_product, add=torch.compile(accumulate, dynamic=False) if compiled else accumulate)

    def __call__(self, h: Tensor, w: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss over the whole vocabulary, which is padded to a multiple of 64 for speed."""
        padding = -len(w) % 64
        offset = F.pad(torch.zeros(len(w), device=w.device), (0, padding), value=-math.inf)
        return self._apply(h, w, offset, targets, is_sampled=False)

    def sampled(self, h: Tensor, w: Tensor, targets: Tensor, sample: "SampledVocabulary") -> Tensor:
        """Estimate the loss from the rows of `w` that are in a sample of the vocabulary."""
        table = w.index_select(0, sample.ids)
        return self._apply(h, table, sample.offset, sample.places(targets), is_sampled=True)

    def _apply(self, h: Tensor, w: Tensor, offset: Tensor, targets: Tensor, *, is_sampled: bool) -> Tensor:
        slope = self.slope
        if has_kernel(h.device, h.dtype):
            slope = partial(fused.cross_entropy_slope, n_vocab=len(w), is_sampled=is_sampled, smoothing=self.smoothing)
        if not torch.is_grad_enabled():
            return self._without_gradients(h, _padded_table(w, len(offset), h.dtype), offset, targets, slope)
        arguments = (h, w, offset, targets, self.chunk, slope, self.add)
        loss: Tensor = ChunkedCrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]
        return loss

    def _without_gradients(self, h: Tensor, w: Tensor, offset: Tensor, targets: Tensor, slope: Slope) -> Tensor:
        total = torch.zeros((), device=h.device)
        for start in range(0, len(h), self.chunk):
            rows = slice(start, start + self.chunk)
            total += slope(linear(h[rows], w), offset, targets[rows])[0]
        return total


class Objective(nn.Module):
    """A model with its loss as one module, whose forward pass DDP and FSDP wrap.

    >>> from cutaway.config import GPT2Config
    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    >>> ids = torch.tensor([[0, 1, 2]])
    >>> loss = Objective(model, CrossEntropy(compiled=False))(ids[:, :-1], ids[:, 1:])
    >>> bool(torch.isclose(loss, 2 * model.loss(ids[:, :-1], ids[:, 1:])))
    True
    """

    def __init__(self, model: GPT2, cross_entropy: CrossEntropy) -> None:
        super().__init__()
        self.model = model
        self.cross_entropy = cross_entropy

    def forward(
        self,
        ids: Tensor,
        targets: Tensor,
        learned: Tensor | None = None,
        n_prefix: Tensor | None = None,
        sample: "SampledVocabulary | None" = None,
    ) -> Tensor:
        """Return the summed loss in nats of targets (B, T), or only of the `learned` (B, T) ones, given ids (B, T).

        The first `n_prefix` (B,) ids of each row attend to each other.
        """
        h = self.model.hidden(ids, n_prefix=n_prefix).flatten(0, 1)
        targets = targets.flatten()
        if learned is not None:
            h, targets = _learned_rows(h, targets, learned.flatten())
        w = self.model.lm_head.weight
        if sample is None:
            return self.cross_entropy(h, w, targets)
        return self.cross_entropy.sampled(h, w, targets, sample)


def _learned_rows(h: Tensor, targets: Tensor, learned: Tensor) -> tuple[Tensor, Tensor]:
    """Return the learned rows, padded with ignored rows to a multiple of ROWS, so that few shapes are compiled."""
    rows = learned.nonzero().flatten()
    padding = -len(rows) % ROWS
    return F.pad(h[rows], (0, 0, 0, padding)), F.pad(targets[rows], (0, padding), value=-1)


class SampledVocabulary:
    """The vocabulary of a step's sampled softmax: its targets, frequent tokens, and a random sample of the others.

    A randomly drawn token is weighted by the inverse of its probability of being drawn, so that the estimate of the
    softmax denominator is unbiased. `size` is rounded up to a multiple of 1,024, and at least 1,024 tokens are drawn.
    `targets` and `frequent` are on the CPU; `to` moves the sample to a device.
    """

    def __init__(self, n_vocab: int, targets: Tensor, frequent: Tensor, size: int, generator: torch.Generator) -> None:
        known = torch.zeros(n_vocab, dtype=torch.bool)
        known[frequent] = True
        known[targets.flatten()] = True
        others = (~known).nonzero().flatten()
        n_known = n_vocab - len(others)
        n_drawn = max(1024, size - n_known)
        n_drawn += -(n_known + n_drawn) % 1024
        drawn = others[torch.randperm(len(others), generator=generator)[:n_drawn]]
        self.ids = torch.cat([known.nonzero().flatten(), drawn])
        self.offset = torch.zeros(len(self.ids))
        if len(drawn):  # empty if the batch holds all of a small vocabulary
            self.offset[n_known:] = math.log(len(others) / len(drawn))
        self._place = torch.empty(n_vocab, dtype=torch.long)
        self._place[self.ids] = torch.arange(len(self.ids))

    def to(self, device: torch.device) -> "SampledVocabulary":
        """Move the sample to a device and return it."""
        self.ids = self.ids.to(device)
        self.offset = self.offset.to(device)
        self._place = self._place.to(device)
        return self

    def places(self, targets: Tensor) -> Tensor:
        """Return the indices of the targets in `ids`, in the shape of `targets`; a negative target stays negative."""
        return torch.where(targets < 0, targets, self._place[targets.clamp(min=0)])
