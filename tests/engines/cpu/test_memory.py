"""Memory and threads that run out, and memory that comes back."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from cutaway.engines.cpu.engine import CpuEngine
from cutaway.errors import EngineError
from tests.tiny import random_ids, tiny_weights

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to a limit on memory")


@contextmanager
def room_for(more: int) -> Iterator[None]:
    """Let this process take so many bytes more than it has, and no more."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def make() -> CpuEngine:
    """A small model with much to do: its activations and keys take far more memory than its weights."""
    return CpuEngine(tiny_weights(n_embd=16, n_head=1, n_inner=6000, n_ctx=600), "float32", threads=2)


def test_a_failed_allocation_leaves_the_cache_unchanged() -> None:
    engine = make()
    ids = random_ids(engine.config, 600)
    expected = make().forward([ids, ids[:300]])
    cache = engine.new_cache(2)
    engine.forward([ids[:5], ids[:3]], cache)
    refused = 0
    for more in range(0, 1 << 27, 1 << 18):
        with room_for(more), suppress(EngineError, MemoryError):
            logits = engine.forward([ids[5:], ids[3:300]], cache)
            break
        assert cache.lengths == (5, 3)
        refused += 1
    assert refused > 10
    np.testing.assert_array_equal(logits, expected)


def test_threads_that_cannot_be_started_are_an_engine_error() -> None:
    with room_for(1 << 28), pytest.raises(EngineError, match="threads"):
        CpuEngine(tiny_weights(), "float32", threads=1024)
    CpuEngine(tiny_weights(), "float32", threads=2).forward([[1, 2, 3]])


def test_dropped_engines_and_caches_free_their_memory() -> None:
    ids = [1] * 600
    with room_for(1 << 28):
        for _ in range(20):
            engine = make()
            cache = engine.new_cache(1)
            engine.forward([ids], cache)
            cache.add_rows(100)
            for row in range(1, 101):
                cache.copy_row(0, row)


@pytest.mark.slow
def test_an_empty_row_frees_its_memory() -> None:
    engine = CpuEngine(tiny_weights(n_embd=48, n_ctx=1000), "float32", threads=2)
    cache = engine.new_cache(200)
    engine.forward([[1] * 1000], cache, rows=[0])
    with room_for(1 << 26):  # of the 200 rows some 80 fit
        for row in range(200):
            cache.truncate([0] * 200)
            engine.forward([[1] * 1000], cache, rows=[row])


def test_without_a_cache_rows_that_were_read_take_no_memory() -> None:
    engine = CpuEngine(tiny_weights(n_ctx=80), "float32", threads=2)
    expected = engine.forward([[1]])
    with room_for(1 << 26):
        logits = engine.forward([[1]] * 10000)
    np.testing.assert_array_equal(logits, np.repeat(expected, 10000, axis=0))
