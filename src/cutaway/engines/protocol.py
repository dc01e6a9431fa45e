"""The Engine protocol, which every implementation of GPT-2's forward pass follows, and its Cache protocol.

`reference.py`, `cpu/` and `pytorch/` implement it; all layers above are the same for the three engines.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int, show
from cutaway.config import GPT2Config
from cutaway.errors import NonFiniteError, UsageError
from cutaway.numerics import FloatArray

Logits = Literal["last", "all"]

MAX_THREADS = 1024  # of an engine


class Cache(Protocol):
    """Keys and values of the tokens that each row of a batch has read so far."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of tokens that each row holds."""

    def add_rows(self, count: int) -> None:
        """Append empty rows; existing rows are not copied."""

    def copy_row(self, source: int, target: int) -> None:
        """Replace row `target` by a copy of row `source`, as for samples of one prompt."""

    def truncate(self, lengths: Sequence[int]) -> None:
        """Truncate row i to `lengths[i]` tokens; shorter rows are unchanged."""


class Engine(Protocol):
    """A loaded model that turns token ids into logits."""

    config: GPT2Config
    name: str  # "reference", "cpu", "pytorch"
    dtype: str  # of the weights in memory: "float32", "float16", "bfloat16", "int8"
    threads: int | None  # None if the engine has no threads of its own
    is_split_invariant: bool  # a row's logits are the same bits however its tokens are split into calls

    def new_cache(self, rows: int) -> Cache:
        """Make an empty cache of `rows` rows; each row grows as needed, up to `config.n_ctx` tokens."""

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
        """Read `sequences[i]` after the tokens in row `rows[i]` of the cache; return the logits of the next tokens.

        `rows` defaults to all rows of the cache, in order; other rows are unchanged. Returns the logits after the last
        token of each sequence, (sequences, n_vocab), or with "all" the logits after every token, with the sequences
        concatenated: (sum of lengths, n_vocab). The cache, if given, is extended in place. `exact` requests float32
        activations from an engine that would quantise or round them. The first `n_prefix[i]` tokens of sequence i see
        each other (prefix attention); every other token sees itself and earlier tokens. Raises UsageError for an empty
        sequence, an id outside the vocabulary, an invalid row, or a row that would become longer than `config.n_ctx`.
        Also raises it for a prefix that does not begin its row or is not entirely in this call, and for a prefix in a
        model with relative positions.
        """


# Argument checks that all engines and caches share, so that their messages are the same.


def check_sequences(
    config: GPT2Config, sequences: Sequence[Sequence[int]], lengths: Sequence[int], logits: str = "last"
) -> None:
    """Check the arguments of `Engine.forward`; `lengths` are the numbers of tokens in each sequence's row.

    >>> check_sequences(GPT2Config(), [[32, 9379], [50257]], lengths=[0, 0])
    Traceback (most recent call last):
    cutaway.errors.UsageError: sequence 1 holds a token id outside 0 to 50256
    """
    if logits not in ("last", "all"):
        raise UsageError(f'logits must be "last" or "all", not {logits!r}')
    if len(sequences) != len(lengths):
        raise UsageError(f"{len(sequences)} sequences for {len(lengths)} rows of the cache")
    if len(sequences) == 0:
        raise UsageError("a batch needs at least one sequence")
    for row, (ids, length) in enumerate(zip(sequences, lengths, strict=True)):
        name = _name(row, len(sequences))
        if len(ids) == 0:
            raise UsageError(f"{name} is empty; start from <|endoftext|> to begin with nothing")
        if length + len(ids) > config.n_ctx:
            raise UsageError(
                f"{name} would be {length + len(ids)} tokens long; the context holds {config.n_ctx}; shorten it"
            )
        array = _whole_numbers(name, ids)
        if array.min() < 0 or array.max() >= config.n_vocab:
            raise UsageError(f"{name} holds a token id outside 0 to {config.n_vocab - 1}")


