"""Training batches by number: batch k is a pure function of (seed, k, rows, context).

A resumed run therefore continues with the batches that it would have read, and nothing that happens between two batches
(an evaluation, a sample) changes the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int
from cutaway.data.dataset import Split
from cutaway.errors import UsageError

EVALUATION_ROWS = 8  # of an evaluation batch
POOL = 32  # batches per pool, whose examples are sorted by length together

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """Inputs and targets, (B, T) each; `learned`, (B, T), is True for targets that count in the loss (None: all).

    The first `n_prefix`, (B,), inputs of a row see each other (None: attention is causal).
    """

    inputs: Ids
    targets: Ids
    learned: Mask | None
    n_prefix: Ids | None = None

    def rows(self, start: int, stop: int) -> "Batch":
        """Return some of the rows."""
        rows = slice(start, stop)
        learned = None if self.learned is None else self.learned[rows]
        n_prefix = None if self.n_prefix is None else self.n_prefix[rows]
        return Batch(self.inputs[rows], self.targets[rows], learned, n_prefix)


class BatchSource(Protocol):
    """Batches by number."""

    @property
    def tokens_per_epoch(self) -> int:
        """Number of tokens in one pass over the data."""

    @property
    def is_even(self) -> bool:
        """True if all batches have about n_rows * n_ctx tokens, so that a batch can reuse the memory of another."""

    def batch(self, k: int, n_rows: int, n_ctx: int) -> Batch:
        """Return batch k, of n_rows rows of at most n_ctx tokens; the same arguments always give the same batch."""


class Windows:
    """Windows of token ids from several splits, mixed by weight.

    Each row of a batch is a window. In each epoch of a split its documents are shuffled, concatenated, and cut into
    windows at a new offset. Rows are allotted to the splits by largest remainder, in the same way in each batch.

    >>> split = Split.from_documents([[0, 1, 2, 3], [0, 4, 5], [0, 6, 7, 8, 9]])
    >>> batch = Windows([split], [1.0], seed=1).batch(0, n_rows=2, n_ctx=3)
    >>> batch.inputs.shape, bool((batch.inputs[:, 1:] == batch.targets[:, :-1]).all())
    ((2, 3), True)
    """

    is_even = True

    def __init__(self, splits: Sequence[Split], weights: Sequence[float], seed: int) -> None:
        if not splits or len(splits) != len(weights):
            raise UsageError(f"each dataset needs one weight: {len(splits)} datasets, {len(weights)} weights")
        if not all(0 < weight < float("inf") for weight in weights):
            raise UsageError(f"weights must be positive, not {', '.join(f'{weight:g}' for weight in weights)}")
        self.seed = check_int("seed", seed, 0)
        self.splits = tuple(splits)
        self.weights = tuple(weights)
        self._readers = [_WindowReader(split, self.seed, number) for number, split in enumerate(splits)]
        self._masked = any(split.learned is not None for split in splits)

    @property
    def tokens_per_epoch(self) -> int:
        """Number of tokens of all splits."""
        return sum(split.n_tokens for split in self.splits)

    def batch(self, k: int, n_rows: int, n_ctx: int) -> Batch:
        """Return batch k. Raises UsageError if a split is too short for a window, or gets no row."""
        check_int("the number of a batch", k, 0)
        counts = allot(self.weights, check_int("n_rows", n_rows, 1))
        rows = [
            (reader, reader.window(n_ctx, k * count + row))
            for reader, count in zip(self._readers, counts, strict=True)
            for row in range(count)
        ]
        ids = np.stack([reader.ids(window) for reader, window in rows])
        learned = np.stack([reader.learned(window) for reader, window in rows])[:, 1:] if self._masked else None
        return Batch(ids[:, :-1], ids[:, 1:], learned)


def allot(weights: Sequence[float], n_rows: int) -> list[int]:
    """Divide rows by weight, with the largest remainder method. Raises UsageError if a weight gets no row.

    >>> allot([3, 1], 6), allot([1, 1, 1], 4)
    ([5, 1], [2, 1, 1])
    """
    exact = np.asarray(weights, np.float64) / np.sum(weights) * n_rows
    rows = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - rows), kind="stable")[: n_rows - rows.sum()]
    rows[largest] += 1
    if not rows.all():
        least = weights[int(np.argmin(rows))]
        raise UsageError(f"the weight {least:g} gives no row of a batch of {n_rows}: raise it, or the batch size")
    return [int(count) for count in rows]


Pieces = list[slice]  # of a split's ids; joined, they are a window


class _WindowReader:
    """Windows of one split. Different `number`s shuffle equal splits differently."""

    def __init__(self, split: Split, seed: int, number: int) -> None:
        self._split = split
        self._seed = seed
        self._number = number
        self._lengths = np.diff(split.begins, append=split.n_tokens)
        self._epoch: tuple[tuple[int, int], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None

    def windows_per_epoch(self, n_ctx: int) -> int:
        """Count the windows of n_ctx inputs and one more target. Raises UsageError if no window fits at some offset."""
        count = (self._split.n_tokens - n_ctx - 1) // n_ctx
        if count < 1:
            raise UsageError(
                f"{self._split.name}: {self._split.n_tokens} tokens are too few for windows of {n_ctx}; "
                f"{2 * n_ctx + 1} are needed"
            )
        return count

    def window(self, n_ctx: int, k: int) -> Pieces:
        """Return the pieces of window k, counted through all epochs: n_ctx + 1 tokens."""
        epoch, index = divmod(k, self.windows_per_epoch(check_int("n_ctx", n_ctx, 1)))
        order, ends, starts = self._shuffled(n_ctx, epoch)
        start = int(starts[index])
        stop = start + n_ctx + 1
        number = int(np.searchsorted(ends, start, side="right"))
        pieces = []
        while start < stop:
            end = int(ends[number])
            shift = int(self._split.begins[order[number]] + self._lengths[order[number]]) - end
            pieces.append(slice(start + shift, min(stop, end) + shift))
            start = end
            number += 1
        return pieces

    def ids(self, window: Pieces) -> Ids:
        """Read a window, (n_ctx + 1,)."""
        return self._split.read(window)

    def learned(self, window: Pieces) -> Mask:
        """Read the mask of a window, (n_ctx + 1,)."""
        mask = self._split.learned
        if mask is None:
            return np.ones(sum(piece.stop - piece.start for piece in window), np.bool_)
        return np.concatenate([mask[piece] for piece in window])

    def _shuffled(self, n_ctx: int, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return an epoch's order of documents, their ends when joined, and the starts of its windows (cached)."""
        key = (n_ctx, epoch)
        if self._epoch is None or self._epoch[0] != key:
            rng = np.random.default_rng([self._seed, self._number, n_ctx, epoch])
            order = rng.permutation(self._split.n_documents)
            ends = np.cumsum(self._lengths[order])
            starts = rng.integers(0, n_ctx) + n_ctx * rng.permutation(self.windows_per_epoch(n_ctx))
            self._epoch = (key, order, ends, starts)
        return self._epoch[1:]


