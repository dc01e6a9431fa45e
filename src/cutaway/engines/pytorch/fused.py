"""Fused training operations: everything between two matrix products in one pass over a GPU's memory.

Outside matrix products a GPU is limited by memory bandwidth, so these operations decide the speed of a step. One pass
adds to the residual stream and normalises the sum; the pass that computes a gradient also sums it for the bias. As in
the modules of `model.py`, weights, their gradients and the stream are float32, and activations are bfloat16.
Shapes: n = B * T tokens, d = n_embd, m = n_inner, H heads of dh, V = n_vocab.
"""

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HAS_TRITON = importlib.util.find_spec("triton") is not None  # it comes with PyTorch for CUDA
PROGRAMS = 1056  # per kernel that sums over rows: eight for each multiprocessor of an H100
STAGES = 3  # rows that such a kernel loads ahead (pipelining)
LOGITS = 8192  # of a row, read at a time


def product(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply vectors (n, k) by a matrix (m, k), in the dtype of the vectors, and add a constant `bias` (m,): (n, m).

    >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([5.0]))
    tensor([[16.]])
    """
    out: Tensor = Product.apply(x, w, bias)  # type: ignore[no-untyped-call]
    return out


def add_norm(x: Tensor, added: Tensor | None, bias: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Return x + added + bias (n, d), and its LayerNorm in bfloat16. Without `added` the sum is x itself.

    >>> norm = nn.LayerNorm(2, device="cuda")  # doctest: +SKIP
    >>> total, normal = add_norm(*torch.ones(2, 4, 2, device="cuda"), norm.bias, norm)  # doctest: +SKIP
    """
    total, out = AddNorm.apply(x, added, bias, norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    return total, out


def gelu_of_sum(x: Tensor, bias: Tensor) -> Tensor:
    """Return OpenAI's GELU of x + bias, (n, m).

    >>> gelu_of_sum(torch.ones(4, 2, device="cuda"), torch.zeros(2, device="cuda")).shape  # doctest: +SKIP
    torch.Size([4, 2])
    """
    out: Tensor = GeluOfSum.apply(x, bias)  # type: ignore[no-untyped-call]
    return out


def split_heads(qkv: Tensor, bias: Tensor, batch: int, n_head: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values as views (B, H, T, dh) of `qkv` (n, 3d), to which `bias` is already added.

    >>> q, k, v = split_heads(torch.arange(12.0).view(2, 6), torch.zeros(6), batch=1, n_head=2)
    >>> q.shape, k[0, 1, 0].tolist()
    (torch.Size([1, 2, 2, 1]), [3.0])
    """
    q, k, v = SplitHeads.apply(qkv, bias, batch, n_head)  # type: ignore[no-untyped-call]
    return q, k, v


class Product(torch.autograd.Function):
    """A matrix product whose weight gradient is float32 without a cast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        rounded = w.to(x.dtype)
        ctx.save_for_backward(x, rounded)
        return F.linear(x, rounded, None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, w = ctx.saved_tensors
        needs_x, needs_w, _ = ctx.needs_input_grad
        dx = gradients[0] @ w if needs_x else None
        return dx, _float32_product(gradients[0].t(), x) if needs_w else None, None


def _float32_product(x: Tensor, y: Tensor) -> Tensor:
    return torch.mm(x, y, out_dtype=torch.float32) if x.is_cuda else x.float() @ y.float()


class AddNorm(torch.autograd.Function):
    """Residual addition and LayerNorm."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, added: Tensor | None, bias: Tensor | None, gain: Tensor, shift: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        from cutaway.engines.pytorch import kernels

        n_rows, n_columns = x.shape
        total = x.view_as(x) if added is None else torch.empty_like(x)
        out = torch.empty_like(x, dtype=torch.bfloat16)
        means = torch.empty(n_rows, dtype=torch.float32, device=x.device)
        scales = torch.empty_like(means)
        rows = 4
        kernels.add_norm_forward[(-(-n_rows // rows),)](
            x,
            added,
            bias,
            gain,
            shift,
            total,
            out,
            means,
            scales,
            n_rows,
            n_columns,
            epsilon,
            ADDS=added is not None,
            ROWS=rows,
            COLUMNS=_power_of_two(n_columns),
            num_warps=4,
        )
        ctx.save_for_backward(total, means, scales, gain)
        ctx.adds = added is not None
        ctx.set_materialize_grads(False)
        return total, out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        from cutaway.engines.pytorch import kernels

        d_total, d_out = gradients
        total, means, scales, gain = ctx.saved_tensors
        assert d_out is not None, "what is normalised is used"
        n_rows, n_columns = total.shape
        dx = torch.empty_like(total)
        d_added = torch.empty_like(total, dtype=torch.bfloat16) if ctx.adds else None
        programs = min(PROGRAMS, n_rows)
        sums = torch.empty(programs, 3, n_columns, dtype=torch.float32, device=total.device)
        kernels.add_norm_backward[(programs,)](
            d_out.contiguous(),
            None if d_total is None else d_total.contiguous(),
            total,
            means,
            scales,
            gain,
            dx,
            d_added,
            sums,
            n_rows,
            n_columns,
            HAS_TOTAL=d_total is not None,
            ADDS=ctx.adds,
            COLUMNS=_power_of_two(n_columns),
            STAGES=STAGES,
            num_warps=4,
        )
        d_gain, d_shift, d_bias = sums.sum(0)
        return dx, d_added, d_bias if ctx.adds else None, d_gain, d_shift, None


class GeluOfSum(torch.autograd.Function):
    """Bias addition and OpenAI's GELU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        from cutaway.engines.pytorch import kernels

        n_rows, n_columns = x.shape
        out = torch.empty_like(x)
        rows = 4
        columns = 1024
        kernels.gelu_forward[(-(-n_rows // rows), -(-n_columns // columns))](
            x, bias, out, n_rows, n_columns, ROWS=rows, COLUMNS=columns, num_warps=8
        )
        ctx.save_for_backward(x, bias)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        from cutaway.engines.pytorch import kernels

        x, bias = ctx.saved_tensors
        n_rows, n_columns = x.shape
        dx = torch.empty_like(x)
        rows = 4
        columns = 512
        blocks = -(-n_columns // columns)
        programs = min(-(-PROGRAMS // blocks), -(-n_rows // rows))
        sums = torch.empty(programs, n_columns, dtype=torch.float32, device=x.device)
        kernels.gelu_backward[(programs, blocks)](
            gradients[0].contiguous(),
            x,
            bias,
            dx,
            sums,
            n_rows,
            n_columns,
            ROWS=rows,
            COLUMNS=columns,
            STAGES=STAGES,
            num_warps=4,
        )
        return dx, sums.sum(0)


class SplitHeads(torch.autograd.Function):
    """Splits queries, keys and values into heads; the backward pass joins their gradients and sums them for bias."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, batch: int, n_head: int) -> tuple[Tensor, ...]:
        ctx.shape = qkv.shape
        parts = qkv.view(batch, -1, 3, n_head, qkv.shape[1] // (3 * n_head))
        return tuple(part.transpose(1, 2) for part in parts.unbind(2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from cutaway.engines.pytorch import kernels

        batch, n_head, n_tokens, d_head = gradients[0].shape
        n_columns = ctx.shape[1]
        out = gradients[0].new_empty(ctx.shape)
        sums = torch.empty(batch, n_columns, dtype=torch.float32, device=out.device)
        for number, gradient in enumerate(gradients):
            part = gradient if gradient.stride(3) == 1 else gradient.contiguous()
            kernels.join_heads[(batch, n_head)](
                part,
                *part.stride()[:3],
                out,
                sums,
                n_tokens,
                d_head,
                n_columns,
                number * n_head * d_head,
                ROWS=64,
                COLUMNS=_power_of_two(d_head),
                num_warps=4,
            )
        return out, sums.sum(0), None, None


def cross_entropy_slope(
    logits: Tensor, offset: Tensor, targets: Tensor, *, n_vocab: int, is_sampled: bool, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Compute `losses.cross_entropy_slope` in place of the logits (n, k), of which the first V columns count.

    `offset` (k,) is read only with `is_sampled`; otherwise it is 0 for the columns that count.

    >>> logits = torch.zeros(2, 64, device="cuda")  # doctest: +SKIP
    >>> offset = torch.zeros(64, device="cuda")  # doctest: +SKIP
    >>> targets = torch.tensor([1, -1], device="cuda")  # doctest: +SKIP
    >>> loss, slope = cross_entropy_slope(
    ...     logits, offset, targets, n_vocab=50, is_sampled=False, smoothing=0.0
    ... )  # doctest: +SKIP
    """
    from cutaway.engines.pytorch import kernels

    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    kernels.cross_entropy[(len(logits),)](
        logits,
        offset,
        targets,
        losses,
        logits.stride(0),
        n_vocab,
        smoothing,
        HAS_OFFSET=is_sampled,
        COLUMNS=LOGITS,
        num_warps=16,
    )
    return losses.sum(), logits


def _power_of_two(n: int) -> int:
    return max(16, 1 << (n - 1).bit_length())
