"""Where an engine gets its weights from: one tensor at a time, so that a model never needs to be in memory twice.

A checkpoint on disk is one kind of `Weights`; arrays already in memory and random numbers are the other two.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.formats import FLOAT32, StoredTensor
from cutaway.numerics import FloatArray


class Weights(Protocol):
    """The tensors of one GPT-2, under the names of `GPT2Config.tensors`."""

    @property
    def config(self) -> GPT2Config:
        """The shape of the model."""

    @property
    def dtype(self) -> str:
        """What the matrices are stored as: "float32", "float16", "bfloat16" or "int8"."""

    def read(self, name: str) -> FloatArray:
        """A tensor as a fresh float32 array of its shape in the config, de-quantised if it is stored quantised."""

    def stored(self, name: str) -> StoredTensor:
        """A tensor in the format that it is stored in; floats of any width come as float32."""


@dataclass(frozen=True)
class ArrayWeights:
    """Weights that are in memory already; raises UsageError unless `arrays` are exactly the tensors of `config`."""

    config: GPT2Config
    arrays: Mapping[str, FloatArray]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        shapes = self.config.tensor_shapes()
        if unknown := next((name for name in self.arrays if name not in shapes), None):
            raise UsageError(f"{unknown} is not a tensor of this GPT-2")
        for name, shape in shapes.items():
            if name not in self.arrays:
                raise UsageError(f"the tensor {name} is missing")
            if self.arrays[name].shape != shape:
                raise UsageError(f"{name} must have the shape {shape}, not {self.arrays[name].shape}")

    def read(self, name: str) -> FloatArray:
        return np.array(self.arrays[name], np.float32)

    def stored(self, name: str) -> StoredTensor:
        return StoredTensor(self.config.tensors[name], FLOAT32, {"": np.asarray(self.arrays[name], np.float32)})


@dataclass(frozen=True)
class RandomWeights:
    """GPT-2 before training; every tensor is drawn when it is read and depends only on the seed and its name.

    Normal with `std`, half of it for positions, divided by sqrt(2 n_layer) where a block adds to the residual stream;
    biases 0, LayerNorm gains 1. `spread` moves biases and gains off those values, as training does; tests use it.
    Source: `src/model.py` of openai/gpt-2, and section 2.3 of the paper for the residual projections.
    """

    config: GPT2Config
    seed: int = 0
    std: float = 0.02
    spread: float = 0.0
    dtype: str = "float32"

    def read(self, name: str) -> FloatArray:
        shape = self.config.tensors[name].shape
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        tensor = generator.standard_normal(shape, dtype=np.float32)
        tensor *= np.float32(self.spread if len(shape) == 1 else self._matrix_std(name))
        if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")):
            tensor += 1
        return tensor

    def _matrix_std(self, name: str) -> float:
        if name == "wpe.weight":
            return self.std / 2
        return self.std / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else self.std

    def stored(self, name: str) -> StoredTensor:
        return StoredTensor(self.config.tensors[name], FLOAT32, {"": self.read(name)})


def random_weights(config: GPT2Config, seed: int = 0, *, std: float = 0.02, spread: float = 0.0) -> ArrayWeights:
    """All tensors of `RandomWeights`, drawn now and kept in memory."""
    source = RandomWeights(config, seed, std, spread)
    return ArrayWeights(config, {name: source.read(name) for name in config.tensor_shapes()})
