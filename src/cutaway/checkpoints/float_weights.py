"""The weights that an engine of some precision computes with, as float32 for whoever looks inside."""

from collections.abc import Iterator, Mapping

import numpy as np

from cutaway.checkpoints.quantise import quantise
from cutaway.checkpoints.safetensors import rounded
from cutaway.checkpoints.weights import Weights
from cutaway.numerics import FloatArray


class FloatWeights(Mapping[str, FloatArray]):
    """Every tensor by its name, read when it is first asked for and kept.

    Rounded to `dtype` ("float32", "float16", "bfloat16" or "int8") where the weights are stored as something else.
    """

    def __init__(self, weights: Weights, dtype: str) -> None:
        self._weights, self._dtype = weights, dtype
        self._names = weights.config.tensors
        self._read: dict[str, FloatArray] = {}

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self._read:
            if name not in self._names:
                raise KeyError(name)
            self._read[name] = self._rounded(name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _rounded(self, name: str) -> FloatArray:
        tensor = self._weights.read(name)
        if self._dtype == self._weights.dtype:
            return tensor
        spec = self._names[name]
        if self._dtype == "int8" and spec.quantisable:
            matrix = quantise(tensor.T if spec.transposed else tensor).dequantise()
            return np.ascontiguousarray(matrix.T) if spec.transposed else matrix
        return rounded(tensor, self._dtype) if self._dtype in ("float16", "bfloat16") else tensor
