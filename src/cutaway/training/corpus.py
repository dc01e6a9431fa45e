"""The corpora of a run: batches, held-out text and tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE
from cutaway.data.batches import BatchSource, Windows, evaluation_windows
from cutaway.data.chat import CHAT_TEMPLATE
from cutaway.data.dataset import Dataset, open_dataset
from cutaway.errors import UsageError
from cutaway.tasks.task import Task
from cutaway.tokenizer.codec import TokenCodec
from cutaway.training.config import TrainingConfig
from cutaway.training.held_out import SamplePrompt, Validation
from cutaway.untrusted import quote_path

COUNTED_TOKENS = 3_000_000  # per corpus, to find the frequent tokens


class Corpus(Protocol):
    """Training data of a run: prepared text, or the examples of a task."""

    @property
    def codec(self) -> TokenCodec:
        """The tokenizer of the ids."""

    @property
    def task(self) -> Task | None:
        """The task of the examples; None for text."""

    @property
    def side_files(self) -> Mapping[str, str]:
        """Side files by name, which describe what a model learns from this (see `save_checkpoint`)."""

    def source(self, seed: int) -> BatchSource:
        """Return the batches of a run."""

    def prompt(self) -> SamplePrompt | None:
        """Return the prompt of samples; None for the configured text."""

    def hashes(self) -> list[str]:
        """Return SHA-256 hashes of the training data."""

    def bytes_per_token(self) -> float | None:
        """Return the mean bytes per learned token; None if unknown."""

    def validation(self, n_tokens: int) -> list[Validation]:
        """Return the held-out text, with at most `n_tokens` learned tokens."""

    def frequent(self, n_vocab: int, count: int) -> NDArray[np.int64]:
        """Return the ids of the most frequent tokens, (count,) at most."""


@dataclass(frozen=True)
class WindowCorpus:
    """Prepared corpora with their sampling weights. Implements `Corpus`."""

    datasets: Sequence[Dataset]
    weights: Sequence[float]

    @classmethod
    def open(cls, config: TrainingConfig) -> "WindowCorpus":
        """Open the corpora of a configuration. Raises UsageError if one is missing or if their tokenizers differ."""
        if not config.data:
            raise UsageError("no data: give --data DIR, a directory that `cutaway data prepare` wrote")
        datasets = [open_dataset(directory) for directory in config.data]
        first = datasets[0]
        for other in datasets[1:]:
            if other.manifest.tokenizer.sha256 != first.manifest.tokenizer.sha256:
                raise UsageError(
                    f"{quote_path(other.directory)} and {quote_path(first.directory)} have different tokenizers: "
                    "prepare them with the same one"
                )
        tokens = [float(dataset.split("train").n_tokens) for dataset in datasets]
        return cls(datasets, config.weights or tokens)

    task = None

    def prompt(self) -> None:
        """Return None: samples continue the configured text."""

    @property
    def codec(self) -> TokenCodec:
        """The tokenizer that all corpora share."""
        return self.datasets[0].codec

    @property
    def side_files(self) -> Mapping[str, str]:
        """The chat template, if the corpora hold conversations."""
        has_conversations = any(dataset.manifest.has_conversations for dataset in self.datasets)
        return {CHAT_TEMPLATE_FILE: CHAT_TEMPLATE} if has_conversations else {}

    def source(self, seed: int) -> Windows:
        """Return the batches of a run."""
        return Windows([dataset.split("train") for dataset in self.datasets], self.weights, seed)

    def hashes(self) -> list[str]:
        """Return a SHA-256 for each corpus, over the hashes of its training shards."""
        shards = [dataset.manifest.splits["train"].shards for dataset in self.datasets]
        return [sha256(" ".join(f"{s.sha256}:{s.tokens}" for s in part).encode()).hexdigest() for part in shards]

    def bytes_per_token(self) -> float | None:
        """Return the mean bytes per token of a batch; None if unknown."""
        sizes = [dataset.split("train") for dataset in self.datasets]
        shares = np.asarray(self.weights) / np.sum(self.weights)
        mean = float(sum(share * split.n_bytes / split.n_tokens for share, split in zip(shares, sizes, strict=True)))
        return mean or None

    def validation(self, n_tokens: int) -> list[Validation]:
        """Return the held-out text of each corpus that has any. The tokens are divided among corpora by weight."""
        held = [(d, w) for d, w in zip(self.datasets, self.weights, strict=True) if "valid" in d.manifest.splits]
        total = sum(weight for _, weight in held)
        found = []
        for dataset, weight in held:
            split = dataset.split("valid")
            share = max(1, int(n_tokens * weight / total))
            windows = partial(evaluation_windows, split, n_tokens=share)
            size = split.n_bytes / split.n_tokens if split.n_bytes else None
            found.append(Validation(windows, size, weight / total))
        return found

    def frequent(self, n_vocab: int, count: int) -> NDArray[np.int64]:
        """Return the ids of the most frequent tokens of the mixture, (count,) at most."""
        counts = np.zeros(n_vocab, np.float64)
        for dataset, weight in zip(self.datasets, self.weights, strict=True):
            part = dataset.split("train").token_counts(n_vocab, COUNTED_TOKENS)
            counts += weight * part / part.sum()
        return np.argsort(-counts, kind="stable")[:count]
