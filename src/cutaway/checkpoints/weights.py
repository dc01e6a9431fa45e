"""The weights of a model, read one tensor at a time, so that a model never needs to be in memory twice.

Checkpoints on disk, arrays in memory, and the weights that an engine computes with all implement `Weights`.
"""

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
        """Hyperparameters of the model."""

    @property
    def dtype(self) -> str:
        """Format of the matrices: "float32", "float16", "bfloat16" or "int8"."""

    def read(self, name: str) -> FloatArray:
        """Read a tensor as a fresh float32 array of its shape in the config, de-quantised if necessary."""

    def stored(self, name: str) -> StoredTensor:
        """Read a tensor in its stored format; floats of any width become float32."""


@dataclass(frozen=True)
class ArrayWeights:
    """Weights in memory. Raises UsageError unless `arrays` are exactly the tensors of `config`.

    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> zeros = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> ArrayWeights(config, zeros).read("ln_f.bias")
    array([0., 0.], dtype=float32)
    """

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
        """Copy a tensor as float32.

        >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
        >>> zeros = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
        >>> weights = ArrayWeights(config, zeros)
        >>> weights.read("wpe.weight") is zeros["wpe.weight"]
        False
        """
        return np.array(self.arrays[name], np.float32)

    def stored(self, name: str) -> StoredTensor:
        """Return a tensor as float32, without copying it.

        >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
        >>> zeros = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
        >>> ArrayWeights(config, zeros).stored("wpe.weight").format.name
        'float32'
        """
        return StoredTensor(self.config.tensors[name], FLOAT32, {"": np.asarray(self.arrays[name], np.float32)})
