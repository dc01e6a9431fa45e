"""int8 weights: a scale for every 32 inputs of an output, once the input channels are made equally large.

A linear layer computes y[o] = sum_i x[i] W[o, i]. For any columns[i] > 0 that is

    sum_i (x[i] columns[i]) (W[o, i] / columns[i])

and only the second factor is quantised. GPT-2 has a few input channels a hundred times larger than the rest. With the
columns taken out, such a channel neither spoils the scale of its 31 neighbours nor loses its own small weights.
This file is the definition that every engine follows. Matrices are (out, in) here: `wte` as it is, Conv1D transposed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.numerics import FloatArray

BLOCK_SIZE = 32
_CHUNK = 1 << 17  # elements worked on at a time: small enough for the cache, and no copy of a whole matrix is ever made


@dataclass(frozen=True)
class QuantisedMatrix:
    """A matrix W of (out, in) float32 as W[o, i] = (values[o, i] * scales[o, i // 32]) * columns[i].

    `values` are int8 from -127 to 127, `scales` float16 and never negative, `columns` float32 and positive.
    """

    values: NDArray[np.int8]  # (out, in), C-contiguous
    scales: NDArray[np.float16]  # (out, ceil(in / 32))
    columns: FloatArray  # (in,)

    def dequantise(self) -> FloatArray:
        """The matrix that the engine computes with: (out, in) float32, multiplied in exactly the order above."""
        outputs, inputs = self.values.shape
        matrix = np.empty((outputs, inputs), np.float32)
        for rows in _row_chunks(outputs, inputs):
            scales = np.repeat(self.scales[rows].astype(np.float32), BLOCK_SIZE, axis=1)[:, :inputs]
            matrix[rows] = self.values[rows] * scales * self.columns
        return matrix


def block_count(inputs: int) -> int:
    """Number of blocks that so many inputs are cut in; the last may be short."""
    return -(-inputs // BLOCK_SIZE)


def quantise(matrix: FloatArray) -> QuantisedMatrix:
    """Quantise a matrix of (out, in), which may be a transposed view; raises UsageError where it is not finite.

    Rounding is to the nearest, half to even; the error of an entry is at most half its scale times its column.
    """
    outputs, inputs = matrix.shape
    columns = _column_peaks(matrix)
    values = np.empty((outputs, inputs), np.int8)
    scales = np.empty((outputs, block_count(inputs)), np.float16)
    for rows in _row_chunks(outputs, inputs):
        _quantise_rows(matrix[rows], columns, values[rows], scales[rows])
    return QuantisedMatrix(values, scales, columns)


def _column_peaks(matrix: FloatArray) -> FloatArray:
    """The largest magnitude in each column, and 1 where a column is all zero: (in,)."""
    peaks = np.zeros(matrix.shape[1], np.float32)
    for rows in _row_chunks(*matrix.shape):
        np.maximum(peaks, np.abs(matrix[rows]).max(axis=0), out=peaks)
    if not np.isfinite(peaks).all():
        raise UsageError("cannot quantise a matrix that holds NaN or infinity")
    peaks[peaks == 0] = 1
    return peaks


def _quantise_rows(
    rows: FloatArray, columns: FloatArray, values: NDArray[np.int8], scales: NDArray[np.float16]
) -> None:
    """Quantise some rows (R, in) into `values` (R, in) and `scales` (R, blocks)."""
    count, inputs = rows.shape
    padded = np.zeros((count, scales.shape[1] * BLOCK_SIZE), np.float32)
    np.divide(rows, columns, out=padded[:, :inputs])
    blocks = padded.reshape(count, -1, BLOCK_SIZE)  # (R, blocks, 32)
    scales[:] = _scales(np.maximum(blocks.max(axis=2), -blocks.min(axis=2)))
    blocks /= np.where(scales == 0, 1, scales).astype(np.float32)[:, :, None]
    np.clip(np.rint(padded, out=padded), -127, 127, out=padded)
    values[:] = padded[:, :inputs]


def _scales(peaks: FloatArray) -> NDArray[np.float16]:
    """peaks / 127 as float16, rounded up: 127 steps always reach the peak, and a tiny block gets no scale of zero."""
    exact = peaks / np.float32(127)
    scales = exact.astype(np.float16)
    return np.where(scales < exact, np.nextafter(scales, np.float16(1)), scales)


def _row_chunks(outputs: int, inputs: int) -> Iterator[slice]:
    step = max(1, _CHUNK // inputs)
    return (slice(start, start + step) for start in range(0, outputs, step))
