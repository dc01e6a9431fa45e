"""Perplexity: negative log-likelihood of a text, which is read in windows if it is longer than the context.

Windows start every `stride` tokens. A window reads as many tokens as the context holds and scores those that no earlier
window has scored: all of the first window, and `stride` tokens of each later one. If the stride equals the context
length, windows are disjoint, and the first scored token of a window has one token of context. With a smaller stride
windows overlap, and every token after the first window has at least `n_ctx - stride` tokens of context. A smaller
stride gives a lower loss at a higher cost, so perplexities are only comparable with the same stride.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.checks import check_int
from cutaway.engines.protocol import Engine, check_finite
from cutaway.numerics import Float64Array, negative_log_likelihood

CHUNK = 128  # rows of logits in memory at a time


@dataclass(frozen=True)
class Score:
    """Total negative log-likelihood (nats) of `tokens` scored tokens and `bytes` bytes of text (0 without a tokenizer).

    >>> score = Score(nats=6.0, tokens=2, bytes=6)
    >>> round(score.perplexity, 3), round(score.bits_per_byte, 3)
    (20.086, 1.443)
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def nats_per_token(self) -> float:
        """Mean negative log-likelihood, as the training loss."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Exponential of the mean nats per token; infinite if that overflows."""
        return exponential(self.nats_per_token)

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of text, comparable between tokenizers, unlike perplexity; None if there are no bytes."""
        return self.nats / math.log(2) / self.bytes if self.bytes else None


def total(scores: Iterable[Score]) -> Score:
    """Add up the scores of several texts.

    >>> total([Score(1.0, 1, 4), Score(2.5, 2, 6)])
    Score(nats=3.5, tokens=3, bytes=10)
    """
    parts = list(scores)
    return Score(sum(p.nats for p in parts), sum(p.tokens for p in parts), sum(p.bytes for p in parts))


def exponential(nats: float) -> float:
    """Exponentiate a mean loss; infinite if that overflows.

    >>> exponential(0.0), exponential(1000.0)
    (1.0, inf)
    """
    return math.exp(nats) if nats < 709 else math.inf


def default_stride(n_ctx: int) -> int:
    """Return the stride of windows that overlap by half.

    >>> default_stride(1024)
    512
    """
    return max(1, n_ctx // 2)


def token_losses(engine: Engine, ids: Sequence[int], stride: int | None = None) -> Float64Array:
    """Compute the negative log-likelihood (nats) of T token ids except the first, (T - 1,).

    Activations are float32. `stride` is that of the windows, from 1 to `n_ctx`; by default windows overlap by half.

    >>> import cutaway
    >>> token_losses(cutaway.load().engine, [50256, 464, 9379]).shape
    (2,)
    """
    return np.concatenate([np.empty(0), *window_losses(engine, ids, stride)])


def window_losses(engine: Engine, ids: Sequence[int], stride: int | None = None) -> Iterator[Float64Array]:
    """Yield the losses of `token_losses` window by window. Raises UsageError for an invalid stride.

    >>> import cutaway
    >>> engine = cutaway.load().engine
    >>> [len(losses) for losses in window_losses(engine, [50256] * 1027, stride=1000)]
    [1024, 2]
    """
    n_ctx = engine.config.n_ctx
    stride = default_stride(n_ctx) if stride is None else check_int("stride", stride, 1, n_ctx)
    return (_window_losses(engine, window, n_context) for window, n_context in _windows(ids, n_ctx, stride))


def _windows(ids: Sequence[int], n_ctx: int, stride: int) -> Iterator[tuple[Sequence[int], int]]:
    """Split ids into windows of at most n_ctx inputs plus one target. With each window yield the number of leading
    tokens that are context only, because an earlier window has scored the tokens after them.
    """
    overlap = n_ctx - stride
    for start in range(0, max(1, len(ids) - 1 - overlap), stride):
        yield ids[start : start + n_ctx + 1], overlap if start else 0


def _window_losses(engine: Engine, window: Sequence[int], n_context: int) -> Float64Array:
    """Compute the losses (nats) of the tokens of a window, except its first `n_context + 1`."""
    cache = engine.new_cache(1)
    if n_context:
        engine.forward([window[:n_context]], cache, exact=True)  # computes only the last logits
    losses = [np.empty(0)]
    for start in range(n_context, len(window) - 1, CHUNK):
        targets = window[start + 1 : start + 1 + CHUNK]
        inputs = window[start : start + len(targets)]
        logits = engine.forward([inputs], cache, logits="all", exact=True)
        losses.append(negative_log_likelihood(check_finite(logits), np.asarray(targets)))
    return np.concatenate(losses)
