"""Sampling of the next token from the logits.

First, a mask of the request, such as the grammar of music, removes the tokens that are not allowed. Then come these
steps, in this order, each off at its neutral value:

1. repetition penalty r (1): the logit of every token already in the text is divided by r if positive, multiplied by r
   if negative (CTRL);
2. temperature t (1): logits are divided by t; 0 means greedy: the most likely token, the lowest id among equals;
3. top-k k (0): only tokens whose logit is at least the k-th largest stay. As in OpenAI's `sample.py`, ties at the
   border all stay;
4. top-p p (1): of the tokens in order of decreasing probability, the fewest whose probabilities sum to at least p stay
   (Holtzman et al. 2019). The token that crosses p stays. OpenAI's `sample.py` drops it;
5. the draw: one number u in [0, 1) from the sequence's own generator picks the first token whose cumulative
   probability exceeds u.

Steps 1 to 4 equal transformers' logits processors, run in this order. Probabilities are computed in float64.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import show
from cutaway.errors import UsageError
from cutaway.generation.config import GenerationConfig
from cutaway.numerics import FloatArray, softmax, top_k

Ids = NDArray[np.intp]
Float64 = NDArray[np.float64]
TokenMask = Callable[[Sequence[int]], NDArray[np.bool_]]  # from the tokens so far to True for each allowed token


def penalise(logits: FloatArray, seen: Sequence[int], penalty: float) -> FloatArray:
    """Return logits (V,) in which the tokens in `seen` are less likely: step 1.

    >>> penalise(np.array([2.0, -2.0, 1.0], np.float32), [0, 1], penalty=2).tolist()
    [1.0, -4.0, 1.0]
    """
    ids = np.unique(np.asarray(seen, dtype=np.intp))
    penalised = logits.copy()
    penalised[ids] = np.where(logits[ids] > 0, logits[ids] / penalty, logits[ids] * penalty)
    return penalised


def apply_mask(logits: FloatArray, allowed: NDArray[np.bool_]) -> FloatArray:
    """Return logits (V,) that are -inf where `allowed` is False, and beyond its end: before step 1.

    Raises UsageError if no token is allowed, or if `allowed` is not an array of booleans (token ids, say).

    >>> apply_mask(np.array([0, 1, 2], np.float32), np.array([True, False])).tolist()
    [0.0, -inf, -inf]
    """
    if getattr(allowed, "dtype", None) != np.bool_:
        raise UsageError(f"a mask must be an array of booleans, one for each token, not {show(allowed)}")
    masked = np.full_like(logits, -np.inf)
    ids = np.flatnonzero(allowed[: len(logits)])
    if len(ids) == 0:
        raise UsageError("the mask allows no token to come next")
    masked[ids] = logits[ids]
    return masked


def top_k_ids(logits: FloatArray, k: int) -> Ids:
    """Return the ids kept by top-k, in ascending order; more than k if several tie for the last: step 3.

    >>> top_k_ids(np.array([1, 3, 2, 2, 0], np.float32), 2).tolist()
    [1, 2, 3]
    """
    if k == 0 or k >= len(logits):
        return np.arange(len(logits))
    border = np.partition(logits, -k)[-k]
    return np.flatnonzero(logits >= border)


def top_p_keep(probabilities: Float64, p: float) -> Ids:
    """Return the indices kept by top-p, most likely first: step 4.

    >>> top_p_keep(np.array([0.1, 0.5, 0.3, 0.1]), 0.6).tolist()
    [1, 2]
    """
    # Tokens less likely than this sum to less than 1 - p, so none of them is kept or needs sorting.
    candidates = np.flatnonzero(probabilities >= (1 - p) / (2 * len(probabilities)))
    order = candidates[top_k(probabilities[candidates], len(candidates))]
    n_kept = int(np.searchsorted(np.cumsum(probabilities[order]), p, side="left")) + 1
    return order[:n_kept]


def distribution(logits: FloatArray, config: GenerationConfig, seen: Sequence[int] = ()) -> tuple[Ids, Float64]:
    """Return the ids that can be drawn and their probabilities, from logits (V,) and the tokens so far: steps 1 to 4.

    >>> ids, probabilities = distribution(np.log(np.array([0.5, 0.3, 0.2], np.float32)), GenerationConfig(top_k=2))
    >>> ids.tolist(), probabilities.round(3).tolist()
    ([0, 1], [0.625, 0.375])
    """
    if config.repetition_penalty != 1:
        logits = penalise(logits, seen, config.repetition_penalty)
    if config.temperature == 0:
        return np.array([logits.argmax()]), np.ones(1)
    ids = top_k_ids(logits, config.top_k)
    with np.errstate(over="ignore"):  # the maximum is subtracted first, so a tiny temperature gives 0 and -inf
        probabilities = softmax((logits[ids].astype(np.float64) - float(logits.max())) / config.temperature)
    if config.top_p < 1:
        kept = top_p_keep(probabilities, config.top_p)
        ids = ids[kept]
        probabilities = probabilities[kept] / probabilities[kept].sum()
    return ids, probabilities


def choose(logits: FloatArray, config: GenerationConfig, rng: np.random.Generator, seen: Sequence[int] = ()) -> int:
    """Return the id of the next token: steps 1 to 5.

    >>> choose(np.array([0, 5, 5], np.float32), GenerationConfig(temperature=0), np.random.default_rng(1))
    1
    """
    ids, probabilities = distribution(logits, config, seen)
    cumulative = np.cumsum(probabilities)
    index = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return int(ids[min(index, len(ids) - 1)])
