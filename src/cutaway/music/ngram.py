"""N-gram floors: losses that a model must beat to show that it has learned more than local statistics.

Witten-Bell interpolation: P(w | h) = (c(hw) + t(h) P(w | h')) / (c(h) + t(h)), where c are the counts of the training
data, t(h) is the number of distinct tokens after the context h, and h' is the context without its first token. The
empty context is interpolated with the uniform distribution.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int

Context = tuple[int, ...]


class NGram:
    """Counts n-grams up to an order; order 1 is the unigram. The context is the last order - 1 tokens.

    >>> model = NGram(2, n_vocab=3)
    >>> model.fit([[0, 1, 0, 1]])
    >>> round(model.probability(1, (0,)), 3)
    0.815
    """

    def __init__(self, order: int, n_vocab: int) -> None:
        self.order = check_int("order", order, 1, 8)
        self.n_vocab = check_int("n_vocab", n_vocab, 1)
        self._counts: dict[Context, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._totals: dict[Context, int] = defaultdict(int)

    def fit(self, documents: Iterable[Sequence[int]]) -> None:
        """Count the tokens of documents, each after its context within the document."""
        for ids in documents:
            for place, token in enumerate(ids):
                context = self.context(ids, place)
                for start in range(len(context) + 1):
                    self._counts[context[start:]][token] += 1
                    self._totals[context[start:]] += 1

    def context(self, ids: Sequence[int], place: int) -> Context:
        """Return the context of the token at `place`, nearest token last; shorter at the beginning of a document."""
        return tuple(map(int, ids[max(0, place - self.order + 1) : place]))

    def probability(self, token: int, context: Context) -> float:
        """Return P(token | context)."""
        chance = 1 / self.n_vocab
        for start in range(len(context), -1, -1):
            counts = self._counts.get(context[start:])
            if counts is None:  # then longer contexts are unseen, too
                break
            kinds = len(counts)
            chance = (counts.get(token, 0) + kinds * chance) / (self._totals[context[start:]] + kinds)
        return chance

    def losses(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the loss in nats of each token of a document."""
        return np.array([-math.log(self.probability(int(t), self.context(ids, i))) for i, t in enumerate(ids)])


def voice_loss(
    train: Sequence[Sequence[int]], held_out: Sequence[Sequence[int]], order: int, n_vocab: int, voices: int = 4
) -> float:
    """Return the mean loss in nats per token of interleaved voices; each voice has its own counts and contexts.

    >>> round(voice_loss([[0, 1, 0, 1]], [[0, 1, 0, 1]], order=2, n_vocab=2, voices=2), 3)
    0.135
    """
    total = 0.0
    count = 0
    for voice in range(voices):
        model = NGram(order, n_vocab)
        model.fit([ids[voice::voices] for ids in train])
        for ids in held_out:
            losses = model.losses(ids[voice::voices])
            total += float(losses.sum())
            count += len(losses)
    return total / max(1, count)
