"""Beam search for several prompts at once, on the KV cache, with GNMT's length penalty (Wu et al. 2016)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.checks import check_float, check_int
from cutaway.engines.protocol import Cache, Engine, check_finite
from cutaway.errors import UsageError
from cutaway.numerics import Float64Array, FloatArray, log_softmax, top_k

MOST_BEAMS = 128


@dataclass(frozen=True)
class BeamConfig:
    """Settings of a beam search: `beams` sequences are kept at each step, `n_best` are returned at its end.

    A sequence finishes if its end token is among the `beams` best continuations of a step. One beam is greedy decoding.
    The score of a sequence is its log-probability divided by `length_penalty(length, alpha)`.
    """

    beams: int = 5
    alpha: float = 0.6
    n_best: int = 1

    def __post_init__(self) -> None:
        check_int("n_best", self.n_best, 1, MOST_BEAMS)
        check_int("beams", self.beams, 1, MOST_BEAMS)
        check_float("alpha", self.alpha, 0, 10)
        if self.n_best > self.beams:
            raise UsageError(f"n_best ({self.n_best}) must be at most beams ({self.beams})")


@dataclass(frozen=True)
class BeamPrompt:
    """Token ids to continue, the first `n_prefix` of which see each other, and the most tokens to generate."""

    ids: Sequence[int]
    max_new_tokens: int
    n_prefix: int = 0


@dataclass(frozen=True)
class Hypothesis:
    """A generated sequence: its tokens without the end token, its log-probability (nats) with it, and its score.

    `is_finished` is False if no end token was generated.
    """

    ids: tuple[int, ...]
    logprob: float
    score: float
    is_finished: bool


def length_penalty(length: int, alpha: float) -> float:
    """Return GNMT's penalty for a sequence of `length` tokens, including the end token.

    >>> length_penalty(1, 0.6), length_penalty(7, 0), round(length_penalty(7, 0.6), 3)
    (1.0, 1.0, 1.516)
    """
    return float(((5 + length) / 6) ** alpha)


def beam_search(
    engine: Engine,
    prompts: Sequence[BeamPrompt],
    config: BeamConfig,
    end_tokens: frozenset[int],
    check: Callable[[], None] = lambda: None,
) -> list[list[Hypothesis]]:
    """Return the best sequences for each prompt, best score first; unfinished ones only if too few have finished.

    The result for a prompt does not depend on the other prompts. `check` is called before each step, and may raise to
    stop the search. Raises UsageError for an empty prompt, or one that leaves no room in the context.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> prompt = BeamPrompt([32, 9379], max_new_tokens=4)
    >>> [found] = beam_search(model.engine, [prompt], BeamConfig(beams=3, n_best=2), frozenset({50256}))
    >>> len(found), found[0].score > found[1].score
    (2, True)
    """
    if not prompts:
        return []
    cache = engine.new_cache(len(prompts) * config.beams)
    searches = [
        _Search(engine, prompt, config, end_tokens, number * config.beams) for number, prompt in enumerate(prompts)
    ]
    while running := [search for search in searches if not search.done]:
        check()
        rows = [row for search in running for row in search.rows]
        unread = [ids for search in running for ids in search.unread]
        prefixes = [count for search in running for count in search.prefixes]
        logits = check_finite(engine.forward(unread, cache, rows=rows, n_prefix=prefixes))
        start = 0
        for search in running:
            stop = start + len(search.rows)
            search.advance(logits[start:stop], cache)
            start = stop
    return [search.found() for search in searches]


class _Search:
    """The search for one prompt, in `beams` rows of the cache, beginning with row `first`."""

    def __init__(
        self, engine: Engine, prompt: BeamPrompt, config: BeamConfig, end_tokens: frozenset[int], first: int
    ) -> None:
        check_int("max_new_tokens", prompt.max_new_tokens, 1)
        room = engine.config.n_ctx - len(prompt.ids) + 1
        if not prompt.ids or room < 1:
            raise UsageError(f"the prompt is {len(prompt.ids)} tokens long; it must have 1 to {engine.config.n_ctx}")
        self._config = config
        self._end_tokens = np.array(sorted(end_tokens), np.intp)
        self._most = min(prompt.max_new_tokens, room)
        self._free = range(first, first + config.beams)
        self._finished: list[Hypothesis] = []
        self.rows = [first]
        self.unread: list[Sequence[int]] = [prompt.ids]
        self.prefixes = [prompt.n_prefix]
        self.done = False
        self._ids: list[tuple[int, ...]] = [()]
        self._logprobs: Float64Array = np.zeros(1)

    def advance(self, logits: FloatArray, cache: Cache) -> None:
        """Extend every beam by a token; beams that end become finished sequences."""
        nats = self._logprobs[:, None] + log_softmax(logits)  # (beams, V)
        ends = self._end_tokens[self._end_tokens < nats.shape[1]]
        ended = nats[:, ends].max(axis=1, initial=-np.inf)
        nats[:, ends] = -np.inf
        parents, tokens = self._best(nats)
        self._finish(ended, nats[parents, tokens])
        self._ids = [(*self._ids[parent], token) for parent, token in zip(parents, tokens, strict=True)]
        self._logprobs = nats[parents, tokens]
        self._move(parents, cache)
        self.unread = [[token] for token in tokens]
        self.prefixes = [0] * len(tokens)
        self.done = not self._ids or len(self._ids[0]) >= self._most or self._is_settled()

    def found(self) -> list[Hypothesis]:
        """Return the best sequences, finished ones first."""
        open_ended = [self._hypothesis(i, self._logprobs[i], len(self._ids[i]), False) for i in range(len(self._ids))]
        by_score = sorted(open_ended, key=lambda each: -each.score)
        return [*self._finished, *by_score][: self._config.n_best]

    def _finish(self, nats: Float64Array, others: Float64Array) -> None:
        """Add the beams whose most likely end, of log-probability `nats` (beams,), is among the best continuations.

        `others` are the log-probabilities of continuations that do not end. Only the best finished sequences are kept.
        """
        best = np.argsort(-np.concatenate([nats, others]), kind="stable")[: self._config.beams]
        chosen = [i for i in sorted(best.tolist()) if i < len(nats) and np.isfinite(nats[i])]
        ended = [self._hypothesis(i, nats[i], len(self._ids[i]) + 1, True) for i in chosen]
        by_score = sorted([*self._finished, *ended], key=lambda each: -each.score)
        self._finished = by_score[: self._config.beams]

    def _hypothesis(self, beam: int, logprob: float, length: int, is_finished: bool) -> Hypothesis:
        score = float(logprob) / length_penalty(length, self._config.alpha)
        return Hypothesis(self._ids[beam], float(logprob), score, is_finished)

    def _best(self, nats: Float64Array) -> tuple[list[int], list[int]]:
        """Return parent and token of the best continuations, at most as many as there are beams."""
        width = min(self._config.beams, nats.shape[1])
        tokens = top_k(nats, width)[:, :width]  # of each beam: no more of them can be among the best overall
        values = np.take_along_axis(nats, tokens, axis=1).ravel()
        best = np.argsort(-values, kind="stable")[: self._config.beams]
        best = best[np.isfinite(values[best])]
        return (best // width).tolist(), tokens.ravel()[best].tolist()

    def _move(self, parents: list[int], cache: Cache) -> None:
        """Give each beam a row that holds its tokens: the first child of a parent keeps the parent's row."""
        kept = {self.rows[parent] for parent in parents}
        free = [row for row in self._free if row not in kept]
        rows: list[int] = []
        for parent in parents:
            row = self.rows[parent]
            if row in rows:
                row = free.pop()
                cache.copy_row(self.rows[parent], row)
            rows.append(row)
        self.rows = rows

    def _is_settled(self) -> bool:
        """Return True if no beam can still become one of the best, whatever tokens follow."""
        if len(self._finished) < self._config.beams:
            return False
        best = float(self._logprobs.max()) / length_penalty(self._most, self._config.alpha)
        return best <= self._finished[-1].score