class TrainingExample(Protocol):
    """Token ids of one example, and a mask: True for tokens that count as targets. The first never does.

    The first `n_prefix` tokens see each other.
    """

    @property
    def ids(self) -> Sequence[int] | NDArray[np.integer]: ...

    @property
    def learned(self) -> Sequence[bool] | NDArray[np.bool_]: ...

    @property
    def n_prefix(self) -> int: ...


class Rows:
    """One example per row, padded at its end to the longest of the batch; each epoch has a new order.

    The examples of a batch have similar lengths: examples are shuffled and divided into pools of `POOL` batches; each
    pool is sorted by length and cut into batches, which are shuffled.

    >>> from cutaway.data.examples import Example
    >>> examples = [Example(np.arange(n), np.arange(n) > 0) for n in (9, 3, 3, 9)]
    >>> source = Rows(examples, seed=1, pad=0)
    >>> sorted(source.batch(k, n_rows=2, n_ctx=8).inputs.shape for k in range(2))
    [(2, 2), (2, 8)]
    """

    is_even = False

    def __init__(self, examples: Sequence[TrainingExample], seed: int, pad: int) -> None:
        if not examples:
            raise UsageError("no examples to train on")
        self.examples = examples
        self.seed = check_int("seed", seed, 0)
        self.pad = pad
        self._lengths = np.array([len(example.ids) for example in examples])
        self._epoch: tuple[tuple[int, int], NDArray[np.int64]] | None = None

    @property
    def tokens_per_epoch(self) -> int:
        """Number of tokens of all examples, padding aside."""
        return int(self._lengths.sum())

    def batch(self, k: int, n_rows: int, n_ctx: int) -> Batch:
        """Return batch k. Targets are learned if `learned` of the example says so; padding never is.

        Raises UsageError for an example of fewer than two tokens, or more than n_ctx + 1.
        """
        check_int("the number of a batch", k, 0)
        rows = [self._example(number, n_rows) for number in range(k * n_rows, (k + 1) * n_rows)]
        longest = max(len(example.ids) for example in rows)
        if longest > n_ctx + 1 or min(len(example.ids) for example in rows) < 2:
            raise UsageError(f"an example must have from 2 to {n_ctx + 1} tokens, not {longest}")
        return _padded(rows, self.pad)

    def _example(self, number: int, n_rows: int) -> TrainingExample:
        epoch, index = divmod(number, len(self.examples))
        if self._epoch is None or self._epoch[0] != (epoch, n_rows):
            self._epoch = ((epoch, n_rows), self._shuffled(epoch, n_rows))
        return self.examples[int(self._epoch[1][index])]

    def _shuffled(self, epoch: int, n_rows: int) -> NDArray[np.int64]:
        """Return an epoch's order of examples. The first examples fill the last batch of the previous epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.examples))
        begun = -epoch * len(self.examples) % n_rows
        batches = [order[:begun]]
        for start in range(begun, len(order), POOL * n_rows):
            pool = order[start : start + POOL * n_rows]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            whole = len(pool) - len(pool) % n_rows
            batches += list(rng.permutation(pool[:whole].reshape(-1, n_rows)))
            batches.append(pool[whole:])
        return np.concatenate(batches)


class LengthBuckets:
    """Batches of examples of similar length, padded to the longest: at most n_rows * n_ctx tokens per batch.

    In each epoch, examples of equal length are shuffled, and so are the batches.

    >>> from cutaway.data.examples import Example
    >>> examples = [Example(np.arange(n), np.arange(n) > 0) for n in (9, 3, 3, 9, 3)]
    >>> source = LengthBuckets(examples, seed=1, pad=0)
    >>> sorted(source.batch(k, n_rows=2, n_ctx=8).inputs.shape for k in range(2))
    [(2, 8), (3, 2)]
    """

    is_even = True

    def __init__(self, examples: Sequence[TrainingExample], seed: int, pad: int) -> None:
        if not examples:
            raise UsageError("no examples to train on")
        self.examples = examples
        self.seed = check_int("seed", seed, 0)
        self.pad = pad
        self._lengths = np.array([len(example.ids) - 1 for example in examples])  # of their inputs
        self._cuts: tuple[int, NDArray[np.int64]] | None = None
        self._epoch: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def tokens_per_epoch(self) -> int:
        """Number of tokens of all examples, padding aside."""
        return int(self._lengths.sum()) + len(self.examples)

    def batches_per_epoch(self, n_tokens: int) -> int:
        """Return the number of batches of at most `n_tokens` tokens in one pass over the examples."""
        return len(self._starts(n_tokens)) - 1

    def batch(self, k: int, n_rows: int, n_ctx: int) -> Batch:
        """Return batch k. Raises UsageError for an example of fewer than two tokens, or more than n_ctx + 1."""
        check_int("the number of a batch", k, 0)
        if self._lengths.max() > n_ctx or self._lengths.min() < 1:
            raise UsageError(f"an example must have from 2 to {n_ctx + 1} tokens, not {self._lengths.max() + 1}")
        starts = self._starts(n_rows * n_ctx)
        epoch, index = divmod(k, len(starts) - 1)
        order, batches = self._shuffled(epoch, len(starts) - 1)
        number = int(batches[index])
        chosen = order[starts[number] : starts[number + 1]]
        return _padded([self.examples[int(example)] for example in chosen], self.pad)

    def _starts(self, n_tokens: int) -> NDArray[np.int64]:
        """Return the start of each batch in the examples sorted by length, and the end of the last (cached)."""
        if self._cuts is None or self._cuts[0] != n_tokens:
            self._cuts = (n_tokens, np.array(_cut_by_tokens(np.sort(self._lengths), n_tokens)))
        return self._cuts[1]

    def _shuffled(self, epoch: int, n_batches: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return an epoch's order of examples, by length, and its order of batches (cached)."""
        if self._epoch is None or self._epoch[0] != epoch or len(self._epoch[2]) != n_batches:
            rng = np.random.default_rng([self.seed, epoch])
            order = rng.permutation(len(self.examples))
            order = order[np.argsort(self._lengths[order], kind="stable")]
            self._epoch = (epoch, order, rng.permutation(n_batches))
        return self._epoch[1:]


