"""The interface of a stored format, and a tensor stored in one.

A parameter is stored as one or several arrays, distinguished by the suffix of their names: as int8, `wte.weight` is
`wte.weight`, `wte.weight.scales` and `wte.weight.input_scales`. Arrays have the parameter's own orientation; code that
multiplies views them as (out, in).
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
    """A way of storing a parameter.

    >>> from cutaway.formats import FORMATS
    >>> spec = TensorSpec("h.0.ln_1.bias", (768,), "bias")
    >>> FORMATS["int8"].takes(spec), FORMATS["float16"].layout(spec)
    (False, {'': ('F16', (768,))})
    """

    name: ClassVar[str]  # the `dtype` that users ask for
    quantization: ClassVar[Mapping[str, object] | None] = None  # `quantization_config` of config.json

    def takes(self, spec: TensorSpec) -> bool:
        """Return True if this format stores such tensors; a checkpoint stores all others as float32."""
        return True

    @abstractmethod
    def layout(self, spec: TensorSpec) -> dict[str, StoredAs]:
        """Return the dtype and the shape of each array that stores a parameter, by suffix."""

    @abstractmethod
    def store(self, spec: TensorSpec, tensor: FloatArray) -> Arrays:
        """Convert a float32 tensor to the arrays that store it. Raises UsageError if the format cannot hold it."""

    def load(self, spec: TensorSpec, arrays: Arrays) -> "StoredTensor":
        """Check arrays from a file. Raises UsageError, which names the first invalid array."""
        return StoredTensor(spec, self, arrays)

    @abstractmethod
    def dequantise(self, spec: TensorSpec, arrays: Arrays) -> FloatArray:
        """Compute the float32 tensor that the arrays stand for; for float formats it may share their memory."""

    @abstractmethod
    def pack(self, spec: TensorSpec, arrays: Arrays) -> list[Array]:
        """List the arrays in the compiled kernel's order, matrices as (out, in) views, which it packs into panels."""


@dataclass(frozen=True)
class StoredTensor:
    """A parameter in its stored format.

    >>> from cutaway.formats import FORMATS
    >>> spec = TensorSpec("wte.weight", (2, 2), "embedding")
    >>> stored = StoredTensor(spec, FORMATS["float32"], {"": np.array([[0.5, -100], [1, 25]], np.float32)})
    >>> stored.to(FORMATS["int8"]).dequantise().round(2)
    array([[   0.5 , -100.09],
           [   1.  ,   25.22]], dtype=float32)
    """

    spec: TensorSpec
    format: Format
    arrays: Arrays

    def dequantise(self) -> FloatArray:
        """Compute the parameter as float32; it may share memory with `arrays`."""
        return self.format.dequantise(self.spec, self.arrays)

    def pack(self) -> list[Array]:
        """List the arrays that the compiled kernel of this format packs."""
        return self.format.pack(self.spec, self.arrays)

    def to(self, target: Format) -> "StoredTensor":
        """Convert to another format. Raises UsageError if the format cannot hold the tensor."""
        if target is self.format:
            return self
        return StoredTensor(self.spec, target, target.store(self.spec, self.dequantise()))


def as_matrix(spec: TensorSpec, array: Array) -> Array:
    """View an array in the parameter's orientation as (out, in), or the other way round.

    >>> spec = TensorSpec("h.0.mlp.c_fc.weight", (768, 3072), "linear")
    >>> as_matrix(spec, np.zeros(spec.shape, np.float32)).shape
    (3072, 768)
    """
    return array.T if spec.transposed else array
