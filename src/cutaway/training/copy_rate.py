"""Copy rate: the share of a sample that occurs verbatim in the text that a model was trained on.

The unit is an 8-gram of tokens that does not cross the end of a text. Samples of a model that has memorised a text have
a rate near 1; unseen text has a rate near 0, because such overlaps are rare by chance.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

N_GRAM = 8  # tokens
_CHUNK = 1 << 20  # tokens of the training text, hashed at a time
_BASE = 0x9E3779B97F4A7C15  # odd, so that multiplying by it is invertible

Ids = Sequence[int] | NDArray[np.integer]


def copy_rate(sample: Ids, training: Iterable[Ids]) -> float | None:
    """Return the share of the sample's 8-grams of tokens that occur in one of the training texts, from 0 to 1.

    None if the sample has fewer than eight tokens. Makes one pass over the training texts, with one chunk in memory.

    >>> copy_rate([1, 2, 3, 4, 5, 6, 7, 8, 9], [[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]])
    0.5
    """
    wanted = _n_grams(np.asarray(sample, np.int64))
    if len(wanted) == 0:
        return None
    grams = [tuple(gram) for gram in wanted.tolist()]
    hashes = np.sort(_hashes(wanted))
    found: set[tuple[int, ...]] = set()
    for text in training:
        found |= _matches(np.asarray(text), hashes)
    return sum(gram in found for gram in grams) / len(grams)


def _matches(text: NDArray[np.integer], hashes: NDArray[np.uint64]) -> set[tuple[int, ...]]:
    """Return the 8-grams of a text whose hash is in the sorted `hashes`: those of the sample, and rare collisions."""
    found: set[tuple[int, ...]] = set()
    for start in range(0, len(text), _CHUNK):
        grams = _n_grams(text[start : start + _CHUNK + N_GRAM - 1].astype(np.int64))
        there = _hashes(grams)
        places = np.searchsorted(hashes, there).clip(max=len(hashes) - 1)
        found |= {tuple(gram) for gram in grams[hashes[places] == there].tolist()}
    return found


def _n_grams(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return all 8-grams as a view, (n, 8)."""
    if len(ids) < N_GRAM:
        return np.empty((0, N_GRAM), np.int64)
    return np.lib.stride_tricks.sliding_window_view(ids, N_GRAM)


def _hashes(grams: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash 8-grams (n, 8) to (n,), as polynomials modulo 2**64."""
    hashes = np.zeros(len(grams), np.uint64)
    for column in range(N_GRAM):
        hashes = hashes * np.uint64(_BASE) + grams[:, column].astype(np.uint64)
    return hashes
