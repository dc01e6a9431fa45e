"""The PyTorch model as an engine: CUDA, Apple's MPS or the CPU, in float32, bfloat16 or float16."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from cutaway.checkpoints.weights import Weights
from cutaway.checks import check_int
from cutaway.engines.protocol import MAX_THREADS, Cache, Logits, check_fork, check_sequences, check_truncate
from cutaway.errors import EngineError, UsageError
from cutaway.numerics import FloatArray

try:
    import torch

    from cutaway.engines.pytorch.model import GPT2, KVCache
except ModuleNotFoundError as error:
    raise EngineError("the pytorch engine needs PyTorch: pip install 'cutaway[train]'") from error

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Matrix products round differently for different numbers of rows, so decoding always multiplies this many: what a
# sequence says does not depend on how many others are decoded beside it.
DECODE_ROWS = 8


class PyTorchCache:
    """A static KV cache whose rows are filled up to a multiple of `DECODE_ROWS`; `count` of them are in use."""

    def __init__(self, kv: KVCache, count: int) -> None:
        self.kv, self.count = kv, count

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(self.kv.lengths[: self.count].tolist())

    def fork(self, rows: Sequence[int]) -> Self:
        chosen = check_fork(rows, self.count)
        padding = [chosen[0]] * (-len(chosen) % DECODE_ROWS)
        index = torch.tensor([*chosen, *padding], device=self.kv.lengths.device)
        return type(self)(KVCache(self.kv.k[:, index], self.kv.v[:, index], self.kv.lengths[index]), len(rows))

    def truncate(self, lengths: Sequence[int]) -> None:
        kept = check_truncate(lengths, self.lengths)
        self.kv.lengths[: self.count] = torch.tensor(kept, device=self.kv.lengths.device)


class PyTorchEngine:
    """GPT-2 on the best device that PyTorch has here."""

    name = "pytorch"

    def __init__(self, weights: Weights, dtype: str | None = None, threads: int | None = None) -> None:
        # int8 is the CPU engine's; here de-quantised weights run as float32.
        self.dtype = dtype or (weights.dtype if weights.dtype in DTYPES else "float32")
        if self.dtype not in DTYPES:
            raise UsageError(f"the pytorch engine computes in {', '.join(DTYPES)}, not {self.dtype}")
        if threads is not None:
            torch.set_num_threads(check_int("threads", threads, 1, MAX_THREADS))
        self.threads: int | None = torch.get_num_threads()
        self.config = weights.config
        self.device = best_device()
        with torch.device(self.device):
            self.model = GPT2(self.config).to(DTYPES[self.dtype]).eval().requires_grad_(False)
        self.model.load(weights)

    def new_cache(self, rows: int) -> PyTorchCache:
        rows = check_int("rows of a cache", rows, 1)
        padded = rows + -rows % DECODE_ROWS
        return PyTorchCache(KVCache.empty(self.config, padded, self.model.wpe.weight), rows)

    @torch.inference_mode()
    def forward(
        self,
        sequences: Sequence[Sequence[int]],
        cache: Cache | None = None,
        logits: Logits = "last",
        *,
        exact: bool = False,
    ) -> FloatArray:
        if cache is None:
            check_sequences(self.config, sequences, [0] * len(sequences), logits)
            return np.concatenate([self._read(ids, None, logits) for ids in sequences])
        if not isinstance(cache, PyTorchCache):
            raise UsageError("a cache serves only the engine that made it")
        check_sequences(self.config, sequences, cache.lengths, logits)
        single = [row for row, ids in enumerate(sequences) if len(ids) == 1]
        parts = self._decode(sequences, single, cache) if single else {}
        for row, ids in enumerate(sequences):
            if len(ids) > 1:
                parts[row] = self._read(ids, cache.kv.rows(slice(row, row + 1)), logits)
        return np.concatenate([parts[row] for row in range(len(sequences))])

    def _read(self, ids: Sequence[int], kv: KVCache | None, logits: Logits) -> FloatArray:
        """One sequence by itself, so that its length decides its shapes and nothing else does."""
        hidden = self.model.hidden(torch.tensor([ids], device=self.device), kv)[0]  # (T, d)
        return to_numpy(self.model.lm_head(hidden if logits == "all" else hidden[-1:]))

    def _decode(
        self, sequences: Sequence[Sequence[int]], single: Sequence[int], cache: PyTorchCache
    ) -> dict[int, FloatArray]:
        """The next logits of the rows in `single`; the other rows are multiplied along and left as they were."""
        kv = cache.kv
        kv.lengths[cache.count :] = 0  # rows that only fill up never run out of context
        lengths = kv.lengths.clone()
        ids = torch.zeros(len(lengths), 1, dtype=torch.long, device=self.device)
        ids[list(single), 0] = torch.tensor([sequences[row][0] for row in single], device=self.device)
        starts = range(0, len(lengths), DECODE_ROWS)
        parts = [self.model(ids[s : s + DECODE_ROWS], kv.rows(slice(s, s + DECODE_ROWS)))[:, 0] for s in starts]
        lengths[list(single)] += 1
        kv.lengths[:] = lengths  # what the other rows wrote lies behind their end, and is overwritten when they go on
        logits = to_numpy(torch.cat(parts))
        return {row: logits[row : row + 1] for row in single}


def to_numpy(logits: torch.Tensor) -> FloatArray:
    """Logits as every engine returns them."""
    array: FloatArray = logits.to("cpu", torch.float32).numpy()
    return array


def best_device() -> str:
    """ "cuda", "mps" or "cpu", the first that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