def _cut_by_tokens(lengths: NDArray[np.int64], n_tokens: int) -> list[int]:
    """Cut ascending lengths into parts in which count times longest is at most n_tokens; return starts and end."""
    starts = [0]
    while starts[-1] < len(lengths):
        part = lengths[starts[-1] :][: n_tokens // int(lengths[starts[-1]])]
        sizes = part * np.arange(1, len(part) + 1)
        starts.append(starts[-1] + max(1, int(np.searchsorted(sizes, n_tokens, side="right"))))
    return starts


def _padded(examples: Sequence[TrainingExample], pad: int) -> Batch:
    shape = (len(examples), max(len(example.ids) for example in examples))
    ids = np.full(shape, pad, np.int64)
    learned = np.zeros(shape, np.bool_)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        learned[row, : len(example.ids)] = example.learned
    n_prefix = np.array([example.n_prefix for example in examples], np.int64)
    return Batch(ids[:, :-1], ids[:, 1:], learned[:, 1:], n_prefix if n_prefix.any() else None)


def padded_batches(examples: Sequence[TrainingExample], n_tokens: int) -> list[Batch]:
    """Return examples in batches of similar length: at most `n_tokens` learned tokens, but at least one example.

    >>> from cutaway.data.examples import Example
    >>> example = Example(np.array([5, 6, 7]), np.array([False, False, True]))
    >>> [batch] = padded_batches([example], 100)
    >>> batch.inputs, batch.learned
    (array([[5, 6]]), array([[False,  True]]))
    """
    counts = np.cumsum([np.count_nonzero(example.learned) for example in examples])
    chosen = sorted(examples[: max(1, int(np.searchsorted(counts, n_tokens, "right")))], key=lambda e: len(e.ids))
    return [_padded(chosen[i : i + EVALUATION_ROWS], pad=0) for i in range(0, len(chosen), EVALUATION_ROWS)]


def evaluation_windows(split: Split, n_ctx: int, n_tokens: int) -> list[Batch]:
    """Return windows of n_ctx targets that do not overlap, spread evenly over a split: at most n_tokens targets.

    There is at least one window, and no randomness. Raises UsageError for a split of fewer than two tokens.

    >>> split = Split.from_documents([list(range(10))])
    >>> [batch.inputs.tolist() for batch in evaluation_windows(split, n_ctx=3, n_tokens=6)]
    [[[0, 1, 2], [3, 4, 5]]]
    """
    if split.n_tokens < 2:
        raise UsageError(f"{split.name}: {split.n_tokens} tokens are too few to evaluate on")
    length = min(check_int("n_ctx", n_ctx, 1), split.n_tokens - 1)
    there = (split.n_tokens - 1) // length
    count = max(1, min(there, n_tokens // length))
    starts = (np.arange(count) * there // count * length).tolist()
    parts = [starts[first : first + EVALUATION_ROWS] for first in range(0, count, EVALUATION_ROWS)]
    return [_evaluation_batch(split, part, length) for part in parts]


def _evaluation_batch(split: Split, starts: Sequence[int], length: int) -> Batch:
    ids = np.stack([split.read([slice(start, start + length + 1)]) for start in starts])
    learned = None
    if split.learned is not None:
        learned = np.stack([split.learned[start : start + length + 1] for start in starts])[:, 1:]
    return Batch(ids[:, :-1], ids[:, 1:], learned)
