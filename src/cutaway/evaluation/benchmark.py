"""Throughput of an engine on this machine: of a running generation, and of prefill and decode separately.

Prefill reads a prompt into an empty cache and computes the logits after its last token. Decode generates greedily, one
token per step and sequence. Times are wall-clock seconds. Each task has one warm-up run and then `repeats` runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from cutaway.checks import check_int
from cutaway.engines.protocol import Engine, check_finite
from cutaway.errors import UsageError
from cutaway.generation.batch import MAX_SEQUENCES
from cutaway.generation.stream import Chunk

MAX_REPEATS = 1000


@dataclass
class ThroughputMeter:
    """Counts the tokens of a generation while it runs; `watch` passes the chunks through."""

    tokens: int = 0
    seconds: float = 0.0  # from the start to the last token
    first: float = 0.0  # time to first token in seconds, mostly prefill
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
        """Tokens per second after each sequence's first token; None if there are none."""
        later = self.tokens - len(self.rows)
        return later / (self.seconds - self.first) if later > 0 and self.seconds > self.first else None


@dataclass(frozen=True)
class Measurement:
    """Wall-clock seconds of each run of one task: `batch` sequences, each with `depth` tokens in the cache, read or
    generate `tokens` in total.
    """

    task: str  # "prefill" or "decode"
    batch: int
    depth: int
    tokens: int
    seconds: tuple[float, ...]

    @property
    def median_seconds(self) -> float:
        return float(np.median(self.seconds))

    @property
    def tokens_per_second(self) -> float:
        """Total throughput of all sequences, from the median time."""
        return self.tokens / self.median_seconds


def measure(
    engine: Engine,
    prefill: int | None = None,
    depth: int | None = None,
    batch: int = 16,
    new_tokens: int = 32,
    repeats: int = 5,
) -> list[Measurement]:
    """Measure prefill of `prefill` tokens, and decode of `new_tokens` tokens at `depth`, for one sequence and a batch.

    `prefill` defaults to 512 and `depth` to 128, or less if the context is shorter. Raises UsageError, before anything
    is measured, if the arguments do not fit the context.

    >>> import cutaway
    >>> measured = measure(cutaway.load().engine, prefill=8, depth=4, batch=2, new_tokens=2, repeats=1)
    >>> [(m.task, m.batch, m.depth, m.tokens) for m in measured]
    [('prefill', 1, 0, 8), ('decode', 1, 4, 2), ('decode', 2, 4, 4)]
    """
    n_ctx = engine.config.n_ctx
    prefill = min(512, n_ctx) if prefill is None else prefill
    depth = max(1, min(128, n_ctx - new_tokens)) if depth is None else depth
    _check(engine, repeats, prefill, batch, depth, new_tokens)  # checks everything before measuring
    decode = [measure_decode(engine, rows, depth, new_tokens, repeats) for rows in sorted({1, batch})]
    return [measure_prefill(engine, prefill, repeats), *decode]


def measure_prefill(engine: Engine, prefill: int, repeats: int) -> Measurement:
    """Measure reading a prompt of `prefill` tokens into an empty cache.

    >>> import cutaway
    >>> measured = measure_prefill(cutaway.load().engine, prefill=8, repeats=2)
    >>> measured.tokens, len(measured.seconds)
    (8, 2)
    """
    _check(engine, repeats, prefill=prefill)
    prompt = _prompt(engine, prefill)
    seconds = _time(lambda: check_finite(engine.forward([prompt], engine.new_cache(1))), repeats)
    return Measurement("prefill", 1, 0, prefill, seconds)


def measure_decode(engine: Engine, batch: int, depth: int, new_tokens: int, repeats: int) -> Measurement:
    """Measure greedy generation of `new_tokens` tokens in each of `batch` sequences with `depth` tokens.

    >>> import cutaway
    >>> measured = measure_decode(cutaway.load().engine, batch=2, depth=4, new_tokens=3, repeats=1)
    >>> measured.depth, measured.tokens
    (4, 6)
    """
    _check(engine, repeats, batch=batch, depth=depth, new_tokens=new_tokens)
    prompt = _prompt(engine, depth)
    cache = engine.new_cache(batch)
    engine.forward([prompt], cache, rows=[0])
    for row in range(1, batch):
        cache.copy_row(0, row)

    def run() -> None:
        cache.truncate([depth] * batch)
        tokens = prompt[-1:] * batch
        for _ in range(new_tokens):
            logits = check_finite(engine.forward([[token] for token in tokens], cache))  # (batch, V)
            tokens = [int(token) for token in logits.argmax(axis=-1)]

    return Measurement("decode", batch, depth, batch * new_tokens, _time(run, repeats))


def _check(engine: Engine, repeats: int, prefill: int = 1, batch: int = 1, depth: int = 1, new_tokens: int = 1) -> None:
    """Validate the arguments of a measurement, under the names that `cutaway bench` gives them."""
    n_ctx = engine.config.n_ctx
    check_int("repeats", repeats, 1, MAX_REPEATS)
    check_int("prefill", prefill, 1, n_ctx)
    check_int("batch", batch, 1, MAX_SEQUENCES)
    check_int("new_tokens", new_tokens, 1, n_ctx - 1)
    if check_int("depth", depth, 1) + new_tokens > n_ctx:
        raise UsageError(
            f"depth ({depth}) and new_tokens ({new_tokens}) must together be at most {n_ctx}, the context of the model"
        )


def _prompt(engine: Engine, length: int) -> list[int]:
    """Draw random token ids, the same in every run."""
    return [int(token) for token in np.random.default_rng(0).integers(engine.config.n_vocab, size=length)]


def _time(run: Callable[[], object], repeats: int) -> tuple[float, ...]:
    run()
    return tuple(_seconds(run) for _ in range(repeats))


def _seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start
