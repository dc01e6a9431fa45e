"""The interface of a stored format, and a tensor in one.

A parameter is stored as one or several arrays, told apart by the suffix of their names: as int8, `wte.weight` is
`wte.weight`, `wte.weight.scales` and `wte.weight.input_scales`. Arrays have the parameter's own orientation; whoever
multiplies sees them as (out, in).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway.numerics import FloatArray
from cutaway.tensors import Shape, TensorSpec

Array = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.int8]
Arrays = Mapping[str, Array]  # by suffix, "" for the parameter's own name
StoredAs = tuple[str, Shape]  # a dtype of safetensors, such as "F16", and a shape


class Format(ABC):
    """A way of storing a parameter."""

    name: ClassVar[str]  # the `dtype` that users ask for
    quantization: ClassVar[Mapping[str, object] | None] = None  # `quantization_config` of config.json

    def takes(self, spec: TensorSpec) -> bool:
        """Return True if this format stores such a tensor; a checkpoint stores all others as float32."""
        return True

    @abstractmethod
    def layout(self, spec: TensorSpec) -> dict[str, StoredAs]:
        """Dtype and shape of each array that stores a parameter, by suffix."""

    @abstractmethod
    def store(self, spec: TensorSpec, tensor: FloatArray) -> Arrays:
        """Convert a float32 tensor to the arrays that store it. Raises UsageError if the format cannot hold it."""

    def load(self, spec: TensorSpec, arrays: Arrays) -> "StoredTensor":
        """Check arrays that come from a file. Raises UsageError naming the first invalid one."""
        return StoredTensor(spec, self, arrays)

    @abstractmethod
    def dequantise(self, spec: TensorSpec, arrays: Arrays) -> FloatArray:
        """The float32 tensor that the arrays stand for; floats may share their memory."""

    @abstractmethod
    def pack(self, spec: TensorSpec, arrays: Arrays) -> list[Array]:
        """The arrays in the order of the compiled kernel, matrices as (out, in) views: it packs them into panels."""


@dataclass(frozen=True)
class StoredTensor:
    """A parameter in the format that it is stored in."""

    spec: TensorSpec
    format: Format
    arrays: Arrays

    def dequantise(self) -> FloatArray:
        """The parameter as float32; it may share memory with `arrays`."""
        return self.format.dequantise(self.spec, self.arrays)

    def pack(self) -> list[Array]:
        """The arrays that the compiled kernel of this format packs."""
        return self.format.pack(self.spec, self.arrays)

    def to(self, target: Format) -> "StoredTensor":
        """Convert to another format. Raises UsageError if that cannot hold the tensor."""
        if target is self.format:
            return self
        return StoredTensor(self.spec, target, target.store(self.spec, self.dequantise()))


def as_matrix(spec: TensorSpec, array: Array) -> Array:
    """An array in the parameter's orientation as (out, in), or the other way round: a view."""
    return array.T if spec.transposed else array
