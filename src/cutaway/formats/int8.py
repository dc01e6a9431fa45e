"""int8 weights: per-channel input scales, then a scale for every block of 32 inputs of an output.

A linear layer computes y[o] = sum_i x[i] W[o, i]. For any s[i] > 0 that is

    sum_i (x[i] s[i]) (W[o, i] / s[i])

and only the second factor is quantised. GPT-2 has a few input channels a hundred times larger than the rest. With
their scales s taken out, such a channel neither spoils the scale of its 31 neighbours nor loses its own small weights.
This file is the definition that every engine follows. Matrices are (out, in) here: `wte` as it is, Conv1D transposed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.formats.format import Array, Arrays, Format, StoredAs, StoredTensor, as_matrix
from cutaway.numerics import FloatArray
from cutaway.tensors import TensorSpec

BLOCK_SIZE = 32
_CHUNK = 1 << 17  # elements processed at a time: they fit the cache, and a whole matrix is never copied
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_LARGEST_HALF = 0x7BFF  # bits of 65504; the bits of negative numbers, of -0.0, NaN and infinity are larger


@dataclass(frozen=True)
class QuantisedMatrix:
    """A matrix W of (out, in) float32 as W[o, i] = (values[o, i] * scales[o, i // 32]) * input_scales[i].

    `values` are int8 from -127 to 127, `scales` float16 and not negative, `input_scales` float32 and positive.
    """

    values: NDArray[np.int8]  # (out, in)
    scales: NDArray[np.float16]  # (out, ceil(in / 32))
    input_scales: FloatArray  # (in,)

    def dequantise(self) -> FloatArray:
        """Compute the matrix that an engine uses: (out, in) float32, multiplied in exactly the order above.

        >>> quantise(np.array([[0.5, -100.0], [1.0, 25.0]], np.float32)).dequantise().round(2)
        array([[   0.5 , -100.09],
               [   1.  ,   25.22]], dtype=float32)
        """
        outputs, inputs = self.values.shape
        matrix = np.empty((outputs, inputs), np.float32)
        for rows in _row_chunks(outputs, inputs):
            scales = np.repeat(self.scales[rows].astype(np.float32), BLOCK_SIZE, axis=1)[:, :inputs]
            with np.errstate(over="ignore"):  # `Int8.load` rejects scales that overflow
                matrix[rows] = self.values[rows] * scales * self.input_scales
        return matrix


class Int8(Format):
    """8 bits a weight and 16 a block of 32 weights, for the matrices that multiply activations.

    >>> Int8().layout(TensorSpec("h.0.mlp.c_fc.weight", (768, 3072), "linear"))
    {'': ('I8', (768, 3072)), '.scales': ('F16', (24, 3072)), '.input_scales': ('F32', (768,))}
    """

    name = "int8"
    quantization: ClassVar = {"quant_method": "cutaway", "bits": 8, "block_size": BLOCK_SIZE}

    def takes(self, spec: TensorSpec) -> bool:
        return spec.quantisable

    def layout(self, spec: TensorSpec) -> dict[str, StoredAs]:
        rows, columns = spec.shape
        scales = (block_count(rows), columns) if spec.transposed else (rows, block_count(columns))
        return {"": ("I8", spec.shape), ".scales": ("F16", scales), ".input_scales": ("F32", (spec.inputs,))}

    def store(self, spec: TensorSpec, tensor: FloatArray) -> Arrays:
        try:
            matrix = quantise(tensor.T if spec.transposed else tensor)
        except UsageError as error:
            raise UsageError(f"{spec.name}: {error}") from None
        arrays = {
            "": as_matrix(spec, matrix.values),
            ".scales": as_matrix(spec, matrix.scales),
            ".input_scales": matrix.input_scales,
        }
        if _overflows(StoredTensor(spec, self, arrays)):  # scales are rounded up, beyond the largest float32
            raise UsageError(f"{spec.name} holds a number too large for int8; use float32")
        return arrays

    def load(self, spec: TensorSpec, arrays: Arrays) -> StoredTensor:
        if arrays[""].min() < -127:
            raise UsageError(f"{spec.name} holds -128")
        scales = arrays[".scales"]
        if scales.view(np.uint16).max() > _LARGEST_HALF and not ((scales >= 0) & (scales < np.inf)).all():
            raise UsageError(f"{spec.name}.scales holds a negative number, NaN or infinity")
        input_scales = arrays[".input_scales"]
        if not ((input_scales > 0) & (input_scales < np.inf)).all():
            raise UsageError(f"{spec.name}.input_scales holds a number that is not positive or not finite")
        stored = StoredTensor(spec, self, arrays)
        if _overflows(stored):
            raise UsageError(f"{spec.name} holds a number too large for float32")
        return stored

    def dequantise(self, spec: TensorSpec, arrays: Arrays) -> FloatArray:
        matrix = QuantisedMatrix(*self.pack(spec, arrays)).dequantise()  # type: ignore[arg-type]  # of these dtypes
        return np.ascontiguousarray(matrix.T) if spec.transposed else matrix

    def pack(self, spec: TensorSpec, arrays: Arrays) -> list[Array]:
        return [as_matrix(spec, arrays[""]), as_matrix(spec, arrays[".scales"]), arrays[".input_scales"]]


def _overflows(stored: StoredTensor) -> bool:
    """Return True if a number that the arrays stand for is too large for float32."""
    largest = 127 * float(stored.arrays[".scales"].max()) * float(stored.arrays[".input_scales"].max())
    return largest > _LARGEST_FLOAT and not np.isfinite(stored.dequantise()).all()


def block_count(inputs: int) -> int:
    """Count the blocks of 32 inputs; the last may be short.

    >>> block_count(768), block_count(33)
    (24, 2)
    """
    return -(-inputs // BLOCK_SIZE)


def quantise(matrix: FloatArray) -> QuantisedMatrix:
    """Quantise a matrix of (out, in), which may be a transposed view. Raises UsageError if it holds NaN or infinity.

    Rounding is to the nearest, half to even; the error of an entry is at most half its scale times its input scale.

    >>> quantise(np.array([[0.5, -100.0], [1.0, 25.0]], np.float32)).values
    array([[  63, -127],
           [ 127,   32]], dtype=int8)
    """
    outputs, inputs = matrix.shape
    input_scales = _input_scales(matrix)
    values = np.empty((outputs, inputs), np.int8)
    scales = np.empty((outputs, block_count(inputs)), np.float16)
    for rows in _row_chunks(outputs, inputs):
        _quantise_rows(matrix[rows], input_scales, values[rows], scales[rows])
    return QuantisedMatrix(values, scales, input_scales)


def _input_scales(matrix: FloatArray) -> FloatArray:
    """Find the largest magnitude of each input channel (1 for a channel of zeros): (in,)."""
    peaks = np.zeros(matrix.shape[1], np.float32)
    for rows in _row_chunks(*matrix.shape):
        np.maximum(peaks, np.abs(matrix[rows]).max(axis=0), out=peaks)
    if not np.isfinite(peaks).all():
        raise UsageError("cannot quantise a matrix that holds NaN or infinity")
    peaks[peaks == 0] = 1
    return peaks


def _quantise_rows(
    rows: FloatArray, input_scales: FloatArray, values: NDArray[np.int8], scales: NDArray[np.float16]
) -> None:
    """Quantise some rows (R, in) into `values` (R, in) and `scales` (R, blocks)."""
    count, inputs = rows.shape
    padded = np.zeros((count, scales.shape[1] * BLOCK_SIZE), np.float32)
    np.divide(rows, input_scales, out=padded[:, :inputs])
    blocks = padded.reshape(count, -1, BLOCK_SIZE)  # (R, blocks, 32)
    peaks = np.maximum(blocks.max(axis=2), -blocks.min(axis=2))
    scales[:] = _scales(np.abs(peaks))  # a block of zeros may have the peak -0.0
    blocks /= np.where(scales == 0, 1, scales).astype(np.float32)[:, :, None]
    np.clip(np.rint(padded, out=padded), -127, 127, out=padded)
    values[:] = padded[:, :inputs]


def _scales(peaks: FloatArray) -> NDArray[np.float16]:
    """Divide peaks by 127, rounding up to float16: 127 steps reach the peak, and no tiny peak has a scale of 0."""
    exact = peaks / np.float32(127)
    scales = exact.astype(np.float16)
    return np.where(scales < exact, np.nextafter(scales, np.float16(1)), scales)


def _row_chunks(outputs: int, inputs: int) -> Iterator[slice]:
    step = max(1, _CHUNK // inputs)
    return (slice(start, start + step) for start in range(0, outputs, step))
