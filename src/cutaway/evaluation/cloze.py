"""Logits of several continuations of one context, for tasks that compare candidates. The context is read once."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.protocol import Engine, check_finite
from cutaway.errors import UsageError
from cutaway.numerics import Float64Array, FloatArray, count_shared, negative_log_likelihood


def continuation_logits(
    engine: Engine, context: Sequence[int], continuations: Sequence[Sequence[int]]
) -> list[FloatArray]:
    """Compute the logits that predict each token of each continuation: a list of arrays (length, n_vocab).

    Activations are float32. A context that is too long is truncated on the left. Raises UsageError for an empty context
    or continuation, or for a continuation longer than the model's context. Raises NonFiniteError for NaN or infinity.

    >>> import cutaway
    >>> engine = cutaway.load().engine
    >>> [logits.shape for logits in continuation_logits(engine, [50256, 32], [[9379], [6155, 13]])]
    [(1, 50257), (2, 50257)]
    """
    longest = max(len(continuation) for continuation in continuations)
    room = engine.config.n_ctx + 1 - longest  # the last token of a continuation is not read
    if room < 1:
        raise UsageError(f"a continuation of {longest} tokens is too long for a context of {engine.config.n_ctx}")
    cache = engine.new_cache(len(continuations))
    first = check_finite(engine.forward([context[-room:]], cache, rows=[0], exact=True))  # (1, V)
    for row in range(1, len(continuations)):
        cache.copy_row(0, row)
    rows = [row for row, continuation in enumerate(continuations) if len(continuation) > 1]
    inputs = [continuations[row][:-1] for row in rows]
    later = check_finite(engine.forward(inputs, cache, logits="all", rows=rows, exact=True)) if rows else first[:0]
    parts = iter(np.split(later, np.cumsum([len(ids) for ids in inputs])[:-1])) if rows else iter(())
    return [np.concatenate([first, next(parts)]) if len(ids) > 1 else first for ids in continuations]


def continuation_losses(
    engine: Engine, context: Sequence[int], continuations: Sequence[Sequence[int]]
) -> list[Float64Array]:
    """Compute the negative log-likelihood (nats) of each token of each continuation: a list of arrays (length,).

    >>> import cutaway
    >>> [losses.shape for losses in continuation_losses(cutaway.load().engine, [50256], [[32, 9379], [464]])]
    [(2,), (1,)]
    """
    logits = continuation_logits(engine, context, continuations)
    return [
        negative_log_likelihood(rows, np.asarray(ids, np.intp)) for rows, ids in zip(logits, continuations, strict=True)
    ]


def common_prefix(texts: Sequence[Sequence[int]]) -> int:
    """Count the leading tokens that all texts share, leaving at least one token of each text.

    >>> common_prefix([[1, 2, 3, 4], [1, 2, 5], [1, 2]])
    1
    """
    return min(min(len(ids) - 1, count_shared(ids, texts[0])) for ids in texts)
