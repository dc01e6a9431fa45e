"""Matrix products of linear layers, by the fastest library call on this CPU.

PyTorch multiplies float32 with MKL, and bfloat16 with oneDNN. On AMD processors MKL does not use AVX-512: there oneDNN
multiplies float32 twice as fast, and a tenth faster if there is only AVX2. With AMX, a bfloat16 product takes twice as
long if its first matrix is transposed in memory, as in the gradient of the weights, so that matrix is copied first
(docs/log.md).
"""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ALIGNMENT = 64  # an output matrix whose rows are a multiple of this is fast on CUDA
WORTH = 2**24  # multiplications from which oneDNN saves more than the overhead of its call from Python


def processor() -> str:
    """Describe the processor as the system does: on Linux with its vendor and feature flags.

    >>> isinstance(processor(), str)
    True
    """
    listed = Path("/proc/cpuinfo")
    return listed.read_text() if listed.exists() else platform.processor()


HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
HAS_AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
PROCESSOR = processor()
USES_ONEDNN = HAS_ONEDNN and "AuthenticAMD" in PROCESSOR
HAS_AMX = "amx_bf16" in PROCESSOR


def is_transformed() -> bool:
    """Return True inside torch.func (grad, vmap, jvp), which needs PyTorch's own operations instead of these.

    >>> is_transformed(), bool(torch.func.vmap(lambda x: x + is_transformed())(torch.zeros(1)))
    (False, True)
    """
    return torch._C._are_functorch_transforms_active()


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x @ w.T + bias for vectors x (..., k), a matrix w (n, k) and a bias (n,): (..., n).

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([[11., 17.]])
    """
    if x.device.type == "cpu" and x.dtype == w.dtype and x.numel() * len(w) >= WORTH and not is_transformed():
        if USES_ONEDNN and x.dtype == torch.float32:
            out: Tensor = onednn_linear(x, w, bias)
            return out
        if HAS_AMX and x.dtype == torch.bfloat16 and bias is None:
            out = AmxLinear.apply(x, w)  # type: ignore[no-untyped-call]
            return out
    return F.linear(x, w, bias)


def pad_rows(w: Tensor) -> Tensor:
    """Copy a matrix (n, k) to memory in which rows of zeros follow, up to a multiple of `ALIGNMENT`, for `aligned`.

    >>> pad_rows(torch.ones(3, 2)).shape
    torch.Size([3, 2])
    """
    padded = w.new_zeros(-(-len(w) // ALIGNMENT) * ALIGNMENT, w.shape[1])
    padded[: len(w)] = w
    return padded[: len(w)]


def aligned(w: Tensor) -> Tensor:
    """Return a matrix (n, k) from `pad_rows` with its padding rows; return any other matrix unchanged.

    >>> aligned(pad_rows(torch.ones(3, 2))).shape, aligned(torch.ones(3, 2)).shape
    (torch.Size([64, 2]), torch.Size([3, 2]))
    """
    n = -(-len(w) // ALIGNMENT) * ALIGNMENT
    has_room = w.untyped_storage().nbytes() >= (w.storage_offset() + n * w.shape[1]) * w.element_size()
    return w.as_strided((n, w.shape[1]), w.stride()) if has_room and w.is_contiguous() else w


def output_product(x: Tensor, w: Tensor) -> Tensor:
    """Compute the logits (..., V) of vectors (..., d) with an output matrix (V, d), aligned if `pad_rows` made it.

    Without padding, cuBLAS takes five times as long for GPT-2's matrix, because 50,257 rows are odd.

    >>> output_product(torch.tensor([[1.0, 2.0]]), pad_rows(torch.tensor([[3.0, 4.0], [5.0, 6.0]])))
    tensor([[11., 17.]])
    """
    return linear(x, aligned(w).to(x.dtype))[..., : len(w)]


def columns_of(w: Tensor) -> Tensor:
    """Return w.T, so that `linear` multiplies by w itself: a copy if the CPU is faster with one (docs/log.md).

    >>> columns_of(torch.ones(3, 2)).shape
    torch.Size([2, 3])
    """
    is_fast = w.is_cuda or (HAS_AMX and w.dtype == torch.bfloat16)
    return w.t() if is_fast else w.t().contiguous()


def accumulate(total: Tensor, part: Tensor) -> None:
    """Add `part` (m, k) of any dtype to `total` (n, k), in place. Extra rows of `part` are padding and ignored.

    >>> total = torch.ones(1, 2)
    >>> accumulate(total, torch.ones(3, 2, dtype=torch.bfloat16))
    >>> total
    tensor([[2., 2.]])
    """
    total += part[: len(total)]


def add_product(total: Tensor, x: Tensor, y: Tensor, add: Callable[[Tensor, Tensor], None] = accumulate) -> None:
    """Add x.T @ y to `total` (n, k), in place, for x (m, n) and y (m, k). Extra columns of x are padding and ignored.

    `add` is `accumulate`, or `accumulate` compiled, which does not cast a copy of the product first.

    >>> total = torch.ones(2, 1)
    >>> add_product(total, torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0]]))
    >>> total.tolist()
    [[11.0], [21.0]]
    """
    if x.dtype != total.dtype or (USES_ONEDNN and HAS_AVX512):
        add(total, linear(x.t(), y.t()))  # with padding, which is faster to multiply
    else:  # adding while multiplying saves more than oneDNN does without AVX-512
        total.addmm_(x[:, : len(total)].t(), y)


# Custom operators, which torch.compile treats as opaque. They are not defined by `custom_op` because its first call
# imports the compiler, which takes a second.
COMPILES = torch.Tag.pt2_compliant_tag
torch.library.define("cutaway::onednn_linear", "(Tensor x, Tensor w, Tensor? bias) -> Tensor", tags=COMPILES)
torch.library.define("cutaway::product", "(Tensor x, Tensor y) -> Tensor", tags=COMPILES)


def onednn_linear(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    """Compute x @ w.T + bias in float32 with oneDNN, on a CPU.

    >>> onednn_linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), None)
    tensor([[11.]])
    """
    out: Tensor = torch.ops.cutaway.onednn_linear(x, w, bias)
    return out


@torch.library.impl("cutaway::onednn_linear", "CPU")
def _with_onednn(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, w, bias, "none", [], "")
    return out


@torch.library.register_fake("cutaway::onednn_linear")  # type: ignore[untyped-decorator]
def _shaped(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(w))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    x, w, _ = inputs
    ctx.save_for_backward(x, w)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, w = ctx.saved_tensors
    needs_x, needs_w, needs_bias = ctx.needs_input_grad
    rows = gradient.reshape(-1, len(w))  # (m, n)
    # oneDNN is slow if the rows of its second matrix are not contiguous; copying them costs less than it saves.
    dx = onednn_linear(gradient, w.t().contiguous(), None) if needs_x else None
    dw = onednn_linear(rows.t(), x.reshape(-1, x.shape[-1]).t().contiguous(), None) if needs_w else None
    return dx, dw, rows.sum(0) if needs_bias else None


torch.library.register_autograd("cutaway::onednn_linear", _gradients, setup_context=_keep)


class AmxLinear(torch.autograd.Function):
    """x @ w.T. For the gradient of w, the transposed matrix is copied first; a compiled block fuses this copy.

    >>> AmxLinear.apply(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([[11., 17.]])
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return F.linear(x, w)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, w = ctx.saved_tensors
        needs_x, needs_w = ctx.needs_input_grad
        rows = gradient.reshape(-1, len(w))  # (m, n)
        dx = gradient @ w if needs_x else None
        dw = product(rows.t().contiguous(), x.reshape(-1, x.shape[-1])) if needs_w else None
        return dx, dw


def product(x: Tensor, y: Tensor) -> Tensor:
    """Compute x @ y on a CPU, with the memory layout of x unchanged.

    >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    out: Tensor = torch.ops.cutaway.product(x, y)
    return out


@torch.library.impl("cutaway::product", "CPU")
def _multiplied(x: Tensor, y: Tensor) -> Tensor:
    return x @ y


@torch.library.register_fake("cutaway::product")  # type: ignore[untyped-decorator]
def _shaped_product(x: Tensor, y: Tensor) -> Tensor:
    return x.new_empty(len(x), y.shape[1])
