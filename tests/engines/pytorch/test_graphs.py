"""Decoding of rows that lie anywhere, on a CPU: PyTorch stands in for the kernel, and a function for a CUDA graph."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from cutaway.checkpoints import ArrayWeights
from cutaway.engines.pytorch.decoding import split_size
from cutaway.engines.pytorch.engine import DECODE_ROWS, PyTorchEngine
from cutaway.engines.pytorch.graphs import GRAPH_ROWS, NextToken
from cutaway.engines.pytorch.model import GPT2
from cutaway.engines.reference import ReferenceEngine
from tests.tiny import assert_logits_close, tiny_weights

WEIGHTS = tiny_weights()
CONFIG = WEIGHTS.config


def memory(address: int, count: int) -> Tensor:
    """Float32 numbers that lie at an address."""
    return torch.frombuffer((ctypes.c_float * count).from_address(address), dtype=torch.float32)


def attend_plainly(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_rows: Tensor,
    v_rows: Tensor,
    lengths: Tensor,
    arrived: Tensor,
    n_slots: int,
    layer_offset: int,
) -> Tensor:
    """Do what the kernel does, a row after the other."""
    _, n_head, _, d_head = q.shape
    count = n_head * n_slots * d_head
    z = torch.full_like(q, torch.nan)
    for row, (k_address, v_address, length) in enumerate(zip(k_rows, v_rows, lengths, strict=True)):
        if k_address:
            keys = memory(int(k_address) + 4 * layer_offset, count).view(n_head, n_slots, d_head)
            values = memory(int(v_address) + 4 * layer_offset, count).view(n_head, n_slots, d_head)
            keys[:, length] = k[row, :, 0]
            values[:, length] = v[row, :, 0]
            end = int(length) + 1
            z[row] = torch.nn.functional.scaled_dot_product_attention(q[row], keys[:, :end], values[:, :end])
    return z


@pytest.fixture
def make_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[ArrayWeights], PyTorchEngine]:
    """Make engines that decode as on CUDA."""
    monkeypatch.setattr("cutaway.engines.pytorch.graphs.attend_next_at", attend_plainly)
    monkeypatch.setattr("cutaway.engines.pytorch.engine.has_kernel", lambda *_: True)
    return lambda weights: PyTorchEngine(weights, "float32")


def next_token(engine: PyTorchEngine) -> NextToken:
    assert engine._next_token is not None
    return engine._next_token


def test_rows_that_join_move_and_shrink_are_read_as_by_the_reference(
    make_engine: Callable[[ArrayWeights], PyTorchEngine],
) -> None:
    ours = make_engine(WEIGHTS)
    reference = ReferenceEngine(WEIGHTS)
    cache = ours.new_cache(2)
    expected = reference.new_cache(2)
    rng = np.random.default_rng(1)

    def read(rows: list[int], lengths: list[int]) -> None:
        ids = [rng.integers(0, CONFIG.n_vocab, n).tolist() for n in lengths]
        assert_logits_close(ours.forward(ids, cache, rows=rows), reference.forward(ids, expected, rows=rows))
        assert cache.lengths == expected.lengths

    read([0, 1], [3, 1])
    read([1, 0], [1, 1])
    for each in (cache, expected):
        each.add_rows(GRAPH_ROWS + 2)
        each.copy_row(0, DECODE_ROWS + 1)
        each.truncate([2, 1, *each.lengths[2:]])
    read(list(range(GRAPH_ROWS + 4)), [1] * (GRAPH_ROWS + 4))  # more than are read at once
    read([GRAPH_ROWS + 3, 5, 0], [1, 4, 1])
    read([5], [CONFIG.n_ctx - 5])
    read([4, 6], [1, 1])  # beside a full one


def test_the_bits_of_a_row_do_not_depend_on_the_others(make_engine: Callable[[ArrayWeights], PyTorchEngine]) -> None:
    engine = make_engine(WEIGHTS)
    many = engine.new_cache(GRAPH_ROWS + 1)
    one = engine.new_cache(1)
    engine.forward([[1, 2]] * (GRAPH_ROWS + 1), many)
    engine.forward([[1, 2]], one)
    for token in (3, 4):
        logits = engine.forward([[token]] * (GRAPH_ROWS + 1), many)
        assert (logits == engine.forward([[token]], one)).all()


def test_logits_of_one_call_stay_when_the_next_is_read(make_engine: Callable[[ArrayWeights], PyTorchEngine]) -> None:
    engine = make_engine(WEIGHTS)
    cache = engine.new_cache(1)
    first = engine.forward([[1]], cache)
    kept = first.copy()
    engine.forward([[2]], cache)
    assert (first == kept).all()


def test_after_an_overflow_rows_are_read_the_slow_way(make_engine: Callable[[ArrayWeights], PyTorchEngine]) -> None:
    engine = make_engine(WEIGHTS)
    cache = engine.new_cache(2)
    engine.forward([[1, 2], [3, 4]], cache)
    cache.groups[0].v[:, 1, :, 1] = torch.nan  # of the second row
    logits = engine.forward([[5], [5]], cache)
    assert cache.overflowed
    assert cache.lengths == (3, 3)
    assert_logits_close(logits[:1], ReferenceEngine(WEIGHTS).forward([[1, 2, 5]]))
    assert np.isnan(logits[1]).all()


@dataclass
class FakeGraph:
    """Launches again what was captured."""

    launch: Callable[[], None]
    replays: int = 0

    def replay(self) -> None:
        self.replays += 1
        self.launch()


def test_the_second_call_is_captured_and_replayed_from_then_on(
    make_engine: Callable[[ArrayWeights], PyTorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_engine(WEIGHTS)
    engine = make_engine(WEIGHTS)
    step = next_token(engine)
    graph = FakeGraph(step._launch)
    captured = 0

    def capture() -> FakeGraph:
        nonlocal captured
        captured += 1
        return graph

    monkeypatch.setattr(step, "_capture", capture)
    step._may_capture = True
    replays: list[int] = []
    for cache, expected in [(engine.new_cache(1), plain.new_cache(1)) for _ in range(2)]:  # one graph serves all caches
        for token in (1, 2, 3):
            assert (engine.forward([[token]], cache) == plain.forward([[token]], expected)).all()
            replays.append(graph.replays)
    assert replays == [0, 1, 2, 3, 4, 5]
    assert captured == 1


def test_without_memory_for_a_graph_each_call_is_launched(
    make_engine: Callable[[ArrayWeights], PyTorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_engine(WEIGHTS)
    engine = make_engine(WEIGHTS)
    tries = 0

    def synchronize() -> None:
        nonlocal tries
        tries += 1
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    next_token(engine)._may_capture = True
    cache = engine.new_cache(1)
    expected = plain.new_cache(1)
    for token in (1, 2, 3, 4):
        assert (engine.forward([[token]], cache) == plain.forward([[token]], expected)).all()
    assert tries == 1


def test_modules_of_others_and_other_models_are_not_captured(
    make_engine: Callable[[ArrayWeights], PyTorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PyTorchEngine.from_module(GPT2(CONFIG).eval())._next_token is None
    relative = tiny_weights(relative_positions=4)
    assert make_engine(relative)._next_token is None
    engine = PyTorchEngine(WEIGHTS, "bfloat16")
    monkeypatch.setattr(next_token(engine), "read", None)  # would fail
    cache = engine.new_cache(1)
    engine.forward([[1]], cache, exact=True)  # with a float32 copy of the model
    assert cache.lengths == (1,)


def test_programs_are_about_as_many_as_keep_a_gpu_busy() -> None:
    assert [split_size(1024, rows * 12, block=128) for rows in (1, 8, 16, 64, 1000)] == [128, 128, 256, 1024, 1024]
    assert split_size(48, 3, block=128) == 128
