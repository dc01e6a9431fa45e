"""Decoding on CUDA: one token for rows anywhere in memory, with an attention kernel and one CUDA graph for all caches.

PyTorch's attention reads a static cache with a mask, including its empty slots; the kernel reads only filled slots. A
token takes about 150 kernels of a few microseconds each, and launching them from Python takes ten times as long as
running them, so they are captured in a graph. A graph replays fixed addresses, so it has its own small inputs: for each
row a token, a length, and the addresses of the row's keys and values.

The kernel needs Triton, which comes with PyTorch's CUDA builds for Linux. Before it is used, `has_kernel` compares it
with PyTorch's attention, and the engine compares logits, keys and values of whole tokens.
Shapes: B rows, H heads of dh, S slots, V = n_vocab.
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

# Always the same number of rows, because the bits of a row depend on how many are multiplied together. So few rows take
# hardly longer than one: reading the weights takes most of the time.
GRAPH_ROWS = 32

N_PROGRAMS = 1024  # enough to keep a GPU busy; rows and heads are split into about this many
BLOCK_NUMBERS = 8192  # elements of keys that a program reads at a time
TURNS = 6  # of the comparison, so that a race shows as a difference
SUM_ERROR = 2e-5  # tolerance for a mean of normal values in float32


@cache
def has_kernel(device: torch.device, dtype: torch.dtype, config: GPT2Config, layer_stride: int) -> bool:
    """Return True if the kernel compiles for this model and device, and computes correct results.

    >>> has_kernel(torch.device("cpu"), torch.float32, GPT2Config(), 0)
    False
    """
    if device.type != "cuda" or config.relative_positions or config.d_head * dtype.itemsize % 16:  # bytes per access
        return False
    try:
        from triton import JITFunction

        from cutaway.engines.pytorch.decode_kernel import attend_next_kernel

        is_compiled = isinstance(attend_next_kernel, JITFunction)  # an interpreter cannot read a GPU's addresses
        return is_compiled and is_exact(device, dtype, config, layer_stride)
    except Exception:  # noqa: BLE001 - from the compiler, the driver or Triton: PyTorch's attention is used
        return False


def is_exact(device: torch.device, dtype: torch.dtype, config: GPT2Config, layer_stride: int) -> bool:
    """Compare `attend_next` with PyTorch's attention in float64, for the first and the last layer of a model.

    Results may differ by a unit in the last place plus `SUM_ERROR`, and must be the same in each run. The lengths of
    rows include all boundaries at which programs split their work. Empty slots and the neighbouring rows hold NaN.

    >>> is_exact(torch.device("cuda"), torch.bfloat16, GPT2Config(), 8 * 1024 * 768)  # doctest: +SKIP
    True
    """
    n_slots = config.n_ctx
    block, split = split_sizes(n_slots, GRAPH_ROWS * config.n_head, config.d_head)
    held = {0, 1, block, block + 1, split - 1, split, split + 1, n_slots // 2, n_slots - 1, n_slots}
    lengths = sorted(n for n in held if n <= n_slots)
    rows = torch.arange(len(lengths), device=device) + 1  # the first row and the rows after these are skipped
    slots = torch.tensor(lengths, device=device).clamp(max=n_slots - 1)
    generator = torch.Generator(device).manual_seed(1)
    shape = (2, len(lengths) + 2, config.n_head, n_slots, config.d_head)
    kv = torch.randn(shape, generator=generator, dtype=dtype, device=device)
    for row in (0, -1):
        kv[:, row] = torch.nan
    for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
        kv[:, row, :, slot:] = torch.nan
    expected_kv = kv.clone()
    _, all_lengths, k_rows, v_rows = torch.zeros(4, GRAPH_ROWS, dtype=torch.long, device=device)  # as in `NextToken`
    all_lengths[rows] = torch.tensor(lengths, device=device)
    arrived = torch.zeros(GRAPH_ROWS, config.n_head, dtype=torch.int32, device=device)
    qkv = torch.randn(2, GRAPH_ROWS, 1, 3 * config.n_embd, generator=generator, dtype=dtype, device=device)
    found: list[Tensor] = []
    for turn in range(TURNS):  # alternates two inputs, so that stale results of a run are wrong in the next
        heads = (part.view(GRAPH_ROWS, 1, config.n_head, -1).transpose(1, 2) for part in qkv[turn % 2].chunk(3, -1))
        q, k, v = heads  # each (B, H, 1, dh), with the strides of `Attention`
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
    """Attend from queries (B, H, 1, dh) to the cached tokens and the new one: (B, H, 1, dh).

    `k_rows` and `v_rows` (B,) are the addresses of each row's slots (H, S, dh) in the first layer; this layer's slots
    are `layer_offset` elements further. An address of 0 skips the row; its result is undefined. k and v (B, H, 1, dh)
    are written to slot `lengths[b]`, or to the last slot of a full row. `arrived` (B, H) is int32, 0 before and after.

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
    """Return the number of slots that a program reads at a time, and the number of slots per program.

    The heads of all rows are split into about `N_PROGRAMS` programs.

    >>> [split_sizes(1024, rows * 12, 64) for rows in (1, 8, 16, 64)]
    [(128, 128), (128, 128), (128, 256), (128, 1024)]
    """
    block = max(16, BLOCK_NUMBERS // _power_of_two(d_head))
    splits = max(1, N_PROGRAMS // n_heads)
    return block, min(max(block, _power_of_two(-(-n_slots // splits))), max(block, _power_of_two(n_slots)))


def _power_of_two(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << (n - 1).bit_length()


@dataclass
class ScatteredCache(KVCache):
    """Rows of any caches of one shape: k and v (B,) hold their addresses, 0 for an unused row."""

    arrived: Tensor  # (B, H), as in `attend_next`
    n_slots: int
    layer_stride: int  # elements from one layer to the next
    needs_mask = False

    def layer(self, number: int) -> LayerCache:
        offset = number * self.layer_stride

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend_next(q, k, v, self.k, self.v, self.lengths, self.arrived, self.n_slots, offset)

        return LayerCache(self.k, self.v, self.lengths, attend)


@dataclass(frozen=True)
class Row:
    """A row of a cache: its number of tokens, and the addresses of its keys and values in the first layer."""

    length: int
    k: int
    v: int


class NextToken:
    """Forward pass of one token in each of up to `GRAPH_ROWS` rows, as single launches or, once captured, as a graph.

    Their caches have `layer_stride` elements from one layer to the next. The model must not change: its parameters must
    stay in the same memory. Callers of a method must hold `lock`, because threads share the inputs of the graph.
    """

    def __init__(self, model: GPT2, layer_stride: int) -> None:
        self.lock = Lock()
        self.is_verified = False  # set by the engine
        self._model = model
        weight = model.wpe.weight
        self._inputs = torch.zeros(4, GRAPH_ROWS, dtype=torch.long, device=weight.device)
        ids, lengths, k, v = self._inputs
        self._ids = ids[:, None]
        arrived = torch.zeros(GRAPH_ROWS, model.config.n_head, dtype=torch.int32, device=weight.device)
        self._cache = ScatteredCache(k, v, lengths, arrived, model.config.n_ctx, layer_stride)
        # Logits; the last column is 1 if the row is finite.
        self._found = torch.zeros(GRAPH_ROWS, model.config.n_vocab + 1, device=weight.device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def read(self, tokens: Sequence[int], rows: Sequence[Row]) -> Tensor | None:
        """Run a token in each row; return float32 logits (rows, V) on the CPU, or None if values overflowed.

        Writes keys and values; the caller updates the lengths.
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
        """Capture the launches in a CUDA graph. They must have run before: a capture must not allocate or compile.

        Return False if it fails, for example if memory is short. Unlike `torch.cuda.graph`, this does not collect
        garbage or empty caches, which would take most of the time, and other threads may use the GPU meanwhile.
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
        except Exception:  # noqa: BLE001 - whatever the reason, single launches have worked
            return False
        self._graph = graph
        return True

    @property
    def is_captured(self) -> bool:
        """True if tokens run as a graph, not as single launches."""
        return self._graph is not None

    def discard_graph(self) -> None:
        """Use single launches from now on."""
        self._graph = None
