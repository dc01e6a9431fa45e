"""An opened checkpoint directory: `Weights` whose tensors are read when they are asked for."""

from pathlib import Path

import numpy as np

from cutaway.checkpoints.config_json import read_config
from cutaway.checkpoints.directory import CONFIG, find_tensors, open_files
from cutaway.checkpoints.quantise import QuantisedMatrix
from cutaway.checkpoints.safetensors import FLOATS
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.files import read_vocabulary
from cutaway.untrusted import quote_name, raise_checkpoint_error


class Checkpoint:
    """The weights in a directory, what its config says, and its tokenizer.

    `n_bytes` is the size of the files with the weights; `end_of_text` the token that ends a text, if the config names
    one. Raises CheckpointError, one line naming file, tensor and reason, where the directory holds no sound GPT-2; all
    that can be known without reading the tensors is known when it is opened.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.path, self.name = directory, name
        if not (directory / CONFIG).exists():
            raise_checkpoint_error(directory, f"holds no checkpoint: {CONFIG} is missing")
        stored = read_config(directory / CONFIG)
        self.config, self.end_of_text = stored.config, stored.end_of_text
        files = open_files(directory)
        self.n_bytes = sum(file.n_bytes for file in files)
        self._places = find_tensors(files, stored, directory)

    @property
    def dtype(self) -> str:
        """What the matrices are stored as: "float32", "float16", "bfloat16" or "int8"; of several floats "float32"."""
        codes = {self._places[name].entry.dtype for name in self.config.tensors}
        if "I8" in codes:
            return "int8"
        return FLOATS[codes.pop()] if len(codes) == 1 else "float32"

    def read(self, name: str) -> FloatArray:
        """A tensor as a fresh float32 array; raises CheckpointError where it cannot be read or is not finite."""
        matrix = self.read_quantised(name)
        if matrix is None:
            return self._places[name].read()
        restored = matrix.dequantise()
        return np.ascontiguousarray(restored.T) if self.config.tensors[name].transposed else restored

    def read_quantised(self, name: str) -> QuantisedMatrix | None:
        """The stored int8 form of a matrix as (out, in), or None where it is stored as floats."""
        if name not in self.config.tensors:
            raise UsageError(f"{quote_name(name)} is not a tensor of this GPT-2")
        place = self._places[name]
        if place.entry.dtype != "I8":
            return None
        values = place.file.read_int8(place.name)
        scales = self._places[f"{name}.scales"].read().astype(np.float16)
        columns = self._places[f"{name}.columns"].read()
        if values.min() < -127 or scales.min() < 0 or columns.min() <= 0:
            raise_checkpoint_error(
                place.file.path, f"{name} holds -128, a negative scale or a column that is not positive"
            )
        if self.config.tensors[name].transposed:
            values, scales = np.ascontiguousarray(values.T), np.ascontiguousarray(scales.T)
        return QuantisedMatrix(values, scales, columns)

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer beside the weights; without one GPT-2's own where the vocabulary has its size, or None."""
        if not any((self.path / file).is_file() for file in ("tokenizer.json", "vocab.json")):
            gpt2 = Tokenizer.gpt2()
            return gpt2 if gpt2.n_vocab == self.config.n_vocab else None
        tokenizer = Tokenizer(read_vocabulary(self.path))
        if tokenizer.n_vocab > self.config.n_vocab:
            raise_checkpoint_error(
                self.path, f"the tokenizer has {tokenizer.n_vocab} tokens, the model only {self.config.n_vocab}"
            )
        return tokenizer
