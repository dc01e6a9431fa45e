"""Softmax, log-softmax and top-k over the last axis, the complementary error function, and their array types; the
common prefix of token ids; read-only arrays; the memory of matrix products.
"""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Float64Array = NDArray[np.float64]
IndexArray = NDArray[np.intp]

Floating = TypeVar("Floating", bound=np.floating)
Scalar = TypeVar("Scalar", bound=np.generic)

BLAS_BYTES = 64 << 20  # twice what OpenBLAS reserves


@cache
def reserve_blas() -> None:
    """Make NumPy's BLAS library reserve its memory now. Raises MemoryError if there is too little.

    Otherwise OpenBLAS reserves it at the first product of more than a few rows, and ends the process if it cannot.

    >>> reserve_blas()
    """
    np.empty(BLAS_BYTES, np.uint8)
    square = np.ones((128, 128), np.float32)
    square @ square


def read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """View an array so that writing raises ValueError.

    >>> read_only(np.zeros(2))[0] = 1
    Traceback (most recent call last):
    ValueError: assignment destination is read-only
    """
    view = array.view()
    view.flags.writeable = False
    return view


def softmax(x: NDArray[Floating]) -> NDArray[Floating]:
    """Apply softmax over the last axis, in the precision of `x`.

    >>> softmax(np.array([0.0, 0.0, -np.inf])).tolist()
    [0.5, 0.5, 0.0]
    """
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    probabilities: NDArray[Floating] = exp / exp.sum(axis=-1, keepdims=True)
    return probabilities


def log_softmax(x: NDArray[np.floating]) -> Float64Array:
    """Compute the logarithm of the softmax over the last axis (nats, if `x` are logits), in float64.

    >>> log_softmax(np.array([1000.0, 1000.0])).round(4).tolist()
    [-0.6931, -0.6931]
    """
    shifted, log_total = _shifted(x)
    log_probabilities: Float64Array = shifted - log_total
    return log_probabilities


def _shifted(x: NDArray[np.floating]) -> tuple[NDArray[np.floating], Float64Array]:
    """Return `x` shifted to a maximum of 0 in each row, and the logarithm (..., 1) of the sum of its exponentials."""
    shifted = x - x.max(axis=-1, keepdims=True)
    log_total: Float64Array = np.log(np.exp(shifted, dtype=np.float64).sum(axis=-1, keepdims=True))
    return shifted, log_total


def negative_log_likelihood(logits: NDArray[np.floating], targets: NDArray[np.integer]) -> Float64Array:
    """Compute the cross-entropy (nats) of each row of logits (N, V) with its target id: (N,).

    >>> negative_log_likelihood(np.zeros((2, 4)), np.array([3, 0])).round(4).tolist()
    [1.3863, 1.3863]
    """
    shifted, log_total = _shifted(logits)
    chosen: Float64Array = shifted[np.arange(len(targets)), targets] - log_total[:, 0]
    return -chosen


# The Chebyshev fit of Numerical Recipes' erfcc, highest power first.
_ERFC = (
    0.17087277,
    -0.82215223,
    1.48851587,
    -1.13520398,
    0.27886807,
    -0.18628806,
    0.09678418,
    0.37409196,
    1.00002368,
    -1.26551223,
)


def erfc(x: FloatArray) -> FloatArray:
    """Compute the complementary error function of x >= 0, with a relative error of about 1.2e-7.

    >>> erfc(np.array([0, 1, 3], np.float32)).tolist()
    [1.0, 0.1572992354631424, 2.2090496713644825e-05]
    """
    t: FloatArray = np.float32(1) / (np.float32(1) + np.float32(0.5) * x)
    fit = np.full_like(x, _ERFC[0])
    for coefficient in _ERFC[1:]:
        fit *= t
        fit += np.float32(coefficient)
    tail: FloatArray = t * np.exp(fit - x * x)
    return tail


def top_k(x: NDArray[np.number], k: int) -> IndexArray:
    """Find the indices of the k largest entries of the last axis, largest first; ties are in order of index.

    If there are at most k entries, all of them are sorted.

    >>> top_k(np.array([0.1, 0.4, 0.1, 0.4]), 3).tolist()
    [1, 3, 0]
    """
    if k >= x.shape[-1]:
        return np.argsort(-x, axis=-1, kind="stable")
    chosen = np.argpartition(x, -k, axis=-1)[..., -k:]
    smallest = np.take_along_axis(x, chosen, axis=-1).min(axis=-1, keepdims=True)
    tied = np.count_nonzero(x >= smallest, axis=-1) > k  # a partition may take any entry that equals the smallest
    chosen[tied] = np.argsort(-x[tied], axis=-1, kind="stable")[..., :k]
    chosen.sort(axis=-1)
    order = np.argsort(-np.take_along_axis(x, chosen, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(chosen, order, axis=-1)


def count_shared(ids: Sequence[int], others: Sequence[int]) -> int:
    """Return the length of the common prefix of two lists of token ids.

    >>> count_shared([1, 2, 3, 4], [1, 2, 5]), count_shared([1, 2], [1, 2, 3])
    (2, 2)
    """
    shorter = min(len(ids), len(others))
    return next((i for i in range(shorter) if ids[i] != others[i]), shorter)
