"""The weights that an engine computes with."""

from collections.abc import Iterator, Mapping

import numpy as np

from cutaway.checkpoints.names import format_for
from cutaway.checkpoints.weights import Weights
from cutaway.formats import FORMATS, StoredTensor
from cutaway.numerics import FloatArray, read_only


class EffectiveWeights(Mapping[str, FloatArray]):
    """Weights as an engine of some precision holds them: a mapping of float32 tensors that also implements `Weights`.

    If `dtype` ("float32", "float16", "bfloat16" or "int8") differs from that of the weights, every tensor is converted;
    otherwise each tensor keeps its stored format. The mapping reads a tensor on first access and caches it. Its arrays
    are read-only, because writing to them would not change the engine's own weights.

    >>> from cutaway.checkpoints import open_checkpoint
    >>> from cutaway.checkpoints.sources import BUILTIN
    >>> weights = EffectiveWeights(open_checkpoint(BUILTIN), "int8")
    >>> weights["ln_f.bias"].dtype, weights["ln_f.bias"] is weights["ln_f.bias"]
    (dtype('float32'), True)
    """

    def __init__(self, weights: Weights, dtype: str) -> None:
        self.config = weights.config
        self.dtype = dtype
        self._weights = weights
        self._read: dict[str, FloatArray] = {}

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self._read:
            if name not in self.config.tensors:
                raise KeyError(name)
            self._read[name] = read_only(self.stored(name).dequantise())
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.config.tensors)

    def __len__(self) -> int:
        return len(self.config.tensors)

    def read(self, name: str) -> FloatArray:
        """Read a tensor as a fresh float32 array, which is not cached.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> weights = EffectiveWeights(open_checkpoint(BUILTIN), "float32")
        >>> weights.read("ln_f.bias") is weights.read("ln_f.bias")
        False
        """
        return np.array(self.stored(name).dequantise())

    def stored(self, name: str) -> StoredTensor:
        """Read a tensor in the format in which the engine holds it.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> EffectiveWeights(open_checkpoint(BUILTIN), "float16").stored("h.0.mlp.c_fc.weight").format.name
        'float16'
        """
        stored = self._weights.stored(name)
        if self.dtype == self._weights.dtype:
            return stored
        return stored.to(format_for(stored.spec, FORMATS[self.dtype]))
