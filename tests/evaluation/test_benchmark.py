import pytest

from cutaway import GPT2Config, UsageError
from cutaway.engines.reference import ReferenceEngine
from cutaway.evaluation.benchmark import Measurement, ThroughputMeter, measure, measure_decode, measure_prefill
from cutaway.generation.stream import Chunk
from tests.random_weights import random_weights


@pytest.fixture
def engine() -> ReferenceEngine:
    return ReferenceEngine(random_weights(GPT2Config(n_vocab=40, n_ctx=24, n_embd=8, n_head=2, n_layer=1)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes one second further each time it is looked at."""
    seconds = iter(range(1000))
    monkeypatch.setattr("cutaway.evaluation.benchmark.perf_counter", lambda: float(next(seconds)))


@pytest.mark.usefixtures("clock")
def test_pace_counts_tokens_after_each_sequences_first() -> None:
    pace = ThroughputMeter()
    chunks = [Chunk("a", (1,)), Chunk("b", (2,)), Chunk("c", (3,)), Chunk("", finish_reason="eos")]
    events = list(zip((0, 1, 0, 1), chunks, strict=True))
    assert list(pace.watch(iter(events))) == events
    assert (pace.tokens, pace.first, pace.seconds) == (3, 1.0, 4.0)
    assert pace.tokens_per_second == pytest.approx(1 / 3)


@pytest.mark.usefixtures("clock")
def test_pace_of_a_single_token_is_none() -> None:
    pace = ThroughputMeter()
    list(pace.watch(iter([(0, Chunk("a", (1,), finish_reason="length"))])))
    assert pace.tokens == 1
    assert pace.tokens_per_second is None


def test_medians_count() -> None:
    measured = Measurement("decode", 2, 5, 8, (4.0, 1.0, 2.0))
    assert measured.median_seconds == 2.0
    assert measured.tokens_per_second == 4.0


@pytest.mark.usefixtures("clock")
def test_every_run_is_timed_but_the_first(engine: ReferenceEngine) -> None:
    assert measure_prefill(engine, 6, 3) == Measurement("prefill", 1, 0, 6, (1.0,) * 3)
    assert measure_decode(engine, 2, 6, 4, 2) == Measurement("decode", 2, 6, 8, (1.0,) * 2)


def test_decode_reads_what_it_says(engine: ReferenceEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, ...]] = []
    forward = ReferenceEngine.forward

    def seen(self: ReferenceEngine, sequences: list[list[int]], *more: object, **options: object) -> object:
        reads.append(tuple(map(len, sequences)))
        return forward(self, sequences, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ReferenceEngine, "forward", seen)
    measure_decode(engine, 3, 20, 4, 1)
    assert reads == [(20,)] + [(1, 1, 1)] * 8


def test_defaults_are_what_fits(engine: ReferenceEngine) -> None:
    measured = measure(engine, new_tokens=4, batch=2, repeats=1)
    assert [(m.task, m.batch, m.depth, m.tokens) for m in measured] == [
        ("prefill", 1, 0, 24),
        ("decode", 1, 20, 4),
        ("decode", 2, 20, 8),
    ]
    assert len(measure(engine, new_tokens=4, batch=1, repeats=1)) == 2


def test_refuses_what_does_not_fit(engine: ReferenceEngine) -> None:
    for depth, new_tokens in ((0, 2), (23, 2), (1, 0)):
        with pytest.raises(UsageError):
            measure_decode(engine, 1, depth, new_tokens, 1)
    with pytest.raises(UsageError, match="prefill must be from 1 to 24"):
        measure_prefill(engine, 25, 1)
    with pytest.raises(UsageError, match="repeats"):
        measure_prefill(engine, 2, 0)


def test_nothing_is_measured_before_all_is_checked(engine: ReferenceEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "forward", lambda *_: pytest.fail("measured"))
    with pytest.raises(UsageError, match="prefill must be from 1 to 24, not 25"):
        measure(engine, prefill=25)
    with pytest.raises(UsageError, match="batch must be from 1 to 4096"):
        measure(engine, batch=10**23)
    with pytest.raises(UsageError, match="new_tokens must be from 1 to 23, not 24"):
        measure(engine, new_tokens=24)
    with pytest.raises(UsageError, match=r"depth \(20\) and new_tokens \(5\) must together be at most 24"):
        measure(engine, depth=20, new_tokens=5)
