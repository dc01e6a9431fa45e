"""The CPU engine: checks its arguments and passes them to the compiled library.

The arithmetic is in `native/`. Weights are loaded one tensor at a time. The shapes of batches and caches are checked
here; the library trusts them.
"""

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from ctypes import c_void_p
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from cutaway.checkpoints.effective import EffectiveWeights
from cutaway.checkpoints.weights import Weights
from cutaway.checks import check_int
from cutaway.config import GPT2Config
from cutaway.engines.cpu.library import StoredArray, check, library
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
from cutaway.errors import UsageError
from cutaway.formats import FLOAT32, FORMATS, StoredTensor
from cutaway.numerics import FloatArray

ISAS = ("portable", "avx2", "avx512", "amx")
MAX_ROWS = 1 << 20
ACTIVATION_NUMBERS = {"gelu_new": 2, "gelu": 3, "relu": 4, "silu": 5, "tanh": 6}  # as in the enum in native/kernels.h


class CpuCache:
    """A KV cache in the compiled engine's own layout.

    It holds float32 if the weights are float32 or if the first call that filled it was `exact`, else float16.
    """

    def __init__(self, engine: "CpuEngine", handle: c_void_p) -> None:
        self.engine = engine
        self.handle = handle
        _free_with(self, library().cutaway_cache_free, handle)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of tokens that each row holds."""
        with self.engine.lock:
            lengths = np.empty(self.rows, np.int32)
            library().cutaway_cache_lengths(self.handle, lengths.ctypes.data)
        return tuple(lengths.tolist())

    @property
    def rows(self) -> int:
        """Number of rows."""
        with self.engine.lock:
            count: int = library().cutaway_cache_rows(self.handle)
        return count

    def add_rows(self, count: int) -> None:
        """Append empty rows; existing rows are not copied."""
        with self.engine.lock:
            check_int("rows to add", count, 1, MAX_ROWS - self.rows)
            check(library().cutaway_cache_add_rows(self.handle, count))

    def copy_row(self, source: int, target: int) -> None:
        """Replace row `target` by a copy of row `source`."""
        with self.engine.lock:
            held = self.rows
            check(library().cutaway_cache_copy_row(self.handle, check_row(source, held), check_row(target, held)))

    def truncate(self, lengths: Sequence[int]) -> None:
        """Truncate row i to `lengths[i]` tokens; an empty row frees its memory."""
        with self.engine.lock:
            kept = np.array(check_truncate(lengths, self.lengths), np.int32)
            library().cutaway_cache_truncate(self.handle, kept.ctypes.data)


class CpuEngine:
    """GPT-2 on the CPU, in compiled code with its own threads.

    `dtype` is "float32" or "int8"; by default each matrix keeps its stored format, except that 16-bit floats become
    float32. `threads` defaults to the number of processors that this process may use. `isa` selects an instruction set
    other than the best, for tests and benchmarks. Forward passes from several Python threads run one after the other.
    The engine does not survive `os.fork()`: load it in the child. Raises UsageError for an argument out of range,
    EngineError if the library is not built or memory runs out.

    >>> from cutaway.checkpoints import open_checkpoint
    >>> from cutaway.checkpoints.sources import BUILTIN
    >>> engine = CpuEngine(open_checkpoint(BUILTIN), "float32", threads=1)
    >>> cache = engine.new_cache(rows=2)
    >>> engine.forward([[32, 9379], [32]], cache).shape, cache.lengths
    ((2, 50257), (2, 1))
    """

    name = "cpu"
    is_split_invariant = True

    def __init__(
        self, weights: Weights, dtype: str | None = None, threads: int | None = None, *, isa: str | None = None
    ) -> None:
        self.config: GPT2Config = weights.config
        self.dtype = _chosen_dtype(dtype, weights.dtype)
        self.threads: int | None = _chosen_threads(threads)
        self.isa = _chosen_isa(isa)
        self.lock = RLock()
        self._handle = self._new_model()
        effective = EffectiveWeights(weights, self.dtype)
        for name in self.config.tensors:
            self._load(effective.stored(name))

    def new_cache(self, rows: int) -> CpuCache:
        """Make an empty cache of `rows` rows; memory is allocated as rows fill."""
        rows = check_int("rows of a cache", rows, 1, MAX_ROWS)
        handle = c_void_p()
        check(library().cutaway_cache_new(self._handle, rows, ctypes.byref(handle)))
        return CpuCache(self, handle)

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
        """Read `sequences[i]` after the tokens in row `rows[i]` of the cache; see `protocol.Engine.forward`.

        Returns float32 logits: (sequences, n_vocab), or (sum of lengths, n_vocab) with "all". With int8 weights,
        activations are quantised too, in blocks of 32, unless `exact`. A row's logits are the same bits for any batch,
        any number of threads, and any division of its tokens into calls.
        """
        held = self._checked_cache(cache)
        sequences = [tuple(ids) for ids in sequences]  # copied: another thread might change the lists after the check
        with self.lock:  # before the lengths are read, or two threads could fill one row past its end
            lengths = held.lengths if held else (0,) * len(sequences)
            rows = check_rows(rows, len(lengths))
            past = [lengths[row] for row in rows]
            check_sequences(self.config, sequences, past, logits)
            prefixes = check_prefixes(self.config, n_prefix, sequences, past)
            return self._forward(sequences, prefixes, held, rows, logits, exact)

    def _forward(
        self,
        sequences: Sequence[Sequence[int]],
        n_prefix: Sequence[int],
        held: CpuCache | None,
        rows: Sequence[int],
        logits: Logits,
        exact: bool,
    ) -> FloatArray:
        cache_rows = np.array(rows, np.int32)
        counts = np.array([len(sequence) for sequence in sequences], np.int32)
        prefixes = np.array(n_prefix, np.int32)
        tokens = np.concatenate([np.asarray(sequence, np.int32) for sequence in sequences])
        out = np.empty((len(tokens) if logits == "all" else len(counts), self.config.n_vocab), np.float32)
        check(
            library().cutaway_forward(
                self._handle,
                held.handle if held else None,
                tokens.ctypes.data,
                counts.ctypes.data,
                prefixes.ctypes.data,
                cache_rows.ctypes.data,
                len(counts),
                logits == "all",
                exact,
                out.ctypes.data,
            )
        )
        return out

    def _checked_cache(self, cache: Cache | None) -> CpuCache | None:
        if cache is None:
            return None
        if not isinstance(cache, CpuCache) or cache.engine is not self:
            raise UsageError("a cache serves only the engine that made it")
        return cache

    def _new_model(self) -> c_void_p:
        c = self.config
        handle = c_void_p()
        shape = (c.n_vocab, c.n_ctx, c.n_embd, c.n_head, c.n_layer, c.n_inner, c.relative_positions)
        activation = ACTIVATION_NUMBERS[c.activation_function]
        scores = (c.attention_divisor(0), c.scale_attn_by_inverse_layer_idx)
        check(
            library().cutaway_model_new(
                *shape,
                c.layer_norm_epsilon,
                c.tie_word_embeddings,
                activation,
                *scores,
                self.isa.encode(),
                self.threads,
                ctypes.byref(handle),
            )
        )
        _free_with(self, library().cutaway_model_free, handle)
        return handle

    def _load(self, stored: StoredTensor) -> None:
        # Matrices are packed through their strides; all other tensors must be contiguous rows.
        arrays: list[NDArray[np.generic]] = list(stored.pack())
        if not stored.spec.quantisable:
            arrays = [np.ascontiguousarray(array).reshape(-1, array.shape[-1]) for array in arrays]
        described = (StoredArray * len(arrays))(*(StoredArray(a.ctypes.data, *_strides(a)) for a in arrays))
        check(library().cutaway_load(self._handle, stored.spec.name.encode(), stored.format.name.encode(), described))


def _strides(array: NDArray[np.generic]) -> tuple[int, int]:
    """Return the strides of a matrix, or of a vector as one row, in elements."""
    rows = np.atleast_2d(array)
    return rows.strides[0] // rows.itemsize, rows.strides[1] // rows.itemsize


def _free_with(owner: object, free: Callable[[c_void_p], None], handle: c_void_p) -> None:
    """Call `free` when `owner` is collected. At exit it is not called, because the operating system is quicker.

    In a child of `os.fork()` it is not called either: the threads that it would wait for do not exist there.
    """
    process = os.getpid()

    def free_here() -> None:
        if os.getpid() == process:
            free(handle)

    weakref.finalize(owner, free_here).atexit = False


def _chosen_dtype(wanted: str | None, stored: str) -> str:
    held = [name for name in FORMATS if library().cutaway_has_format(name.encode())]
    if wanted is None:
        return stored if stored in held else FLOAT32.name
    if wanted not in held:
        others = 'float16 and bfloat16 are for --engine pytorch (engine="pytorch")'
        raise UsageError(f"dtype must be {' or '.join(held)} with the CPU engine, not {wanted!r}; {others}")
    return wanted


def _chosen_threads(wanted: int | None) -> int:
    if wanted is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return check_int("threads", wanted, 1, MAX_THREADS)


def _chosen_isa(wanted: str | None) -> str:
    if wanted is not None and wanted not in ISAS:
        raise UsageError(f"isa must be one of {', '.join(ISAS)}, not {wanted!r}")
    chosen: bytes | None = library().cutaway_isa(wanted.encode() if wanted else None)
    if chosen is None:
        raise UsageError(f"this processor cannot run {wanted} code")
    return chosen.decode()