def _name(row: int, count: int) -> str:
    """Name a sequence of a batch of `count`; a single sequence has no number."""
    return "the sequence" if count == 1 else f"sequence {row}"


def check_rows(rows: Sequence[int] | None, count: int) -> list[int]:
    """Return the rows of a cache of `count` rows that `Engine.forward` extends.

    >>> check_rows(None, 3)
    [0, 1, 2]
    """
    if rows is None:
        return list(range(count))
    chosen = [check_row(row, count) for row in _whole_numbers("rows", rows)]
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"rows must differ from each other, not {show(list(rows))}")
    return chosen


def check_prefixes(
    config: GPT2Config, n_prefix: Sequence[int] | None, sequences: Sequence[Sequence[int]], lengths: Sequence[int]
) -> list[int]:
    """Return the number of tokens at the beginning of each sequence that see each other; 0 is causal attention.

    `lengths` are the numbers of tokens in each sequence's row.
    >>> check_prefixes(GPT2Config(), None, [[5, 6]], [0]), check_prefixes(GPT2Config(), [2], [[5, 6]], [0])
    ([0], [2])
    >>> check_prefixes(GPT2Config(), [2], [[5, 6]], [3])
    Traceback (most recent call last):
    cutaway.errors.UsageError: the prefix of the sequence must begin its row, which holds 3 tokens already
    """
    if n_prefix is None:
        return [0] * len(sequences)
    counts = [int(count) for count in _whole_numbers("n_prefix", n_prefix)]
    if len(counts) != len(sequences):
        raise UsageError(f"n_prefix: {len(counts)} numbers for {len(sequences)} sequences")
    for row, (count, ids, length) in enumerate(zip(counts, sequences, lengths, strict=True)):
        prefix = f"the prefix of {_name(row, len(sequences))}"
        check_int(prefix, count, 0, len(ids))
        if count and length:
            raise UsageError(f"{prefix} must begin its row, which holds {length} tokens already")
    check_causal(config, any(counts))
    return counts


def check_causal(config: GPT2Config, has_prefix: bool) -> None:
    """Raise UsageError for prefix attention with relative positions, which have embeddings for distances back only.

    >>> check_causal(GPT2Config(relative_positions=8), has_prefix=True)
    Traceback (most recent call last):
    cutaway.errors.UsageError: a model with relative positions has only causal attention, not prefix attention
    """
    if has_prefix and config.relative_positions:
        raise UsageError("a model with relative positions has only causal attention, not prefix attention")


def check_row(row: int, count: int) -> int:
    """Return `row`; raise UsageError if it is not a row of a cache of `count` rows.

    >>> check_row(3, 3)
    Traceback (most recent call last):
    cutaway.errors.UsageError: a row of the cache must be from 0 to 2, not 3
    """
    return check_int("a row of the cache", row, 0, count - 1)


def check_truncate(lengths: Sequence[int], held: Sequence[int]) -> list[int]:
    """Return the lengths of rows after `Cache.truncate`; `held` are their lengths before.

    >>> check_truncate([2, 9], held=[5, 5])
    [2, 5]
    """
    kept = _whole_numbers("lengths to truncate to", lengths)
    if len(kept) != len(held) or kept.min() < 0:
        raise UsageError(f"a cache of lengths {list(held)} cannot be truncated to {list(lengths)}")
    return [min(int(new), old) for new, old in zip(kept, held, strict=True)]


def check_finite(logits: FloatArray) -> FloatArray:
    """Return logits; raise NonFiniteError if they hold NaN or infinity, so that callers need not check.

    >>> check_finite(np.array([0.5, np.nan], np.float32))
    Traceback (most recent call last):
    cutaway.errors.NonFiniteError: the logits are not finite: the weights or their dtype make numbers too large
    """
    if not np.isfinite(logits).all():
        raise NonFiniteError("the logits are not finite: the weights or their dtype make numbers too large")
    return logits


def _whole_numbers(what: str, values: Sequence[int]) -> NDArray[np.integer]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(f"{what} must be whole numbers, not {show(values)}")
    return array
