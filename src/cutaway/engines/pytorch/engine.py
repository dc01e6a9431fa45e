"""The PyTorch model as an engine: CUDA, Apple's MPS or the CPU, in float32, bfloat16 or float16."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from cutaway.checkpoints.weights import Weights
from cutaway.checks import check_int
from cutaway.engines.protocol import (
    MAX_THREADS,
    Cache,
    Logits,
    check_prefixes,
    check_row,
    check_rows,
    check_sequences,
    check_truncate,
)
from cutaway.errors import EngineError, UsageError
from cutaway.numerics import FloatArray

try:
    import torch

    from cutaway.engines.pytorch.decoding import GRAPH_ROWS, NextToken, Row, has_kernel
    from cutaway.engines.pytorch.model import GPT2, KVCache, NoInit
    from cutaway.engines.pytorch.products import output_product, pad_rows
except ModuleNotFoundError as error:
    raise EngineError("the pytorch engine needs PyTorch: pip install torch") from error

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Matrix products round differently for different numbers of rows, so decoding always multiplies this many: the output
# for a sequence does not depend on how many others are decoded with it.
DECODE_ROWS = 8

# Largest relative difference between two decoding paths that is attributed to rounding.
TOLERANCES = {"float32": 0.01, "float16": 0.05, "bfloat16": 0.2}


class PyTorchCache:
    """A static KV cache in groups of `DECODE_ROWS` rows, so that it grows without being copied.

    `held` counts the tokens of each row in use; the lengths in the groups are not used. `overflowed` is True once a key
    or value may be infinite or NaN.
    """

    def __init__(self, new_group: Callable[[], KVCache], rows: int) -> None:
        self._new_group = new_group
        self.overflowed = False
        self.groups: list[KVCache] = []
        self.held: list[int] = []
        self.add_rows(rows)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(self.held)

    def add_rows(self, count: int) -> None:
        self.held += [0] * check_int("rows to add", count, 1)
        while len(self.groups) * DECODE_ROWS < len(self.held):
            self.groups.append(self._new_group())

    @torch.inference_mode()  # `convert` may have made inference tensors
    def copy_row(self, source: int, target: int) -> None:
        held = self.row(check_row(source, len(self.held)))
        place = self.row(check_row(target, len(self.held)))
        place.k.copy_(held.k)
        place.v.copy_(held.v)
        self.held[target] = self.held[source]

    def truncate(self, lengths: Sequence[int]) -> None:
        self.held = list(check_truncate(lengths, self.lengths))

    def convert(self, dtype: torch.dtype) -> None:
        """Convert keys and values to another dtype."""
        for group in self.groups:
            group.k = group.k.to(dtype)
            group.v = group.v.to(dtype)

    def row(self, row: int) -> KVCache:
        """Select one row, in the same memory."""
        slot = row % DECODE_ROWS
        selected = self.groups[row // DECODE_ROWS].rows(slice(slot, slot + 1))
        selected.lengths.fill_(self.held[row])
        return selected

    def group(self, number: int) -> KVCache:
        """Select a group whose rows have room for a token; a full row gives up its last slot, which is overwritten."""
        group = self.groups[number]
        most = group.k.shape[3] - 1
        held = [min(length, most) for length in self.held[number * DECODE_ROWS : (number + 1) * DECODE_ROWS]]
        group.lengths.copy_(torch.tensor(held + [0] * (DECODE_ROWS - len(held))))
        return group

    def next_slots(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Select the slots (L, H, dh) for the key and value of a row's next token."""
        group = self.groups[row // DECODE_ROWS]
        slot = (slice(None), row % DECODE_ROWS, slice(None), self.held[row])
        return group.k[slot], group.v[slot]

    def place(self, row: int) -> Row:
        """Return the length of a row and its addresses in memory."""
        group = self.groups[row // DECODE_ROWS]
        skipped = row % DECODE_ROWS * group.k.stride(1) * group.k.itemsize
        return Row(self.held[row], group.k.data_ptr() + skipped, group.v.data_ptr() + skipped)


class PyTorchEngine:
    """GPT-2 on the best device that PyTorch finds.

    >>> from cutaway.checkpoints import open_checkpoint
    >>> from cutaway.checkpoints.sources import BUILTIN
    >>> engine = PyTorchEngine(open_checkpoint(BUILTIN))
    >>> cache = engine.new_cache(rows=2)
    >>> engine.forward([[32, 9379], [32]], cache).shape, cache.lengths
    ((2, 50257), (2, 1))
    """

    name = "pytorch"
    is_split_invariant = False  # products round differently for different numbers of tokens
    _next_token: NextToken | None = None  # if this model can decode with the kernel

    def __init__(self, weights: Weights, dtype: str | None = None, threads: int | None = None) -> None:
        # Only the CPU engine computes in int8; here quantised weights are converted to float32.
        self.dtype = dtype or (weights.dtype if weights.dtype in DTYPES else "float32")
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype must be {' or '.join(DTYPES)} with the PyTorch engine, not {self.dtype!r}")
        if threads is not None:
            torch.set_num_threads(check_int("threads", threads, 1, MAX_THREADS))
        self.threads: int | None = torch.get_num_threads()
        self.device = best_device()
        with torch.device(self.device), NoInit():
            model = GPT2(weights.config).to(DTYPES[self.dtype]).eval().requires_grad_(False)
        if self.device == "cuda":
            align_output(model)
        model.load(weights)
        self._use(model)
        layer_stride = DECODE_ROWS * self.config.n_ctx * self.config.n_embd
        if has_kernel(model.wpe.weight.device, model.wpe.weight.dtype, self.config, layer_stride):
            self._next_token = NextToken(model, layer_stride)

    @classmethod
    def from_module(cls, model: GPT2) -> "PyTorchEngine":
        """Wrap a module in memory without copying it: on its device, in its dtype, with its weights at the time of each
        call. It must be in evaluation mode. It is not captured in a graph, because the caller may change it.

        >>> from cutaway.config import GPT2Config
        >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1)).eval()
        >>> PyTorchEngine.from_module(model).forward([[1, 2]]).shape
        (1, 5)
        """
        engine = cls.__new__(cls)
        weight = model.wpe.weight
        engine.dtype = next(name for name, dtype in DTYPES.items() if dtype == (model.compute_dtype or weight.dtype))
        engine.threads = torch.get_num_threads()
        engine.device = weight.device.type
        engine._use(model)
        return engine

    def _use(self, model: GPT2) -> None:
        self.model = model
        self.config = model.config

    @property
    def decodes_with(self) -> str:
        """Name the decoding path, chosen at the first decoded token: "graph", "kernel" or "modules".

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> PyTorchEngine(open_checkpoint(BUILTIN)).decodes_with  # on a CPU
        'modules'
        """
        if self._next_token is None or not self._next_token.is_verified:
            return "modules"
        return "graph" if self._next_token.is_captured else "kernel"

    def new_cache(self, rows: int) -> PyTorchCache:
        rows = check_int("rows of a cache", rows, 1)
        return PyTorchCache(lambda: self.model.new_cache(DECODE_ROWS), rows)

    @torch.inference_mode()
    def forward(
        self,
        sequences: Sequence[Sequence[int]],
        cache: Cache | None = None,
        logits: Logits = "last",
        *,
        rows: Sequence[int] | None = None,
        exact: bool = False,
        n_prefix: Sequence[int] | None = None,
    ) -> FloatArray:
        model = self._float32_model if exact else self.model
        with torch.cuda.device_of(model.wpe.weight):  # type: ignore[no-untyped-call]  # if there are several GPUs
            return self._forward(model, sequences, cache, logits, rows, n_prefix)

    def _forward(
        self,
        model: GPT2,
        sequences: Sequence[Sequence[int]],
        cache: Cache | None,
        logits: Logits,
        rows: Sequence[int] | None,
        n_prefix: Sequence[int] | None,
    ) -> FloatArray:
        if cache is None:
            past = [0] * len(sequences)
            check_sequences(self.config, sequences, past, logits)
            each = zip(sequences, check_prefixes(self.config, n_prefix, sequences, past), strict=True)
            return np.concatenate([self._read(model, ids, None, 0, logits, count) for ids, count in each])
        if not isinstance(cache, PyTorchCache):
            raise UsageError("a cache serves only the engine that made it")
        lengths = cache.lengths
        rows = check_rows(rows, len(lengths))
        past = [lengths[row] for row in rows]
        check_sequences(self.config, sequences, past, logits)
        prefixes = check_prefixes(self.config, n_prefix, sequences, past)
        cache.convert(model.compute_dtype or model.wpe.weight.dtype)
        single = {row: ids[0] for row, ids in zip(rows, sequences, strict=True) if len(ids) == 1}
        parts = self._decode(model, single, cache)
        for row, ids, count in zip(rows, sequences, prefixes, strict=True):
            if len(ids) > 1:
                parts[row] = self._read(model, ids, cache, row, logits, count)
        return np.concatenate([parts[row] for row in rows])

    @cached_property
    def _float32_model(self) -> GPT2:
        """The model for `exact`: float32 arithmetic with the same weights, as rounded to their dtype.

        A module with float32 parameters is used unchanged, with its `compute_dtype` if it has one.
        """
        return self.model if self.model.wpe.weight.dtype == torch.float32 else copy.deepcopy(self.model).float()

    def _read(
        self, model: GPT2, ids: Sequence[int], cache: PyTorchCache | None, row: int, logits: Logits, n_prefix: int
    ) -> FloatArray:
        """Run one sequence alone, so that the shapes of matrix products depend on its length only."""
        kv = cache.row(row) if cache else None
        prefix = torch.tensor([n_prefix], device=self.device) if n_prefix else None
        hidden = _hidden(model, torch.tensor([ids], device=self.device), kv, [0], cache, prefix)[0]  # (T, d)
        if cache:
            cache.held[row] += len(ids)
        return to_numpy(output_product(hidden if logits == "all" else hidden[-1:], model.lm_head.weight))

    def _decode(self, model: GPT2, tokens: Mapping[int, int], cache: PyTorchCache) -> dict[int, FloatArray]:
        """Decode one token in each of some rows; return the logits (1, V) of each row."""
        rows = list(tokens)
        found: dict[int, FloatArray] = {}
        for start in range(0, len(rows), GRAPH_ROWS):
            next_token = self._next_token  # None once it has been found to be wrong
            if next_token and model is self.model:
                few = {row: tokens[row] for row in rows[start : start + GRAPH_ROWS]}
                found |= self._decode_scattered(next_token, few, cache)
        others = {row: tokens[row] for row in rows if row not in found}
        found |= self._decode_groups(model, others, cache)
        for row in others:
            cache.held[row] += 1
        return found

    def _decode_scattered(
        self, next_token: NextToken, tokens: Mapping[int, int], cache: PyTorchCache
    ) -> dict[int, FloatArray]:
        """Decode one token in each of some rows, anywhere in the cache; return {} if only groups can be decoded."""
        with next_token.lock:
            if cache.overflowed or not (next_token.is_verified or self._verify(next_token, tokens, cache)):
                return {}
            logits = _read_scattered(next_token, tokens, cache)
        if logits is None:
            return {}
        for row in tokens:
            cache.held[row] += 1
        array = to_numpy(logits)
        return {row: array[i : i + 1] for i, row in enumerate(tokens)}

    def _verify(self, next_token: NextToken, tokens: Mapping[int, int], cache: PyTorchCache) -> bool:
        """Check that scattered decoding agrees with groups, and that a graph of it gives the same bits.

        The result is final, unless values overflow: then only groups can be decoded.
        """
        slots = [slot for row in tokens for slot in cache.next_slots(row)]

        def outcome(logits: Callable[[], torch.Tensor | None]) -> list[torch.Tensor]:
            for slot in slots:
                slot.fill_(torch.nan)
            found = logits()
            return [] if found is None else [found - found.mean(1, keepdim=True), torch.stack(slots).float().flatten(2)]

        def read() -> torch.Tensor | None:
            return _read_scattered(next_token, tokens, cache)

        def read_groups() -> torch.Tensor:
            found = self._decode_groups(self.model, tokens, cache)
            return torch.from_numpy(np.concatenate([found[row] for row in tokens]))

        in_groups = outcome(read_groups)
        if cache.overflowed:
            return False
        launched = outcome(read)
        if not launched or not all(map(self._agree, launched, in_groups)):
            self._next_token = None
            return False
        if next_token.capture() and not all(map(torch.equal, outcome(read), launched)):
            next_token.discard_graph()
        next_token.is_verified = True
        return True

    def _agree(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        norms = other.norm(dim=-1)
        return bool(((one - other).norm(dim=-1) <= TOLERANCES[self.dtype] * norms).all())

    def _decode_groups(self, model: GPT2, tokens: Mapping[int, int], cache: PyTorchCache) -> dict[int, FloatArray]:
        """Decode one token in each of some rows, group by group."""
        found: dict[int, FloatArray] = {}
        for number in range(len(cache.groups)):
            first = number * DECODE_ROWS
            slots = {row - first: token for row, token in tokens.items() if row // DECODE_ROWS == number}
            if slots:
                logits = to_numpy(self._decode_group(model, slots, number, cache))
                found |= {first + slot: logits[slot : slot + 1] for slot in slots}
        return found

    def _decode_group(self, model: GPT2, tokens: Mapping[int, int], number: int, cache: PyTorchCache) -> torch.Tensor:
        """Decode one token in some rows of a group; return logits (DECODE_ROWS, V), valid for these rows.

        The other rows are computed too, and write behind their end, where their next token overwrites it. A full row
        has no room there: its last key and value are overwritten, which no later token can read.
        """
        slots = list(tokens)
        ids = torch.zeros(DECODE_ROWS, 1, dtype=torch.long, device=self.device)
        ids[slots, 0] = torch.tensor(list(tokens.values()), device=self.device)
        hidden = _hidden(model, ids, cache.group(number), slots, cache)[:, 0]  # (DECODE_ROWS, d)
        return output_product(hidden, model.lm_head.weight)


def _hidden(
    model: GPT2,
    ids: torch.Tensor,
    kv: KVCache | None,
    rows: list[int],
    cache: PyTorchCache | None,
    n_prefix: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the output of `ln_f` (B, T, d), valid for `rows`, and extend `kv`, a part of `cache`.

    If values overflow, it is computed again with a slower attention, which this cache then always uses: the usual
    attention lets NaN through the mask, and PyTorch's fused attention may lose NaN if there is no mask.
    """
    if cache is None or not cache.overflowed:
        hidden = model.hidden(ids, kv, n_prefix=n_prefix)
        if hidden[rows].isfinite().all():
            return hidden
        if kv is not None:
            kv.lengths -= ids.shape[1]
    if cache is not None:
        cache.overflowed = True
    return model.hidden(ids, kv, n_prefix=n_prefix, despite_overflow=True)


def _read_scattered(next_token: NextToken, tokens: Mapping[int, int], cache: PyTorchCache) -> torch.Tensor | None:
    return next_token.read(list(tokens.values()), [cache.place(row) for row in tokens])


def align_output(model: GPT2) -> None:
    """Move the output matrix, and the embedding if tied to it, to memory in which `aligned` finds padding.

    >>> from cutaway.config import GPT2Config
    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    >>> align_output(model)
    >>> len(model.lm_head.weight), model.lm_head.weight is model.wte.weight
    (5, True)
    """
    is_tied = model.lm_head.weight is model.wte.weight
    model.lm_head.weight = torch.nn.Parameter(pad_rows(model.lm_head.weight), requires_grad=False)
    if is_tied:
        model.wte.weight = model.lm_head.weight


def to_numpy(logits: torch.Tensor) -> FloatArray:
    """Convert logits to the float32 array that every engine returns.

    >>> to_numpy(torch.tensor([0.5, 1.0], dtype=torch.bfloat16))
    array([0.5, 1. ], dtype=float32)
    """
    array: FloatArray = logits.to("cpu", torch.float32).numpy()
    return array


def best_device() -> str:
    """Return the first available device of "cuda", "mps" and "cpu".

    >>> best_device() in ("cuda", "mps", "cpu")
    True
    """
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
