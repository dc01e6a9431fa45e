"""Decoding on CUDA: the next token of rows that lie anywhere, with a kernel for attention and one graph for all caches.

PyTorch's attention reads a whole static cache by a mask, and so what is empty, too; the kernel reads the slots that are
filled. And a token takes some 150 kernels that run for microseconds each, which to launch from Python takes ten times
as long as they run. What a graph replays has fixed addresses, so it holds its own few inputs: for each row a token, a
length, and the addresses of the row's keys and values.

The kernel needs Triton, which PyTorch's CUDA builds for Linux bring. `has_kernel` compares it with PyTorch's attention
before it is used, and the engine compares whole tokens. Shapes: B rows, H heads of dh, S slots, V = n_vocab.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock

import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.config import GPT2Config
from cutaway.engines.pytorch.model import GPT2, KVCache, LayerCache
from cutaway.engines.pytorch.products import output_product

# A row's bits depend on the number of rows that are multiplied together, so it is always the same. So few more rows
# than one take hardly longer: reading the weights does.
GRAPH_ROWS = 32

N_PROGRAMS = 1024  # that keep a GPU busy: rows and heads are split up to so many
BLOCK_NUMBERS = 8192  # of keys that a program reads at a time
TURNS = 6  # of the comparison, in which a race shows as a difference
SUM_ERROR = 2e-5  # of a mean of normal values in float32


@cache
def has_kernel(device: torch.device, dtype: torch.dtype, config: GPT2Config, layer_stride: int) -> bool:
    """Find out if the kernel can be compiled for a model's decoding, and computes there what it should.

    >>> has_kernel(torch.device("cpu"), torch.float32, GPT2Config(), 0)
    False
    """
    if device.type != "cuda" or config.relative_positions or config.d_head * dtype.itemsize % 16:  # bytes of one access
        return False
    try:
        from triton import JITFunction

        from cutaway.engines.pytorch.decode_kernel import attend_next_kernel

        is_compiled = isinstance(attend_next_kernel, JITFunction)  # an interpreter cannot read a GPU's addresses
        return is_compiled and is_exact(device, dtype, config, layer_stride)
    except Exception:  # noqa: BLE001 - of the compiler, the driver or Triton: there is another attention
        return False


def is_exact(device: torch.device, dtype: torch.dtype, config: GPT2Config, layer_stride: int) -> bool:
    """Compare `attend_next` with PyTorch's attention in float64, for the first and the last layer of a model.

    Results may differ by a unit in the last place beside `SUM_ERROR`, and not at all from one run to the next. Rows are
    of all the lengths at which programs divide their work; slots that are not held are NaN, and so is what lies around.

    >>> is_exact(torch.device("cuda"), torch.bfloat16, GPT2Config(), 8 * 1024 * 768)  # doctest: +SKIP
    True
    """
    n_slots = config.n_ctx
    block, split = split_sizes(n_slots, GRAPH_ROWS * config.n_head, config.d_head)
    held = {0, 1, block, block + 1, split - 1, split, split + 1, n_slots // 2, n_slots - 1, n_slots}
    lengths = sorted(n for n in held if n <= n_slots)
    rows = torch.arange(len(lengths), device=device) + 1  # the first row and those after them are left out
    slots = torch.tensor(lengths, device=device).clamp(max=n_slots - 1)
    generator = torch.Generator(device).manual_seed(1)
    shape = (2, len(lengths) + 2, config.n_head, n_slots, config.d_head)
    kv = torch.randn(shape, generator=generator, dtype=dtype, device=device)
    for row in (0, -1):
        kv[:, row] = torch.nan
    for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
        kv[:, row, :, slot:] = torch.nan
    expected_kv = kv.clone()
    _, all_lengths, k_rows, v_rows = torch.zeros(4, GRAPH_ROWS, dtype=torch.long, device=device)  # as `NextToken` has
    all_lengths[rows] = torch.tensor(lengths, device=device)
    arrived = torch.zeros(GRAPH_ROWS, config.n_head, dtype=torch.int32, device=device)
    qkv = torch.randn(2, GRAPH_ROWS, 1, 3 * config.n_embd, generator=generator, dtype=dtype, device=device)
    found: list[Tensor] = []
    for turn in range(TURNS):  # on two inputs by turns, so that what a run leaves behind is wrong for the next
        heads = (part.view(GRAPH_ROWS, 1, config.n_head, -1).transpose(1, 2) for part in qkv[turn % 2].chunk(3, -1))
        q, k, v = heads  # each (B, H, 1, dh), as `Attention` makes them
        expected_kv[0, rows, :, slots] = k[rows, :, 0]
        expected_kv[1, rows, :, slots] = v[rows, :, 0]
        offset = (config.n_layer - 1) * layer_stride if turn % 3 else 0
        first = [kv[x, 1].data_ptr() - offset * kv.itemsize for x in range(2)]
        row_bytes = kv.stride(1) * kv.itemsize
        for addresses, address in zip((k_rows, v_rows), first, strict=True):
            addresses[rows] = address + (rows - 1) * row_bytes
        z = attend_next(q, k, v, k_rows, v_rows, all_lengths, arrived, n_slots, offset)[rows]
        if arrived.any() or not torch.equal(_bits(kv), _bits(expected_kv)):
            return False
        if turn >= 2 and not torch.equal(z, found[turn - 2]):
            return False
        found.append(z)
        for row, slot, ours in zip(rows.tolist(), slots.tolist(), z, strict=True):
            keys, values = expected_kv[:, row, :, : slot + 1].double()
            exact = F.scaled_dot_product_attention(q[row].double(), keys, values)
            if not torch.allclose(ours.double(), exact, rtol=torch.finfo(dtype).eps, atol=SUM_ERROR):
                return False
    return True


def _bits(x: Tensor) -> Tensor:
    return x.view({2: torch.int16, 4: torch.int32}[x.itemsize])


def attend_next(
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
    """Attend from queries (B, H, 1, dh) to the tokens held and the new one: (B, H, 1, dh).

    `k_rows` and `v_rows` (B,) are the addresses of the slots (H, S, dh) of each row in the first layer, to which
    `layer_offset` numbers are added; 0 for a row that is left out, whose result is undefined. Writes k and v
    (B, H, 1, dh) to slot `lengths[b]`, or of a full row to its last. `arrived` (B, H) is int32, 0 before and after.

    >>> k_rows = torch.tensor([k_cache[0, row].data_ptr() for row in range(2)], device="cuda")  # doctest: +SKIP
    """
    from cutaway.engines.pytorch.decode_kernel import attend_next_kernel

    batch, n_head, _, d_head = q.shape
    if q.stride(3) != 1:
        q = q.contiguous()
    if k.stride(3) != 1 or k.stride() != v.stride():
        raise ValueError("the numbers of a head are contiguous, and keys lie as values do")
    width = _power_of_two(d_head)
    block, split = split_sizes(n_slots, batch * n_head, d_head)
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
        layer_offset,
        n_head,
        n_slots,
        DH=d_head,
        DH_POWER=width,
        BLOCK=block,
        SPLIT=split,
        N_SPLITS=n_splits,
        SPLITS_POWER=_power_of_two(n_splits),
        num_warps=4,
    )
    return out.transpose(1, 2)


def split_sizes(n_slots: int, n_heads: int, d_head: int) -> tuple[int, int]:
    """Return the slots that a program reads at a time, and those of a program.

    Heads of all rows together are about `N_PROGRAMS` programs.

    >>> [split_sizes(1024, rows * 12, 64) for rows in (1, 8, 16, 64)]
    [(128, 128), (128, 128), (128, 256), (128, 1024)]
    """
    block = max(16, BLOCK_NUMBERS // _power_of_two(d_head))
    splits = max(1, N_PROGRAMS // n_heads)
    return block, min(max(block, _power_of_two(-(-n_slots // splits))), max(block, _power_of_two(n_slots)))


def _power_of_two(n: int) -> int:
    """Return the least power of two that is at least n."""
    return 1 << (n - 1).bit_length()


@dataclass
class ScatteredCache(KVCache):
    """Rows that lie anywhere, in caches of one shape: k and v (B,) are their addresses, 0 for a row without any."""

    arrived: Tensor  # (B, H), as in `attend_next`
    n_slots: int
    layer_stride: int  # numbers from one layer to the next
    needs_mask = False

    def layer(self, number: int) -> LayerCache:
        offset = number * self.layer_stride

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend_next(q, k, v, self.k, self.v, self.lengths, self.arrived, self.n_slots, offset)

        return LayerCache(self.k, self.v, self.lengths, attend)


@dataclass(frozen=True)
class Row:
    """A row that reads a token: the tokens it holds, and the addresses of its keys and values in the first layer."""

    length: int
    k: int
    v: int


class NextToken:
    """The reading of one token in each of up to `GRAPH_ROWS` rows: launched, and replayed once it is captured.

    Rows are of caches with `layer_stride` numbers from one layer to the next. The model must stay as it is: the same
    parameters, in the same memory. Whoever calls a method holds the `lock`, for threads share what a graph reads.
    """

    def __init__(self, model: GPT2, layer_stride: int) -> None:
        self.lock = Lock()
        self.is_verified = False  # by the engine
        self._model = model
        weight = model.wpe.weight
        self._inputs = torch.zeros(4, GRAPH_ROWS, dtype=torch.long, device=weight.device)
        ids, lengths, k, v = self._inputs
        self._ids = ids[:, None]
        arrived = torch.zeros(GRAPH_ROWS, model.config.n_head, dtype=torch.int32, device=weight.device)
        self._cache = ScatteredCache(k, v, lengths, arrived, model.config.n_ctx, layer_stride)
        # Logits, and in the last column 1 for a row that is finite.
        self._found = torch.zeros(GRAPH_ROWS, model.config.n_vocab + 1, device=weight.device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def read(self, tokens: Sequence[int], rows: Sequence[Row]) -> Tensor | None:
        """Read a token in each row; return float32 logits (rows, V) on the CPU, or None if numbers overflowed.

        Keys and values are written; lengths are the caller's.
        """
        device = self._inputs.device
        is_cuda = device.type == "cuda"
        inputs = [(token, row.length, row.k, row.v) for token, row in zip(tokens, rows, strict=True)]
        staged = torch.zeros(4, GRAPH_ROWS, dtype=torch.long, device="cpu", pin_memory=is_cuda)
        staged[:, : len(rows)] = torch.tensor(inputs, device="cpu").t()
        self._inputs.copy_(staged, non_blocking=True)
        if self._graph is None:
            self._launch()
        else:
            self._graph.replay()
        found = self._found[: len(rows)]
        received = torch.empty(found.shape, device="cpu", pin_memory=is_cuda)
        received.copy_(found, non_blocking=True)
        if is_cuda:
            torch.cuda.current_stream(device).synchronize()
        return received[:, :-1] if received[:, -1].all() else None

    def _launch(self) -> None:
        hidden = self._model.hidden(self._ids, self._cache)[:, 0]  # (GRAPH_ROWS, d)
        self._found[:, :-1] = output_product(hidden, self._model.lm_head.weight)
        self._found[:, -1] = hidden.isfinite().all(-1)

    def capture(self) -> bool:
        """Capture the launches, which have run before, for they allocate and compile what a capture must not.

        Return False where that fails, as when memory is short. Unlike `torch.cuda.graph` it collects no garbage and
        empties no caches, which would take longer than the rest, and lets other threads use the GPU meanwhile.
        """
        if self._inputs.device.type != "cuda":
            return False
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    self._launch()
                finally:
                    graph.capture_end()
        except Exception:  # noqa: BLE001 - whatever it is, the launches one by one have worked
            return False
        self._graph = graph
        return True

    @property
    def is_captured(self) -> bool:
        """True if tokens are replayed, not launched."""
        return self._graph is not None

    def discard_graph(self) -> None:
        """Launch from now on."""
        self._graph = None
