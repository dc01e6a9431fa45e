"""Batches from parts of a corpus, mixed in fixed shares and addressed by their step.

A part is read epoch by epoch: in every epoch its documents are shuffled, joined, and cut anew into windows at another
offset. Window k of a part is a function of (seed, length, k), so batch k is one of (seed, k): a run that was stopped
continues with the batches that it would have read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutaway.data.shards import Ids, open_shard
from cutaway.errors import UsageError


class Part:
    """Documents of one kind, in shards of token ids in which `separator` opens each document.

    `number` tells the parts of a corpus apart: two parts with the same seed are shuffled differently.
    """

    def __init__(self, paths: Sequence[Path], number: int, separator: int) -> None:
        self.path = paths[0]
        self.ids = np.concatenate([open_shard(path) for path in paths])
        self.number = number
        self.begins = np.flatnonzero(self.ids == separator)
        self.ends = np.append(self.begins[1:], len(self.ids))
        if len(self.begins) == 0 or self.begins[0] != 0:
            raise UsageError(f"{paths[0]}: the first document must begin with token {separator}")
        self._epoch: tuple[tuple[int, int, int], NDArray[np.uint16], NDArray[np.int64]] | None = None

    def windows_per_epoch(self, length: int) -> int:
        """Count the windows of `length` inputs (and one more target) in one pass over the part.

        Raises UsageError if the part is too short for one at every offset.
        """
        count = (len(self.ids) - length - 1) // length
        if count < 1:
            least = 2 * length + 1
            raise UsageError(
                f"{self.path}: {len(self.ids)} tokens are too few for windows of {length}; {least} are needed"
            )
        return count

    def window(self, seed: int, length: int, k: int) -> Ids:
        """Return window k of the endless row of epochs, (length + 1,)."""
        epoch, index = divmod(k, self.windows_per_epoch(length))
        stream, starts = self._shuffled(seed, length, epoch)
        start = int(starts[index])
        return stream[start : start + length + 1].astype(np.int64)

    def _shuffled(self, seed: int, length: int, epoch: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """Return the epoch's documents in their order, joined, and where its windows start; the last is cached."""
        key = (seed, length, epoch)
        if self._epoch is None or self._epoch[0] != key:
            rng = np.random.default_rng([seed, self.number, length, epoch])
            order = rng.permutation(len(self.begins))
            stream = np.concatenate([self.ids[self.begins[i] : self.ends[i]] for i in order])
            starts = rng.integers(0, length) + length * rng.permutation(self.windows_per_epoch(length))
            self._epoch = (key, stream, starts)
        return self._epoch[1], self._epoch[2]


class Mixture:
    """Parts of a corpus, each with the number of rows that it gives to every batch."""

    def __init__(self, parts: Mapping[str, Part], rows: Mapping[str, int]) -> None:
        self.parts = parts
        self.rows = rows

    def batch(self, seed: int, step: int, length: int) -> tuple[Ids, Ids]:
        """Return inputs and targets of a step, each (rows, length): the same for the same arguments, always."""
        windows = [
            self.parts[name].window(seed, length, step * count + row)
            for name, count in self.rows.items()
            for row in range(count)
        ]
        ids = np.stack(windows)
        return ids[:, :-1], ids[:, 1:]

    def counts(self, n_vocab: int) -> NDArray[np.int64]:
        """Return the frequency of each token in the mixture, (n_vocab,), from the beginning of each part."""
        counts = np.zeros(n_vocab, np.int64)
        for name, count in self.rows.items():
            counts += np.bincount(self.parts[name].ids[:3_000_000], minlength=n_vocab) * count
        return counts
