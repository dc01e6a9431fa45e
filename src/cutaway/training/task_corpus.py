"""The examples of a task as a training corpus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutaway.checkpoints import Checkpoint, open_source
from cutaway.checkpoints.directory import TASK
from cutaway.data.batches import LengthBuckets, padded_batches
from cutaway.data.examples import Example, ExampleSet
from cutaway.errors import UsageError
from cutaway.tasks import Task, TaskEncoder, open_task
from cutaway.tasks.records import read_task_records
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.reading import FileTokenizer, read_tokenizer
from cutaway.training.config import SCRATCH, TrainingConfig
from cutaway.training.held_out import SamplePrompt, Validation


@dataclass(frozen=True)
class TaskCorpus:
    """Encoded examples of a task, some of them held out. Implements `Corpus`."""

    task: Task
    codec: Codec
    train: ExampleSet
    valid: ExampleSet | None

    @classmethod
    def open(cls, config: TrainingConfig, init: Checkpoint | None) -> "TaskCorpus":
        """Read and encode the files of a configuration. Raises UsageError, naming file and line, if one is invalid.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as directory:
        ...     path = Path(directory, "pairs.jsonl")
        ...     _ = path.write_text('{"source": "a b", "target": "b a"}')
        ...     config = TrainingConfig(task="reverse", data=(str(path),), tokenizer="builtin", n_ctx=32)
        ...     corpus = TaskCorpus.open(config, init=None)
        >>> corpus.source(seed=1).batch(0, n_rows=8, n_ctx=32).inputs.tolist()
        [[64, 275, 198, 65, 257]]
        """
        _check_given(config)
        task = open_task(config.task)
        codec = _find_codec(config, init)
        encoder = TaskEncoder(task, codec, config.n_ctx)
        train = [record for path in config.data for record in read_task_records(Path(path).expanduser(), task)]
        held = read_task_records(Path(config.valid).expanduser(), task) if config.valid else []
        return cls(task, codec, encoder.encode_all(train), encoder.encode_all(held) if held else None)

    @property
    def side_files(self) -> Mapping[str, str]:
        """The task's file."""
        return {TASK: self.task.toml}

    def source(self, seed: int) -> LengthBuckets:
        """Return the batches of a run."""
        return LengthBuckets(self.train.examples, seed, pad=self.codec.eos or 0)

    def prompt(self) -> SamplePrompt:
        """Return the prompt of the first held-out example, or of the first example if none is held out."""
        return example_prompt((self.valid or self.train).examples[0], self.codec)

    def hashes(self) -> list[str]:
        """Return the SHA-256 of all encoded examples."""
        digest = sha256()
        for example in self.train.examples:
            digest.update(example.ids.tobytes())
            digest.update(example.learned.tobytes())
            digest.update(example.n_prefix.to_bytes(8))
        return [digest.hexdigest()]

    def bytes_per_token(self) -> float | None:
        """Return the mean bytes of target text per learned token."""
        return self.train.n_bytes / self.train.n_learned

    def validation(self, n_tokens: int) -> list[Validation]:
        """Return the held-out examples, if any, with at most `n_tokens` learned tokens."""
        if self.valid is None:
            return []
        batches = padded_batches(self.valid.examples, n_tokens)
        return [Validation(lambda n_ctx: batches, self.valid.n_bytes / self.valid.n_learned)]

    def frequent(self, n_vocab: int, count: int) -> NDArray[np.int64]:
        """Return the ids of the most frequent tokens, (count,) at most."""
        counts = np.bincount(_all_ids(self.train.examples), minlength=n_vocab)
        return np.argsort(-counts, kind="stable")[:count]


def example_prompt(example: Example, codec: Codec) -> SamplePrompt:
    """Return the prompt of an example: the tokens before the learned ones.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> example = Example(np.array([32, 9379, 1276]), np.array([False, False, True]), n_prefix=2)
    >>> example_prompt(example, Tokenizer.gpt2())
    SamplePrompt(text='A robot', ids=[32, 9379], n_prefix=2)
    """
    ids = example.ids[: int(np.argmax(example.learned))].tolist()
    return SamplePrompt(codec.decode(ids), ids, example.n_prefix)


def _all_ids(examples: Sequence[Example]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.concatenate([example.ids for example in examples])


def _check_given(config: TrainingConfig) -> None:
    """Raise UsageError, naming all that is missing, for a task without data or without a tokenizer."""
    missing = []
    if not config.data:
        missing.append("no data: give --data FILE, JSON Lines of the task's fields")
    if not config.tokenizer and config.init == SCRATCH:
        missing.append("no tokenizer: give --tokenizer, a directory that `cutaway tokenizer train` wrote, or a model")
    if missing:
        raise UsageError("; ".join(missing))


def _find_codec(config: TrainingConfig, init: Checkpoint | None) -> FileTokenizer:
    """Return the tokenizer of a directory or of a model."""
    source = config.tokenizer or config.init
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "config.json").exists():
        return read_tokenizer(path)
    codec = (init or open_source(source)).tokenizer()
    if codec is None:
        raise UsageError(f"{source} has no tokenizer files")
    return codec
