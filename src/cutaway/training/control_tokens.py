"""Control tokens that a task needs and a model lacks: adds ids to its tokenizer and rows to its embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cutaway.checkpoints import Weights
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.formats import FLOAT32, StoredTensor
from cutaway.numerics import FloatArray
from cutaway.tasks import Task
from cutaway.tasks.encoder import find_control
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.vocabulary import END_OF_TEXT

NOISE = 0.02  # standard deviation of GPT-2's initialisation


def missing_controls(task: Task, codec: Codec) -> list[str]:
    """Return the control tokens of a task that a tokenizer lacks, except the end of text, which is the tokenizer's own.

    >>> from cutaway.tasks import open_task
    >>> missing_controls(open_task("translation"), Tokenizer.gpt2())
    ['<|en|>', '<|de|>']
    """
    return [name for name in task.controls if name != END_OF_TEXT and find_control(name, codec) is None]


def add_controls(codec: Codec, names: Sequence[str], first: int) -> Tokenizer:
    """Return a tokenizer with the control tokens added, with ids from `first` on.

    Raises UsageError if the tokenizer is not byte-level BPE: only that can be extended.

    >>> more = add_controls(Tokenizer.gpt2(), ["<|en|>"], first=50257)
    >>> more.encode("<|en|> a", allow_special=True), more.encode(" a<|en|>") == Tokenizer.gpt2().encode(" a<|en|>")
    ([50257, 257], True)
    """
    if not isinstance(codec, Tokenizer):
        raise UsageError(
            f"the model's tokenizer lacks {', '.join(names)}, and control tokens can be added to byte-level BPE only"
        )
    vocabulary = codec.vocabulary
    control = {**vocabulary.control, **{name: first + i for i, name in enumerate(names)}}
    return Tokenizer(replace(vocabulary, control=control))


@dataclass(frozen=True)
class WidenedWeights:
    """Weights of a model with more embedding rows. New rows are the mean of the old rows, which are kept, plus noise.

    >>> from cutaway.checkpoints import ArrayWeights
    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> ones = ArrayWeights(config, {name: np.ones(s, np.float32) for name, s in config.tensor_shapes().items()})
    >>> widened = WidenedWeights(ones, n_vocab=5, seed=1)
    >>> widened.read("wte.weight").shape, widened.read("wte.weight")[:3].tolist() == ones.read("wte.weight").tolist()
    ((5, 2), True)
    """

    base: Weights
    n_vocab: int
    seed: int

    @cached_property
    def config(self) -> GPT2Config:
        """Hyperparameters of the base model, with the larger vocabulary."""
        return replace(self.base.config, n_vocab=self.n_vocab)

    @property
    def dtype(self) -> str:
        """Format of the matrices."""
        return "float32"

    def read(self, name: str) -> FloatArray:
        """Read a tensor as float32.

        >>> from cutaway.checkpoints import open_source
        >>> WidenedWeights(open_source("builtin"), n_vocab=50259, seed=1).read("wte.weight").shape
        (50259, 384)
        """
        array = self.base.read(name)
        if self.config.tensors[name].kind != "embedding":
            return array
        noise = np.random.default_rng(self.seed).normal(0, NOISE, (self.n_vocab - len(array), array.shape[1]))
        mean = array.mean(0, dtype=np.float64)
        return np.concatenate([array, (mean + noise).astype(np.float32)])

    def stored(self, name: str) -> StoredTensor:
        """Read a tensor in its stored format, float32.

        >>> from cutaway.checkpoints import open_source
        >>> WidenedWeights(open_source("builtin"), n_vocab=50259, seed=1).stored("wte.weight").format.name
        'float32'
        """
        return StoredTensor(self.config.tensors[name], FLOAT32, {"": self.read(name)})
