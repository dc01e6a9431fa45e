"""The choice of the next token from the logits.

The steps, in this order; each is off at its neutral value:

1. repetition penalty r (1): the logit of every token already in the text is divided by r where positive, multiplied
   where negative (CTRL);
2. temperature t (1): logits are divided by t; 0 means greedy, the likeliest token, the lowest id among equals;
3. top-k k (0): only tokens whose logit is at least the k-th largest stay. As in OpenAI's `sample.py`, ties at the
   border all stay;
4. top-p p (1): of the tokens sorted by falling probability, the fewest whose probabilities sum to at least p stay
   (Holtzman et al. 2019). The token that crosses p stays. OpenAI's `sample.py` drops it;
5. the draw: one number u in [0, 1) from the sequence's own generator picks the first token whose cumulative
   probability exceeds u.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cutaway.generation.config import GenerationConfig
from cutaway.numerics import FloatArray, softmax, top_k

Ids = NDArray[np.intp]
Float64 = NDArray[np.float64]


def penalise(logits: FloatArray, seen: Sequence[int], penalty: float) -> FloatArray:
    """Step 1: logits (V,) with the tokens in `seen` made less likely."""
    ids = np.unique(np.asarray(seen, dtype=np.intp))
    penalised = logits.copy()
    penalised[ids] = np.where(logits[ids] > 0, logits[ids] / penalty, logits[ids] * penalty)
    return penalised


def top_k_ids(logits: FloatArray, k: int) -> Ids:
    """Step 3: the ids that stay, in rising order; at least k where there are that many."""
    if k == 0 or k >= len(logits):
        return np.arange(len(logits))
    border = np.partition(logits, -k)[-k]
    return np.flatnonzero(logits >= border)


def top_p_keep(probabilities: Float64, p: float) -> Ids:
    """Step 4: the places in `probabilities` that stay, likeliest first."""
    order = top_k(probabilities, len(probabilities))
    n_kept = int(np.searchsorted(np.cumsum(probabilities[order]), p, side="left")) + 1
    return order[:n_kept]


def distribution(logits: FloatArray, config: GenerationConfig, seen: Sequence[int] = ()) -> tuple[Ids, Float64]:
    """The ids that can be drawn and the probability of each, from logits (V,) and the text's tokens so far."""
    if config.repetition_penalty != 1:
        logits = penalise(logits, seen, config.repetition_penalty)
    if config.temperature == 0:
        return np.array([logits.argmax()]), np.ones(1)
    ids = top_k_ids(logits, config.top_k)
    with np.errstate(over="ignore"):  # the largest is taken away first, so a tiny temperature gives 0 and -infinity
        probabilities = softmax((logits[ids].astype(np.float64) - float(logits.max())) / config.temperature)
    if config.top_p < 1:
        kept = top_p_keep(probabilities, config.top_p)
        ids, probabilities = ids[kept], probabilities[kept] / probabilities[kept].sum()
    return ids, probabilities


def choose(logits: FloatArray, config: GenerationConfig, rng: np.random.Generator, seen: Sequence[int] = ()) -> int:
    """The id of the next token: steps 1 to 5."""
    ids, probabilities = distribution(logits, config, seen)
    cumulative = np.cumsum(probabilities)
    place = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return int(ids[min(place, len(ids) - 1)])
