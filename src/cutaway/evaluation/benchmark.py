"""How fast an engine is here: the pace of a generation as it runs, and prefill and decode measured on their own.

Prefill reads a prompt for the logits after its last token; decode writes greedily, one token a step for each sequence.
Times are seconds of wall-clock. Every task runs once unmeasured and then a few times; medians count.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from cutaway.checks import check_int
from cutaway.engines.protocol import Engine
from cutaway.generation.batch import MAX_SEQUENCES
from cutaway.generation.stream import Chunk

MAX_REPEATS = 1000


@dataclass
class ThroughputMeter:
    """Counts the tokens of a generation while it runs; `watch` passes the chunks through."""

    tokens: int = 0
    seconds: float = 0.0  # from the start to the last token
    first: float = 0.0  # seconds from the start to the first token, which are those of reading the prompt
    rows: set[int] = field(default_factory=set)

    def watch(self, events: Iterator[tuple[int, Chunk]]) -> Iterator[tuple[int, Chunk]]:
        start = perf_counter()
        for row, chunk in events:
            self.seconds = perf_counter() - start
            self.first = self.first or self.seconds
            self.tokens += len(chunk.ids)
            self.rows.add(row)
            yield row, chunk

    @property
    def tokens_per_second(self) -> float | None:
        """Of the tokens after each sequence's first; None where there are none."""
        later = self.tokens - len(self.rows)
        return later / (self.seconds - self.first) if later > 0 and self.seconds > self.first else None


@dataclass(frozen=True)
class Measurement:
    """Runs of one task: in each, `batch` sequences that hold `position` tokens read or write `tokens` in all."""

    task: str  # "prefill" or "decode"
    batch: int
    position: int
    tokens: int
    seconds: tuple[float, ...]

    @property
    def median_seconds(self) -> float:
        return float(np.median(self.seconds))

    @property
    def tokens_per_second(self) -> float:
        """Of all sequences together."""
        return self.tokens / self.median_seconds


def measure(
    engine: Engine,
    prefill: int | None = None,
    position: int | None = None,
    batch: int = 16,
    n_tokens: int = 32,
    repeats: int = 5,
) -> list[Measurement]:
    """Prefill of `prefill` tokens, and decode after `position` tokens, alone and in a batch.

    `prefill` is 512 unless given, `position` 128, or what fits. Raises UsageError for what does not fit.
    """
    n_ctx = engine.config.n_ctx
    prefill = min(512, n_ctx) if prefill is None else prefill
    position = max(1, min(128, n_ctx - n_tokens)) if position is None else position
    _check(engine, repeats, prefill, batch, position, n_tokens)  # all of it before any of it is measured
    decode = [measure_decode(engine, rows, position, n_tokens, repeats) for rows in sorted({1, batch})]
    return [measure_prefill(engine, prefill, repeats), *decode]


def measure_prefill(engine: Engine, n_tokens: int, repeats: int) -> Measurement:
    """Read a prompt of so many tokens into an empty cache."""
    _check(engine, repeats, prefill=n_tokens)
    prompt = _prompt(engine, n_tokens)
    seconds = _time(lambda: engine.forward([prompt], engine.new_cache(1)), repeats)
    return Measurement("prefill", 1, 0, n_tokens, seconds)


def measure_decode(engine: Engine, batch: int, position: int, n_tokens: int, repeats: int) -> Measurement:
    """Write so many tokens with each of `batch` sequences that have read `position` tokens."""
    _check(engine, repeats, batch=batch, position=position, n_tokens=n_tokens)
    prompt = _prompt(engine, position)
    cache = engine.new_cache(batch)
    engine.forward([prompt], cache, rows=[0])
    for row in range(1, batch):
        cache.copy_row(0, row)

    def run() -> None:
        cache.truncate([position] * batch)
        tokens = prompt[-1:] * batch
        for _ in range(n_tokens):
            logits = engine.forward([[token] for token in tokens], cache)  # (batch, V)
            tokens = [int(token) for token in logits.argmax(axis=-1)]

    return Measurement("decode", batch, position, batch * n_tokens, _time(run, repeats))


def _check(
    engine: Engine, repeats: int, prefill: int = 1, batch: int = 1, position: int = 1, n_tokens: int = 1
) -> None:
    """All that a measurement must be given, under the names that it has in `cutaway bench`."""
    n_ctx = engine.config.n_ctx
    check_int("repeats", repeats, 1, MAX_REPEATS)
    check_int("prefill", prefill, 1, n_ctx)
    check_int("batch", batch, 1, MAX_SEQUENCES)
    check_int("new_tokens", n_tokens, 1)
    check_int("position", position, 1)
    check_int("position plus new_tokens", position + n_tokens, 2, n_ctx)


def _prompt(engine: Engine, n_tokens: int) -> list[int]:
    """Random tokens, the same ones every time."""
    return [int(token) for token in np.random.default_rng(0).integers(engine.config.n_vocab, size=n_tokens)]


def _time(run: Callable[[], object], repeats: int) -> tuple[float, ...]:
    run()
    return tuple(_seconds(run) for _ in range(repeats))


def _seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start
