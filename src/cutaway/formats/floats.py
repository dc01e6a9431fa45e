"""The parameters as floats: one array, float32 in memory and rounded in the file."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway.formats.format import Array, Arrays, Format, StoredAs, as_matrix
from cutaway.numerics import FloatArray
from cutaway.tensors import TensorSpec

Bytes = NDArray[np.uint8]


class FloatFormat(Format):
    """A float type; `code` is its name in safetensors. Rounding is to the nearest, half to even.

    >>> BFloat16().decode(BFloat16().encode(np.array([1.005], np.float32)))
    array([1.0078125], dtype=float32)
    """

    code: ClassVar[str]

    @abstractmethod
    def encode(self, numbers: Array) -> Bytes:
        """Convert float32 numbers to the bytes of this type; numbers that are too large become infinite."""

    @abstractmethod
    def decode(self, data: Bytes) -> FloatArray:
        """Convert bytes of this type to float32, exactly: (n,)."""

    def layout(self, spec: TensorSpec) -> dict[str, StoredAs]:
        return {"": (self.code, spec.shape)}

    def store(self, spec: TensorSpec, tensor: FloatArray) -> Arrays:
        return {"": tensor}

    def dequantise(self, spec: TensorSpec, arrays: Arrays) -> FloatArray:
        return self.decode(self.encode(np.ravel(arrays[""]).astype(np.float32))).reshape(spec.shape)

    def pack(self, spec: TensorSpec, arrays: Arrays) -> list[Array]:
        return [as_matrix(spec, arrays[""])]


class Float32(FloatFormat):
    """IEEE single precision: nothing is rounded."""

    name = "float32"
    code = "F32"

    def encode(self, numbers: Array) -> Bytes:
        return np.ascontiguousarray(numbers, "<f4").view(np.uint8)

    def decode(self, data: Bytes) -> FloatArray:
        return data.view("<f4").astype(np.float32)

    def dequantise(self, spec: TensorSpec, arrays: Arrays) -> FloatArray:
        return np.asarray(arrays[""], np.float32)


class Float16(FloatFormat):
    """IEEE half precision: 11 significant bits, up to 65504."""

    name = "float16"
    code = "F16"

    def encode(self, numbers: Array) -> Bytes:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(numbers, "<f2").view(np.uint8)

    def decode(self, data: Bytes) -> FloatArray:
        return data.view("<f2").astype(np.float32)


class BFloat16(FloatFormat):
    """The upper half of a float32: 8 significant bits, the range of float32."""

    name = "bfloat16"
    code = "BF16"

    def encode(self, numbers: Array) -> Bytes:
        bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
        half = (bits + ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)) >> np.uint32(16)
        return half.astype("<u2").view(np.uint8)

    def decode(self, data: Bytes) -> FloatArray:
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
