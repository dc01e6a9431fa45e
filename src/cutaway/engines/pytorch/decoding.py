"""Attention of one new token a sequence to a KV cache on CUDA, which reads only the slots that are filled.

A mask over a whole static cache reads what is empty, too; this also puts the new key and value in their slots.
Without Triton, which PyTorch's CUDA builds for Linux bring, or a compiler for it, PyTorch's attention serves.
Shapes: B sequences, H heads of dh, S slots.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

N_PROGRAMS = 1024  # that keep a GPU busy: rows and heads are split up to so many
BLOCK_NUMBERS = 8192  # of keys that a program reads at a time


@cache
def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Find out if the kernel can be compiled and run; a small launch tells.

    >>> has_kernel(torch.device("cpu"), torch.float32)
    False
    """
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    try:
        one = torch.ones(1, 1, 1, 16, dtype=dtype, device=device)
        counts = torch.zeros(1, 1, dtype=torch.int32, device=device)
        found = attend_next(one, one, one, one.clone(), one.clone(), counts[0].long(), counts)
        return bool((found == 1).all())
    except Exception:  # noqa: BLE001 - of the compiler, the driver or Triton: there is another attention
        return False


@torch.library.custom_op("cutaway::attend_next", mutates_args=("k_cache", "v_cache", "arrived"))
def attend_next(
    q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, arrived: Tensor
) -> Tensor:
    """Attend from queries (B, H, 1, dh) to the tokens held and the new one: (B, H, 1, dh).

    Writes k and v (B, H, 1, dh) to slot `lengths[b]` of the caches (B, H, S, dh); a row that is full overwrites its
    last. `arrived` (B, H) is int32, 0 before and after. An operator, so that torch.compile leaves it whole.

    >>> one = torch.ones(1, 1, 1, 16, device="cuda")  # doctest: +SKIP
    >>> counts = torch.zeros(1, 1, dtype=torch.int32, device="cuda")  # doctest: +SKIP
    >>> attend_next(one, one, one, one.clone(), one.clone(), counts[0].long(), counts).shape  # doctest: +SKIP
    torch.Size([1, 1, 1, 16])
    """
    heads, slots = k_cache.stride()[1:3]
    if (slots, k_cache.stride(3), v_cache.stride()) != (q.shape[3], 1, k_cache.stride()):
        raise ValueError("the slots of a cache are contiguous")
    return _launch(q, k, v, k_cache, v_cache, lengths, arrived, k_cache.shape[2], (k_cache.stride(0), heads, 0))


@attend_next.register_fake
def _shaped(
    q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, arrived: Tensor
) -> Tensor:
    return q.new_empty(q.shape[0], 1, q.shape[1], q.shape[3]).transpose(1, 2)


def attend_next_at(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_rows: Tensor,
    v_rows: Tensor,
    lengths: Tensor,
    arrived: Tensor,
    n_slots: int,
    layer_offset: int,
) -> Tensor:
    """Do what `attend_next` does for rows that lie anywhere: `k_rows` and `v_rows` (B,) are the addresses of their
    slots (H, S, dh) in the first layer, to which `layer_offset` numbers are added; 0 for a row that is left out, whose
    result is undefined.

    >>> k_rows = torch.tensor([k_cache[0, row].data_ptr() for row in range(2)], device="cuda")  # doctest: +SKIP
    """
    strides = (0, n_slots * q.shape[3], layer_offset)
    return _launch(q, k, v, k_rows, v_rows, lengths, arrived, n_slots, strides)


def _launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_rows: Tensor,
    v_rows: Tensor,
    lengths: Tensor,
    arrived: Tensor,
    n_slots: int,
    strides: tuple[int, int, int],
) -> Tensor:
    from cutaway.engines.pytorch.decode_kernel import attend_next_kernel

    batch, n_head, _, d_head = q.shape
    if q.stride(3) != 1:
        q = q.contiguous()
    if k.stride(3) != 1 or k.stride() != v.stride():
        raise ValueError("the numbers of a head are contiguous, and keys lie as values do")
    width = _power_of_two(d_head)
    block = max(16, BLOCK_NUMBERS // width)
    split = split_size(n_slots, batch * n_head, block)
    n_splits = -(-n_slots // split)
    out = q.new_empty(batch, 1, n_head, d_head)
    parts = q.new_empty(batch * n_head * n_splits * width, dtype=torch.float32)
    sums = q.new_empty(batch * n_head * n_splits * 2, dtype=torch.float32)
    attend_next_kernel[(n_head, batch, n_splits)](
        q,
        k,
        v,
        k_rows,
        v_rows,
        lengths,
        arrived,
        parts,
        sums,
        out,
        d_head**-0.5,
        q.stride(0),
        q.stride(1),
        k.stride(0),
        k.stride(1),
        *strides,
        n_head,
        n_slots,
        DH=d_head,
        DH_POWER=width,
        BLOCK=block,
        SPLIT=split,
        N_SPLITS=n_splits,
        SPLITS_POWER=_power_of_two(n_splits),
        HAS_ADDRESSES=k_rows.dim() == 1,
        num_warps=4,
    )
    return out.transpose(1, 2)


def split_size(n_slots: int, n_heads: int, block: int) -> int:
    """Return the slots of a program, so that heads of all rows together are about `N_PROGRAMS` programs.

    >>> [split_size(1024, rows * 12, block=128) for rows in (1, 8, 16, 64)]
    [128, 128, 256, 1024]
    """
    splits = max(1, N_PROGRAMS // n_heads)
    return min(max(block, _power_of_two(-(-n_slots // splits))), max(block, _power_of_two(n_slots)))


def _power_of_two(n: int) -> int:
    """Return the least power of two that is at least n."""
    return 1 << (n - 1).bit_length()
