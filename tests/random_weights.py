"""GPT-2s of random weights, for tests and measurements."""

import math
import zlib
from dataclasses import dataclass

import numpy as np

from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.formats import FLOAT32, StoredTensor
from cutaway.numerics import FloatArray


@dataclass(frozen=True)
class RandomWeights:
    """GPT-2 before training; every tensor is drawn when it is read and depends only on the seed and its name.

    Normal with `std`, half of it for positions, divided by sqrt(2 n_layer) where a block adds to the residual stream;
    biases 0, LayerNorm gains 1. `spread` moves biases and gains off those values, as training does.
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
    """Draw all tensors of `RandomWeights` and keep them in memory."""
    source = RandomWeights(config, seed, std, spread)
    return ArrayWeights(config, {name: source.read(name) for name in config.tensor_shapes()})
