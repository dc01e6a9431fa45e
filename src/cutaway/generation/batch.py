"""The auto-regressive loop: each token that is chosen becomes input for the next.

Many sequences are written side by side over one cache. What a sequence says depends on its prompt, its settings and
its seed, never on its neighbours: it has its own random numbers, and the engine decodes it to the same bits in any
batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cutaway.checks import check_int
from cutaway.engines.protocol import Cache, Engine
from cutaway.errors import EngineError, UsageError
from cutaway.generation.sampling import Sampling, choose, log_probability
from cutaway.numerics import FloatArray
from cutaway.tokenizer.fast import TextStream, Tokenizer

StopReason = Literal["length", "stop", "end_of_text", "context"]

MAX_SEQUENCES = 4096  # written side by side: of GPT-2's vocabulary their logits alone are 0.8 GB


@dataclass(frozen=True)
class Limits:
    """When a sequence ends.

    `stop` strings end it and are not part of its text. At a full context it ends too, or with `slide` goes on from
    the last half of it.
    """

    max_new_tokens: int = 100
    stop: tuple[str, ...] = ()
    stop_at_end: bool = True
    slide: bool = False

    def __post_init__(self) -> None:
        check_int("max_new_tokens", self.max_new_tokens, 1)
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) and text for text in self.stop):
            raise UsageError(f"stop must be texts that are not empty, not {self.stop!r:.60}")


@dataclass(frozen=True)
class Piece:
    """What one step adds to one sequence: usually one token, none where the text ends at `<|endoftext|>`.

    `text` may be empty while a character or a possible stop string is incomplete. The last piece has a `stop_reason`.
    """

    text: str
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()  # the model's own, in nats
    stop_reason: StopReason | None = None


@dataclass(frozen=True)
class Completion:
    """A finished sequence: the new text and tokens only, and the seed that writes it again."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stop_reason: StopReason
    seed: int
    engine: str


class StopMatcher:
    """Passes text on, holding back what may be the beginning of a stop string, and ends at the first whole one."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.stop = tuple(stop)
        self.held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """The text that is safe to show, and whether a stop string was met."""
        self.held += text
        met = [place for place in map(self.held.find, self.stop) if place >= 0]
        if met:
            shown, self.held = self.held[: min(met)], ""
            return shown, True
        keep = max((self._overlap(stop) for stop in self.stop), default=0)
        cut = len(self.held) - keep
        shown, self.held = self.held[:cut], self.held[cut:]
        return shown, False

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins `stop`."""
        longest = min(len(self.held), len(stop) - 1)
        return next((n for n in range(longest, 0, -1) if self.held.endswith(stop[:n])), 0)

    def finish(self) -> str:
        """What was held back, now that no more text comes."""
        shown, self.held = self.held, ""
        return shown


@dataclass
class Row:
    """One sequence on its way."""

    ids: list[int]  # prompt and new tokens
    sampling: Sampling
    limits: Limits
    rng: np.random.Generator
    tokenizer: Tokenizer | None
    n_new: int = 0
    text: TextStream | None = field(init=False)
    stop: StopMatcher = field(init=False)

    def __post_init__(self) -> None:
        self.text = self.tokenizer.stream() if self.tokenizer else None
        self.stop = StopMatcher(self.limits.stop)

    def advance(self, logits: FloatArray, full: bool, wants_logprobs: bool) -> Piece:
        """Choose the next token from logits (V,); `full` says that the context has no room to read it."""
        if self.tokenizer:
            logits = logits[: self.tokenizer.n_vocab]  # a padded vocabulary has ids that stand for nothing
        if not np.isfinite(logits).all():
            raise EngineError("the logits are not finite: the weights hold NaN, infinity or far too large values")
        token = choose(logits, self.sampling, self.rng, self.ids)
        if self.limits.stop_at_end and self.tokenizer and token == self.tokenizer.end_of_text:
            return Piece(self._rest(), stop_reason="end_of_text")
        self.ids.append(token)
        self.n_new += 1
        shown, stopped = self.stop.push(self.text.push(token) if self.text else "")
        reason: StopReason | None = None
        if stopped:
            reason = "stop"
        elif self.n_new == self.limits.max_new_tokens:
            reason = "length"
        elif full and not self.limits.slide:
            reason = "context"
        logprobs = (log_probability(logits, token),) if wants_logprobs else ()
        return Piece(shown + self._rest() if reason in ("length", "context") else shown, (token,), logprobs, reason)

    def _rest(self) -> str:
        """The text that was held back, now that no more comes."""
        shown, stopped = self.stop.push(self.text.finish() if self.text else "")
        return shown if stopped else shown + self.stop.finish()


