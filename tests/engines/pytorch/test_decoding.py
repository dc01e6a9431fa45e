"""Decoding of rows that lie anywhere, on a CPU: the kernel in Triton's interpreter, or PyTorch in its place, and a
function for a CUDA graph.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.engines.pytorch import decoding
from cutaway.engines.pytorch.decoding import GRAPH_ROWS, NextToken, attend_next, has_kernel, is_exact, split_sizes
from cutaway.engines.pytorch.engine import DECODE_ROWS, PyTorchEngine
from cutaway.engines.pytorch.model import GPT2
from cutaway.engines.reference import ReferenceEngine
from tests.tiny import assert_logits_close, tiny_weights

WEIGHTS = tiny_weights()
CONFIG = WEIGHTS.config
CPU = torch.device("cpu")

MakeEngine = Callable[[ArrayWeights], PyTorchEngine]


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
            slot = min(int(length), n_slots - 1)
            keys[:, slot] = k[row, :, 0]
            values[:, slot] = v[row, :, 0]
            end = slot + 1
            z[row] = torch.nn.functional.scaled_dot_product_attention(q[row], keys[:, :end], values[:, :end])
    return z


@pytest.fixture
def make_engine(monkeypatch: pytest.MonkeyPatch) -> MakeEngine:
    """Make engines that decode as on CUDA."""
    monkeypatch.setattr(decoding, "attend_next", attend_plainly)
    monkeypatch.setattr("cutaway.engines.pytorch.engine.has_kernel", lambda *_: True)
    return lambda weights: PyTorchEngine(weights, "float32")


def next_token(engine: PyTorchEngine) -> NextToken:
    assert engine._next_token is not None
    return engine._next_token


# The kernel


def small(n_head: int, d_head: int, n_slots: int, n_layer: int = 2) -> GPT2Config:
    return GPT2Config(n_vocab=5, n_ctx=n_slots, n_embd=n_head * d_head, n_head=n_head, n_layer=n_layer)


@pytest.mark.parametrize(
    ("config", "dtype", "n_programs"),
    [
        (small(2, 64, 300), torch.float32, 1024),  # three programs of one block
        (small(2, 48, 600, n_layer=1), torch.float32, 128),  # three of two blocks, and numbers that are padding
        (small(3, 8, 40), torch.bfloat16, 1),  # one program
        (small(1, 256, 100), torch.float16, 1024),
    ],
)
@pytest.mark.slow
def test_the_kernel_agrees_with_attention(
    config: GPT2Config, dtype: torch.dtype, n_programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(decoding, "N_PROGRAMS", n_programs)
    assert is_exact(CPU, dtype, config, DECODE_ROWS * config.n_ctx * config.n_embd)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_the_kernel_lets_infinity_and_nan_through() -> None:
    pytest.importorskip("triton")
    q = torch.ones(3, 1, 1, 16)
    cache = torch.ones(3, 1, 4, 16)
    cache[0, 0, 1] = torch.inf
    cache[1, 0, 1] = torch.nan
    rows = torch.tensor([row.data_ptr() for row in cache])
    arrived = torch.zeros(3, 1, dtype=torch.int32)
    found = attend_next(q, q, q, rows, rows, torch.tensor([2, 2, 3]), arrived, 4, 0)
    assert not found[:2].isfinite().any()
    assert (found[2] == 1).all()


def test_programs_are_about_as_many_as_keep_a_gpu_busy() -> None:
    found = [split_sizes(1024, rows * 12, 64) for rows in (1, 8, 16, 64, 1000)]
    assert found == [(128, split) for split in (128, 128, 256, 1024, 1024)]
    assert split_sizes(48, 3, 64) == (128, 128)


# The check of the kernel, with PyTorch in its place

CHECKED = small(2, 8, 2100)
STRIDE = DECODE_ROWS * CHECKED.n_ctx * CHECKED.n_embd


def test_the_check_passes_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "attend_next", attend_plainly)
    assert is_exact(CPU, torch.float32, CHECKED, STRIDE)


def is_too_large(z: Tensor, call: int, k_rows: Tensor, lengths: Tensor, arrived: Tensor) -> None:
    z.mul_(1 + 1 / 300)


def differs_once(z: Tensor, call: int, k_rows: Tensor, lengths: Tensor, arrived: Tensor) -> None:
    if call == 3:
        z.mul_(1 + 2**-23)


def writes_beside(z: Tensor, call: int, k_rows: Tensor, lengths: Tensor, arrived: Tensor) -> None:
    place = int(k_rows[1]) + (4 * STRIDE if call % 3 else 0)
    memory(place - 4, 1).fill_(1.0)


def counts_on(z: Tensor, call: int, k_rows: Tensor, lengths: Tensor, arrived: Tensor) -> None:
    arrived[0, 0] = 1


def is_nan(z: Tensor, call: int, k_rows: Tensor, lengths: Tensor, arrived: Tensor) -> None:
    z[int(lengths.argmax()), 0, 0, 0] = torch.nan


Fault = Callable[[Tensor, int, Tensor, Tensor, Tensor], None]


@pytest.mark.parametrize("fault", [is_too_large, differs_once, writes_beside, counts_on, is_nan])
def test_the_check_finds_a_fault(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def attend(
        q: Tensor, k: Tensor, v: Tensor, k_rows: Tensor, v_rows: Tensor, lengths: Tensor, arrived: Tensor, *where: int
    ) -> Tensor:
        nonlocal calls
        n_slots, layer_offset = where
        z = attend_plainly(q, k, v, k_rows, v_rows, lengths, arrived, n_slots, layer_offset)
        fault(z, calls, k_rows, lengths, arrived)
        calls += 1
        return z

    monkeypatch.setattr(decoding, "attend_next", attend)
    assert not is_exact(CPU, torch.float32, CHECKED, STRIDE)


def test_the_check_finds_keys_that_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def attend(
        q: Tensor, k: Tensor, v: Tensor, k_rows: Tensor, v_rows: Tensor, lengths: Tensor, *others: Any
    ) -> Tensor:
        z = attend_plainly(q, k, v, k_rows, v_rows, lengths, *others)
        row = int(lengths.eq(1).nonzero()[0])
        n_slots, layer_offset = others[1:]
        memory(int(k_rows[row]) + 4 * layer_offset, 2 * n_slots * 8).view(2, n_slots, 8)[:, 1] = torch.nan
        return z

    monkeypatch.setattr(decoding, "attend_next", attend)
    assert not is_exact(CPU, torch.float32, CHECKED, STRIDE)


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_check_finds_a_look_at_slots_that_are_not_held(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def attend(
        q: Tensor, k: Tensor, v: Tensor, k_rows: Tensor, v_rows: Tensor, lengths: Tensor, *others: Any
    ) -> Tensor:
        row = int(lengths.eq(1).nonzero()[0])
        n_slots, layer_offset = others[1:]
        seen = float(memory(int(k_rows[row]) + 4 * layer_offset, n_slots * 8).view(n_slots, 8)[1 + ahead, 0])
        z = attend_plainly(q, k, v, k_rows, v_rows, lengths, *others)
        z[row] += 0 * seen
        return z

    monkeypatch.setattr(decoding, "attend_next", attend)
    assert not is_exact(CPU, torch.float32, CHECKED, STRIDE)


def test_there_is_no_kernel_without_cuda_or_in_an_interpreter_or_for_what_it_cannot_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = has_kernel.__wrapped__
    monkeypatch.setattr(decoding, "is_exact", lambda *_: True)
    assert not find(CPU, torch.float32, CHECKED, STRIDE)
    cuda = torch.device("cuda")
    assert not find(cuda, torch.float32, CHECKED, STRIDE)  # by Triton's interpreter, or without Triton
    monkeypatch.setitem(sys.modules, "triton", type("Triton", (), {"JITFunction": object}))
    kernels = type("Kernels", (), {"attend_next_kernel": object()})
    monkeypatch.setitem(sys.modules, "cutaway.engines.pytorch.decode_kernel", kernels)
    assert find(cuda, torch.float32, CHECKED, STRIDE)
    assert not find(cuda, torch.float32, small(1, 6, 5), STRIDE)  # keys are not aligned
    assert not find(cuda, torch.float32, tiny_weights(relative_positions=4).config, STRIDE)
    monkeypatch.setattr(decoding, "is_exact", lambda *_: 1 / 0)
    assert not find(cuda, torch.float32, CHECKED, STRIDE)


# Decoding


def test_rows_that_join_move_and_shrink_are_read_as_by_the_reference(make_engine: MakeEngine) -> None:
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
    assert next_token(ours).is_verified


def test_the_bits_of_a_row_do_not_depend_on_the_others(make_engine: MakeEngine) -> None:
    engine = make_engine(WEIGHTS)
    many = engine.new_cache(GRAPH_ROWS + 1)
    one = engine.new_cache(1)
    engine.forward([[1, 2]] * (GRAPH_ROWS + 1), many)
    engine.forward([[1, 2]], one)
    for token in (3, 4):
        logits = engine.forward([[token]] * (GRAPH_ROWS + 1), many)
        assert (logits == engine.forward([[token]], one)).all()


def test_logits_of_one_call_stay_when_the_next_is_read(make_engine: MakeEngine) -> None:
    engine = make_engine(WEIGHTS)
    cache = engine.new_cache(1)
    first = engine.forward([[1]], cache)
    kept = first.copy()
    engine.forward([[2]], cache)
    assert (first == kept).all()


def test_after_an_overflow_rows_are_read_the_slow_way(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(WEIGHTS)
    for is_verified in (False, True):
        cache = engine.new_cache(2)
        engine.forward([[1, 2], [3, 4]], cache)
        cache.groups[0].v[:, 1, :, 1] = torch.nan  # of the second row
        assert next_token(engine).is_verified == is_verified
        logits = engine.forward([[5], [5]], cache)
        assert cache.overflowed
        assert cache.lengths == (3, 3)
        assert_logits_close(logits[:1], ReferenceEngine(WEIGHTS).forward([[1, 2, 5]]))
        assert np.isnan(logits[1]).all()
        with monkeypatch.context() as patch:
            patch.setattr(next_token(engine), "read", None)  # would fail
            assert_logits_close(engine.forward([[6], [6]], cache)[:1], ReferenceEngine(WEIGHTS).forward([[1, 2, 5, 6]]))
        engine.forward([[1]], engine.new_cache(1))


def test_an_overflow_among_some_rows_leaves_what_others_have_read(make_engine: MakeEngine) -> None:
    engine = make_engine(WEIGHTS)
    engine.forward([[1]], engine.new_cache(1))
    count = GRAPH_ROWS + 1
    cache = engine.new_cache(count)
    engine.forward([[1, 2]] * count, cache)
    cache.groups[0].v[:, 0, :, 1] = torch.nan
    rows = [*range(1, count), 0]  # the last beside rows of its group that are read before
    engine.forward([[3]] * count, cache, rows=rows)
    assert cache.overflowed
    assert cache.lengths == (3,) * count
    logits = engine.forward([[4]] * count, cache, rows=rows)
    expected = ReferenceEngine(WEIGHTS).forward([[1, 2, 3, 4]])
    assert_logits_close(logits[:-1], np.repeat(expected, count - 1, 0))


def test_whoever_disagrees_with_groups_is_not_asked_again(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_wrong_offset(q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Tensor:
        k_rows, v_rows, lengths, arrived, n_slots, _ = others
        return attend_plainly(q, k, v, k_rows, v_rows, lengths, arrived, n_slots, 0)

    def without_values(q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Tensor:
        return attend_plainly(q, k, torch.zeros_like(v), *others)

    def without_writing(
        q: Tensor, k: Tensor, v: Tensor, k_rows: Tensor, v_rows: Tensor, lengths: Tensor, *others: Any
    ) -> Tensor:
        offset = 4 * others[-1]
        rows = [memory(int(row) + offset, CONFIG.n_ctx * CONFIG.n_embd) for row in k_rows if row]
        before = [row.clone() for row in rows]
        z = attend_plainly(q, k, v, k_rows, v_rows, lengths, *others)
        for row, kept in zip(rows, before, strict=True):
            row.copy_(kept)
        return z

    for wrong in (with_wrong_offset, without_values, without_writing, lambda q, *_: torch.full_like(q, torch.nan)):
        engine = make_engine(WEIGHTS)
        monkeypatch.setattr(decoding, "attend_next", wrong)
        cache = engine.new_cache(GRAPH_ROWS + 1)
        engine.forward([[1, 2], [3, 4, 5]], cache, rows=[0, GRAPH_ROWS])
        logits = engine.forward([[6]] * GRAPH_ROWS + [[7]], cache)
        assert engine._next_token is None
        assert not cache.overflowed
        assert_logits_close(logits[:1], ReferenceEngine(WEIGHTS).forward([[1, 2, 6]]))
        logits = engine.forward([[9]], cache, rows=[GRAPH_ROWS])
        assert_logits_close(logits, ReferenceEngine(WEIGHTS).forward([[3, 4, 5, 7, 9]]))


@dataclass
class FakeGraph:
    """Launches again what was captured, and then does what makes it wrong."""

    launch: Callable[[], None]
    spoil: Callable[[], object]
    replays: int = 0

    def replay(self) -> None:
        self.replays += 1
        self.launch()
        self.spoil()


@pytest.mark.parametrize("fault", ["none", "logits", "keys"])
def test_a_graph_is_replayed_if_it_computes_the_same(
    fault: str, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_engine(WEIGHTS)
    engine = make_engine(WEIGHTS)
    assert engine.decodes_with == "modules"
    step = next_token(engine)
    caches = [engine.new_cache(1), engine.new_cache(1)]  # one graph serves all
    spoil: dict[str, Callable[[], object]] = {
        "none": lambda: None,
        "logits": lambda: step._found[0, 2].mul_(1 + 2**-20),
        "keys": lambda: caches[0].groups[0].k[1, 0, 0, 0, 0].mul_(2),
    }
    graph = FakeGraph(step._launch, spoil[fault])
    captured = 0

    def capture() -> bool:
        nonlocal captured
        captured += 1
        step._graph = graph  # type: ignore[assignment]
        return True

    monkeypatch.setattr(step, "capture", capture)
    for cache, expected in [(cache, plain.new_cache(1)) for cache in caches]:
        engine.forward([[4]], cache)
        plain.forward([[4]], expected)
        for token in (1, 2, 3):
            assert (engine.forward([[token]], cache) == plain.forward([[token]], expected)).all()
    assert graph.replays == {"none": 9, "logits": 1, "keys": 1}[fault]
    assert captured == 1
    assert engine.decodes_with == ("graph" if fault == "none" else "kernel")


def test_without_memory_for_a_graph_each_call_is_launched(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def no_memory() -> None:
        nonlocal tries
        tries += 1
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine = make_engine(WEIGHTS)
    step = next_token(engine)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", no_memory)
    assert not step.capture()
    assert tries == 0  # not on CUDA
    monkeypatch.setattr(step, "_inputs", type("Inputs", (), {"device": torch.device("cuda")}))
    assert not step.capture()
    assert tries == 1
    assert step._graph is None


def test_threads_take_turns(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(WEIGHTS)
    step = next_token(engine)
    read = step.read
    is_locked: list[bool] = []

    def heard(*arguments: Any) -> Tensor | None:
        is_locked.append(step.lock.locked())
        return read(*arguments)

    monkeypatch.setattr(step, "read", heard)
    monkeypatch.setattr(step, "capture", lambda: is_locked.append(step.lock.locked()))
    engine.forward([[1]], engine.new_cache(1))
    assert is_locked == [True, True, True]
    assert not step.lock.locked()


def test_errors_of_a_launch_surface(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Tensor:
        raise torch.AcceleratorError("CUDA error") if hasattr(torch, "AcceleratorError") else RuntimeError("CUDA error")

    engine = make_engine(WEIGHTS)
    monkeypatch.setattr(decoding, "attend_next", fails)
    cache = engine.new_cache(1)
    with pytest.raises(RuntimeError, match="CUDA error"):
        engine.forward([[1]], cache)
    assert cache.lengths == (0,)
    monkeypatch.setattr(decoding, "attend_next", attend_plainly)
    assert_logits_close(engine.forward([[1]], cache), ReferenceEngine(WEIGHTS).forward([[1]]))


def test_modules_of_others_and_other_models_are_not_captured(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PyTorchEngine.from_module(GPT2(CONFIG).eval())._next_token is None
    engine = PyTorchEngine(WEIGHTS, "bfloat16")
    monkeypatch.setattr(next_token(engine), "read", None)  # would fail
    cache = engine.new_cache(1)
    engine.forward([[1]], cache, exact=True)  # with a float32 copy of the model
    assert cache.lengths == (1,)


def test_rows_move_after_an_exact_call() -> None:
    engine = PyTorchEngine(WEIGHTS, "bfloat16")
    cache = engine.new_cache(2)
    engine.forward([[1, 2]], cache, rows=[0], exact=True)
    cache.copy_row(0, 1)
    assert cache.lengths == (2, 2)


def test_a_call_runs_on_the_device_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PyTorchEngine(WEIGHTS, "float32")
    weight = engine.model.wpe.weight
    hidden = engine.model.hidden
    is_inside: list[bool] = [False]

    @contextmanager
    def device_of(x: Tensor) -> Iterator[None]:
        is_inside.append(x is weight)
        yield
        is_inside.append(False)

    def read(*arguments: Any, **named: Any) -> Tensor:
        assert is_inside[-1]
        return hidden(*arguments, **named)

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(engine.model, "hidden", read)
    engine.forward([[1]])
    assert is_inside == [False, True, False]
