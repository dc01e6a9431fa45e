"""The compiled engine's cache: rows that grow, copy, shrink and mix both kinds of calls."""

from threading import Barrier, Thread

import numpy as np
import pytest

from cutaway.engines.cpu.engine import CpuCache, CpuEngine
from cutaway.errors import UsageError
from tests.tiny import assert_logits_close, random_ids, tiny_weights

every_dtype = pytest.mark.parametrize("dtype", ["float32", "int8"])


def make(dtype: str = "float32") -> CpuEngine:
    return CpuEngine(tiny_weights(n_embd=36, n_head=2, n_ctx=100), dtype, threads=2)


@every_dtype
def test_a_copied_row_is_independent(dtype: str) -> None:
    engine = make(dtype)
    ids = random_ids(engine.config, 40)
    cache = engine.new_cache(2)
    engine.forward([ids[:17], ids[:3]], cache)
    cache.add_rows(2)
    cache.copy_row(0, 2)
    cache.copy_row(0, 3)
    cache.copy_row(0, 0)
    assert cache.lengths == (17, 3, 17, 17)
    logits = engine.forward([ids[3:40], [5], [6, 7]], cache, rows=[1, 3, 2])
    expected = [engine.forward([row]) for row in (ids, [*ids[:17], 5], [*ids[:17], 6, 7])]
    np.testing.assert_array_equal(logits, np.concatenate(expected))
    assert cache.lengths == (17, 40, 19, 18)
    np.testing.assert_array_equal(engine.forward([[8]], cache, rows=[0]), engine.forward([[*ids[:17], 8]]))


@every_dtype
def test_copies_rows_of_different_lengths(dtype: str) -> None:
    engine = make(dtype)
    ids = random_ids(engine.config, 100)
    cache = engine.new_cache(3)
    engine.forward([ids[:1], ids[:99]], cache, rows=[0, 1])
    cache.copy_row(0, 2)
    cache.copy_row(1, 0)
    cache.copy_row(2, 1)
    logits = engine.forward([ids[99:], ids[1:2]], cache, rows=[0, 1])
    np.testing.assert_array_equal(logits, np.concatenate([engine.forward([ids]), engine.forward([ids[:2]])]))


@every_dtype
def test_a_truncated_row_equals_a_shorter_one(dtype: str) -> None:
    engine = make(dtype)
    ids = random_ids(engine.config, 60)
    cache = engine.new_cache(2)
    engine.forward([ids, ids[:20]], cache)
    cache.truncate([18, 0])
    assert cache.lengths == (18, 0)
    logits = engine.forward([ids[18:30], [4]], cache)
    np.testing.assert_array_equal(logits, np.concatenate([engine.forward([ids[:30]]), engine.forward([[4]])]))


@every_dtype
def test_a_cache_grows_to_the_whole_context_in_any_steps(dtype: str) -> None:
    engine = make(dtype)
    ids = random_ids(engine.config, 100)
    expected = engine.forward([ids], logits="all")
    for step in (1, 7, 16, 33):
        cache = engine.new_cache(1)
        parts = [engine.forward([ids[at : at + step]], cache, "all") for at in range(0, 100, step)]
        np.testing.assert_array_equal(np.concatenate(parts), expected)
    with pytest.raises(UsageError, match="context"):
        engine.forward([[1]], cache)


def test_exact_calls_on_a_cache_are_exact() -> None:
    engine = make("int8")
    ids = random_ids(engine.config, 50)
    cache = engine.new_cache(1)
    parts = [engine.forward([ids[at : at + 9]], cache, "all", exact=True) for at in range(0, 50, 9)]
    np.testing.assert_array_equal(np.concatenate(parts), engine.forward([ids], logits="all", exact=True))


def test_exact_and_quantised_calls_share_a_cache() -> None:
    engine = make("int8")
    ids = random_ids(engine.config, 40)
    for first in (True, False):
        cache = engine.new_cache(1)
        engine.forward([ids[:30]], cache, exact=first)
        logits = engine.forward([ids[30:]], cache, exact=not first)
        truth = engine.forward([ids], exact=True)
        assert np.abs(logits - truth).max() < 0.1 * truth.std()


@pytest.mark.parametrize("exact", [False, True])
def test_an_empty_cache_takes_the_precision_of_the_next_call(exact: bool) -> None:
    engine = make("int8")
    ids = random_ids(engine.config, 60)
    cache = engine.new_cache(1)
    engine.forward([ids], cache, exact=not exact)
    cache.truncate([0])
    logits = engine.forward([ids], cache, "all", exact=exact)
    np.testing.assert_array_equal(logits, engine.forward([ids], logits="all", exact=exact))


def test_keys_beyond_float16_do_not_become_infinite() -> None:
    weights = tiny_weights()
    weights.arrays["h.0.attn.c_attn.bias"][24] = 1e6  # a key; too large for float16
    logits = CpuEngine(weights, "int8").forward([random_ids(weights.config, 20)])
    assert np.isfinite(logits).all()


def test_a_cache_keeps_its_engine_alive() -> None:
    cache = make().new_cache(1)  # the engine has no other owner
    assert_logits_close(cache.engine.forward([[1]], cache), make().forward([[1]]))


@pytest.mark.parametrize("lengths", [[-1, 1], [2], [2, 1, 0]])
def test_rejects_wrong_lengths(lengths: list[int]) -> None:
    engine = make()
    cache = engine.new_cache(2)
    engine.forward([[1, 2], [3]], cache)
    with pytest.raises(UsageError, match="cannot be truncated"):
        cache.truncate(lengths)
    cache.truncate([9, 0])
    assert cache.lengths == (2, 0)


def test_threads_that_share_a_cache_never_pass_the_context() -> None:
    """Each of them sees room for its tokens; only one of them gets it."""
    engine = CpuEngine(tiny_weights(n_ctx=64), "float32", threads=1)
    for _ in range(20):
        refused: list[str] = []
        cache = engine.new_cache(1)
        engine.forward([[1] * 40], cache)
        start = Barrier(2)

        def read(cache: CpuCache = cache, refused: list[str] = refused, start: Barrier = start) -> None:
            start.wait()
            try:
                engine.forward([[2] * 24], cache)
            except UsageError as error:
                refused.append(str(error))

        readers = [Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert len(refused) == 1
        assert cache.lengths == (64,)


@pytest.mark.parametrize("rows", [0, -1, 2**32 + 1, 1.5])
def test_rejects_an_invalid_number_of_cache_rows(rows: int) -> None:
    with pytest.raises(UsageError, match="rows of a cache"):
        CpuEngine(tiny_weights(), "float32", threads=1).new_cache(rows)
