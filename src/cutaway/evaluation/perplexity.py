"""Perplexity: negative log-likelihood of a text, read in overlapping windows where it is longer than the context."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.engines.protocol import Engine
from cutaway.numerics import Float64Array, negative_log_likelihood

CHUNK = 128  # tokens whose logits are in memory at a time


@dataclass(frozen=True)
class Score:
    """Total negative log-likelihood (nats) of `tokens` scored tokens, whose text is `bytes` bytes long.

    >>> score = Score(nats=6.0, tokens=2, bytes=6)
    >>> round(score.perplexity, 3), round(score.bits_per_byte, 3)
    (20.086, 1.443)
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def perplexity(self) -> float:
        """Exponential of the mean per token; infinite where a float cannot hold it."""
        mean = self.nats / self.tokens
        return math.exp(mean) if mean < 709 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Comparable between models with different tokenizers, as perplexity is not."""
        return self.nats / math.log(2) / self.bytes


def token_losses(engine: Engine, ids: Sequence[int]) -> Float64Array:
    """Negative log-likelihood (nats) of each of T token ids after the first, (T - 1,), with float32 activations.

    A text longer than the context is read in windows that overlap by half: every token is scored once, and after the
    first window with at least half a context before it.

    >>> import cutaway
    >>> token_losses(cutaway.load().engine, [50256, 464, 9379]).shape
    (2,)
    """
    losses = [np.empty(0)]
    for window, n_context in _windows(ids, engine.config.n_ctx):
        losses.append(_window_losses(engine, window)[n_context:])
    return np.concatenate(losses)


def _windows(ids: Sequence[int], n_ctx: int) -> Iterator[tuple[Sequence[int], int]]:
    """Split ids into windows of at most n_ctx inputs and one target more; with each the number of losses to drop,
    which belong to tokens that the window before has scored.
    """
    stride = max(1, n_ctx // 2)
    overlap = n_ctx - stride
    for start in range(0, max(1, len(ids) - 1 - overlap), stride):
        yield ids[start : start + n_ctx + 1], overlap if start else 0


def _window_losses(engine: Engine, window: Sequence[int]) -> Float64Array:
    """Losses (nats) of all tokens of a window after its first."""
    cache = engine.new_cache(1)
    losses = [np.empty(0)]
    for start in range(0, len(window) - 1, CHUNK):
        targets = window[start + 1 : start + 1 + CHUNK]
        inputs = window[start : start + len(targets)]
        logits = engine.forward([inputs], cache, logits="all", exact=True)
        losses.append(negative_log_likelihood(logits, np.asarray(targets)))
    return np.concatenate(losses)
