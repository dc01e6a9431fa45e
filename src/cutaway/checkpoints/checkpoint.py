"""An opened checkpoint directory: `Weights` that are read lazily."""

from pathlib import Path

from cutaway.checkpoints.config_json import read_config
from cutaway.checkpoints.directory import CONFIG, find_tensors, open_files
from cutaway.checkpoints.names import format_for
from cutaway.checkpoints.safetensors import FLOAT_CODES
from cutaway.errors import UsageError
from cutaway.formats import FLOAT32, StoredTensor
from cutaway.numerics import FloatArray
from cutaway.tokenizer.fast import Tokenizer
from cutaway.untrusted import quote_name, raise_checkpoint_error


class Checkpoint:
    """The weights, hyperparameters and tokenizer of a checkpoint directory.

    `n_bytes` is the size of the files with the weights; `end_of_text` the token that ends a text, if the config names
    one. Raises CheckpointError, one line naming file, tensor and reason, where the directory holds no sound GPT-2; all
    that can be known without reading the tensors is known when it is opened.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory
        self.name = name
        if not (directory / CONFIG).exists():
            raise_checkpoint_error(directory, f"holds no checkpoint: {CONFIG} is missing")
        stored = read_config(directory / CONFIG)
        self.config = stored.config
        self.end_of_text = stored.end_of_text
        self._format = stored.format
        files = open_files(directory)
        self.n_bytes = sum(file.n_bytes for file in files)
        self._stored = find_tensors(files, stored, directory)

    @property
    def dtype(self) -> str:
        """The matrices' format: "float32", "float16", "bfloat16" or "int8"; of several floats "float32"."""
        if self._format.quantization:
            return self._format.name
        codes = {self._stored[name].entry.dtype for name in self.config.tensors}
        return FLOAT_CODES[codes.pop()].name if len(codes) == 1 else FLOAT32.name

    def read(self, name: str) -> FloatArray:
        """Read a tensor as a fresh float32 array. Raises CheckpointError if it cannot be read or is not finite.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.loading import BUILTIN
        >>> checkpoint = open_checkpoint(BUILTIN)
        >>> checkpoint.read("ln_f.bias").shape == (checkpoint.config.n_embd,)
        True
        """
        return self.stored(name).dequantise()

    def stored(self, name: str) -> StoredTensor:
        """Read a tensor in its stored format. Raises CheckpointError if it cannot be read or is invalid.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.loading import BUILTIN
        >>> stored = open_checkpoint(BUILTIN).stored("h.0.mlp.c_fc.weight")
        >>> stored.format.name, list(stored.arrays)
        ('int8', ['', '.scales', '.input_scales'])
        """
        if name not in self.config.tensors:
            raise UsageError(f"{quote_name(name)} is not a tensor of this GPT-2")
        spec = self.config.tensors[name]
        stored_format = format_for(spec, self._format)
        if not stored_format.quantization:
            return StoredTensor(spec, FLOAT32, {"": self._stored[name].read()})
        suffixes = stored_format.layout(spec)
        arrays = {suffix: self._stored[name + suffix].read_unchecked() for suffix in suffixes}
        try:
            return stored_format.load(spec, arrays)
        except UsageError as error:
            raise_checkpoint_error(self._stored[name].file.path, str(error))

    def tokenizer(self) -> Tokenizer | None:
        """Read the tokenizer beside the weights; without one GPT-2's own if the vocabulary has its size, else None.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.loading import BUILTIN
        >>> open_checkpoint(BUILTIN).tokenizer().encode("A robot")
        [32, 9379]
        """
        return tokenizer_beside(self.path, self.config.n_vocab)


def tokenizer_beside(directory: Path, n_vocab: int) -> Tokenizer | None:
    """Read the tokenizer of the files in a directory; without any GPT-2's own if it has `n_vocab` tokens, else None.

    Raises CheckpointError if the files are invalid, or have more tokens.

    >>> tokenizer_beside(Path("nowhere"), 50257).n_vocab
    50257
    """
    if not any((directory / file).is_file() for file in ("tokenizer.json", "vocab.json")):
        gpt2 = Tokenizer.gpt2()
        return gpt2 if gpt2.n_vocab == n_vocab else None
    tokenizer = Tokenizer.from_files(directory)
    if tokenizer.n_vocab > n_vocab:
        raise_checkpoint_error(directory, f"the tokenizer has {tokenizer.n_vocab} tokens, the model only {n_vocab}")
    return tokenizer