def next_inputs(rows: Sequence[Row], cache: Cache, n_ctx: int) -> list[list[int]]:
    """What each row reads next: its newest token, or the last half of a context where that is full, with the cache
    emptied for it.
    """
    lengths = list(cache.lengths)
    inputs = []
    for place, row in enumerate(rows):
        if lengths[place] == n_ctx:
            lengths[place] = 0
            inputs.append(row.ids[-max(1, n_ctx // 2) :])
        else:
            inputs.append(row.ids[-1:])
    cache.truncate(lengths)
    return inputs


def write(
    engine: Engine, rows: Sequence[Row], cache: Cache, logits: FloatArray, logprobs: bool
) -> Iterator[tuple[int, Piece]]:
    """Go on with rows whose prompts the cache holds, from logits (rows, V); yields (row, piece) as they come."""
    live = list(range(len(rows)))
    while live:
        going_on = []
        for place, (row, length) in enumerate(zip(live, cache.lengths, strict=True)):
            piece = rows[row].advance(logits[place], length == engine.config.n_ctx, logprobs)
            if piece.stop_reason is None:
                going_on.append(place)
            yield row, piece
        if going_on and len(going_on) < len(live):
            cache = cache.fork(going_on)
        live = [live[place] for place in going_on]
        if live:
            logits = engine.forward(next_inputs([rows[row] for row in live], cache, engine.config.n_ctx), cache)


def fit(prompt: Sequence[int], n_ctx: int, slide: bool = False) -> list[int]:
    """The prompt, cut to its last `n_ctx` tokens where it may slide; raises UsageError where it may not."""
    if len(prompt) > n_ctx and not slide:
        raise UsageError(
            f"the prompt is {len(prompt)} tokens long, the context holds {n_ctx}; shorten it"
            " (of a longer one generate keeps the end with --slide, slide=True)"
        )
    return list(prompt[-n_ctx:])


def generate(
    engine: Engine,
    tokenizer: Tokenizer | None,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    limits: Limits,
    seeds: Sequence[int],
    logprobs: bool = False,
) -> Iterator[tuple[int, Piece]]:
    """Continue each prompt len(seeds) / len(prompts) times, reading it once; sequence i has seed i and prompt i //
    samples.
    """
    cache = engine.new_cache(len(prompts))
    logits = engine.forward([fit(prompt, engine.config.n_ctx, limits.slide) for prompt in prompts], cache)
    origin = [i * len(prompts) // len(seeds) for i in range(len(seeds))]
    rows = [
        Row(list(prompts[prompt]), sampling, limits, np.random.default_rng(seed), tokenizer)
        for prompt, seed in zip(origin, seeds, strict=True)
    ]
    if len(rows) > len(prompts):
        cache, logits = cache.fork(origin), logits[origin]
    yield from write(engine, rows, cache, logits, logprobs)


def collect(events: Iterator[tuple[int, Piece]], seeds: Sequence[int], engine: str) -> list[Completion]:
    """Run to the end and put each sequence's pieces together."""
    pieces: list[list[Piece]] = [[] for _ in seeds]
    for row, piece in events:
        pieces[row].append(piece)
    return [complete(row, seed, engine) for row, seed in zip(pieces, seeds, strict=True)]


def complete(pieces: Sequence[Piece], seed: int, engine: str) -> Completion:
    """One finished sequence from its pieces."""
    reason = pieces[-1].stop_reason
    assert reason is not None, "the last piece says why the text ends"
    return Completion(
        text="".join(piece.text for piece in pieces),
        ids=tuple(token for piece in pieces for token in piece.ids),
        logprobs=tuple(value for piece in pieces for value in piece.logprobs),
        stop_reason=reason,
        seed=seed,
        engine=engine,
    )
