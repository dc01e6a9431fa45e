"""Opens the inputs of a run: its corpora, the initial model and the shape. Needs no PyTorch.

So a wrong argument is reported even if PyTorch is missing.
"""

from dataclasses import dataclass
from pathlib import Path

from cutaway.checkpoints import Checkpoint, open_source
from cutaway.config import GPT2Config
from cutaway.data.batches import BatchSource
from cutaway.engines.protocol import check_causal
from cutaway.errors import UsageError
from cutaway.layout import counted
from cutaway.tokenizer.codec import TokenCodec
from cutaway.tokenizer.reading import FileTokenizer
from cutaway.training.config import SCRATCH, TrainingConfig, flag
from cutaway.training.corpus import Corpus, WindowCorpus
from cutaway.training.task_corpus import TaskCorpus
from cutaway.untrusted import quote_path


@dataclass(frozen=True)
class Beginning:
    """The corpus of a run, its batches, the initial checkpoint, if any, and the model's shape."""

    corpus: Corpus
    source: BatchSource
    init: Checkpoint | None
    shape: GPT2Config


def open_beginning(config: TrainingConfig) -> Beginning:
    """Open the inputs of a run. Raises UsageError or CheckpointError if they cannot be trained on.

    >>> open_beginning(TrainingConfig())
    Traceback (most recent call last):
    cutaway.errors.UsageError: no data: give --data DIR, a directory that `cutaway data prepare` wrote
    """
    init = None if config.init == SCRATCH else open_source(config.init)
    corpus = open_corpus(config, init)
    source = corpus.source(config.seed)
    shape = model_config(config, corpus, init)
    check_causal(shape, corpus.task is not None and corpus.task.attention == "prefix")
    source.batch(0, config.batch_size, config.n_ctx)  # raises UsageError if the corpus is too short
    return Beginning(corpus, source, init, shape)


def open_corpus(config: TrainingConfig, init: Checkpoint | None) -> Corpus:
    """Open the training data: prepared text, or the examples of a task. Raises UsageError if it is invalid.

    >>> open_corpus(TrainingConfig(), None)
    Traceback (most recent call last):
    cutaway.errors.UsageError: no data: give --data DIR, a directory that `cutaway data prepare` wrote
    """
    if not config.task:
        return WindowCorpus.open(config)
    return TaskCorpus.open(config, init)


def model_config(config: TrainingConfig, corpus: Corpus, init: Checkpoint | None) -> GPT2Config:
    """Return the shape of the model, from the configuration or the initial checkpoint.

    Raises UsageError if the checkpoint does not fit the configuration or the data.

    >>> from types import SimpleNamespace
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> shape = model_config(TrainingConfig(n_layer=2), SimpleNamespace(codec=Tokenizer.gpt2()), init=None)
    >>> shape.n_layer, shape.n_vocab
    (2, 50257)
    """
    n_vocab = corpus.codec.n_vocab
    if init is None:
        return config.shape(n_vocab)
    shape = init.config
    if shape.n_vocab < n_vocab:
        raise UsageError(
            f"{config.init}, the --init model, has {counted(shape.n_vocab, 'token')}, and the data {n_vocab:,}: "
            f"prepare it with --tokenizer {config.init}"
        )
    _check_tokenizer(config, corpus, init)
    for name in ("n_layer", "n_head", "n_embd", "relative_positions"):
        own = getattr(shape, name)
        if getattr(config, name) != own:
            raise UsageError(f"{flag(name)} must be {own}, as in {config.init}, not {getattr(config, name)}")
    if config.n_ctx > shape.n_ctx:
        raise UsageError(f"--n-ctx ({config.n_ctx}) must be at most that of {config.init} ({shape.n_ctx})")
    return shape


def _check_tokenizer(config: TrainingConfig, corpus: Corpus, init: Checkpoint) -> None:
    """Raise UsageError if the initial checkpoint and the data have different tokenizers."""
    if not _is_same(init.codec(), corpus.codec):
        raise UsageError(
            f"{quote_path(Path(config.data[0]))} and {config.init} have different tokenizers: "
            f"prepare the data with --tokenizer {config.init}"
        )


def _is_same(ours: TokenCodec | None, theirs: TokenCodec) -> bool:
    """Return True if two codecs have the same ids; an unknown codec (None) is assumed to match."""
    if isinstance(ours, FileTokenizer):
        return ours.encodes_like(theirs)
    return ours is None or ours == theirs
