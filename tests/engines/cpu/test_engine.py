"""The compiled engine: every instruction set of this processor, both dtypes, and the promise of equal bits."""

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cutaway.checkpoints import ArrayWeights
from cutaway.config import ACTIVATIONS, GPT2Config
from cutaway.engines.cpu.engine import ISAS, CpuEngine
from cutaway.engines.cpu.library import StoredArray, check, library
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import EngineError, UsageError
from cutaway.formats import FORMATS, StoredTensor, quantise
from cutaway.numerics import FloatArray
from tests.random_weights import random_weights
from tests.tiny import MATHEMATICS, assert_logits_close, random_ids, tiny_weights

AVAILABLE = [isa for isa in ISAS if library().cutaway_isa(isa.encode())]

SHAPES: dict[str, dict[str, int | bool]] = {
    "width one": {"n_vocab": 17, "n_ctx": 8, "n_embd": 1, "n_head": 1, "n_layer": 1},
    "heads of one": {"n_vocab": 17, "n_embd": 5, "n_head": 5},
    "heads of three": {"n_embd": 33, "n_head": 11, "n_inner": 7},
    "heads of five": {"n_embd": 15, "n_head": 3, "n_inner": 47},
    "one short block": {"n_embd": 31, "n_head": 1},
    "heads of 64, whole blocks": {"n_vocab": 64, "n_embd": 128, "n_head": 2, "n_ctx": 70},
    "panels beyond a thread's share": {"n_embd": 3, "n_head": 1, "n_layer": 1, "n_inner": 4100},
    "50257 tokens, untied": {"n_vocab": 50257, "n_embd": 32, "n_head": 8, "n_layer": 1, "tie_word_embeddings": False},
}

TRUE_ACTIVATIONS: dict[str, Callable[[float], float]] = {  # in float64
    "gelu_new": lambda x: x / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) if x > -9 else 0,
    "gelu": lambda x: x / 2 * math.erfc(-x / math.sqrt(2)),
    "relu": lambda x: max(0.0, x),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}

every_isa = pytest.mark.parametrize("isa", AVAILABLE)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "int8"])


def dequantised(weights: ArrayWeights) -> ArrayWeights:
    """The model that the int8 engine holds, as float32."""
    arrays = dict(weights.arrays)
    for name, spec in weights.config.tensors.items():
        if spec.quantisable:
            matrix = quantise(arrays[name].T if spec.transposed else arrays[name]).dequantise()
            arrays[name] = matrix.T if spec.transposed else matrix
    return ArrayWeights(weights.config, arrays)


def trained_like_weights() -> ArrayWeights:
    """Weights small enough that attention does not blow a rounding up, as those of a trained model do not."""
    return random_weights(GPT2Config(n_vocab=61, n_ctx=64, n_embd=128, n_head=2, n_layer=2), std=0.08, spread=0.2)


def ragged(engine: CpuEngine, lengths: tuple[int, ...] = (1, 17, 5, 30)) -> list[list[int]]:
    return [random_ids(engine.config, min(n, engine.config.n_ctx), seed) for seed, n in enumerate(lengths)]


def one_by_one(engine: CpuEngine, ids: list[int]) -> FloatArray:
    cache = engine.new_cache(1)
    return np.concatenate([engine.forward([[token]], cache) for token in ids])


def relative_error(ours: FloatArray, truth: FloatArray) -> float:
    """Root mean square of the error over that of the logits' spread."""
    return float(np.sqrt(np.square(ours - truth).mean()) / truth.std())


@every_isa
@every_shape
def test_float32_equals_the_reference(isa: str, shape: dict[str, int | bool]) -> None:
    weights = tiny_weights(**shape)
    engine = CpuEngine(weights, "float32", 2, isa=isa)
    batch = ragged(engine)
    assert_logits_close(engine.forward(batch, logits="all"), ReferenceEngine(weights).forward(batch, logits="all"))


@every_isa
@every_shape
@pytest.mark.slow
def test_exact_int8_equals_the_reference_over_the_dequantised_weights(isa: str, shape: dict[str, int | bool]) -> None:
    weights = tiny_weights(**shape)
    engine = CpuEngine(weights, "int8", 2, isa=isa)
    batch = ragged(engine)
    expected = ReferenceEngine(dequantised(weights)).forward(batch, logits="all")
    assert_logits_close(engine.forward(batch, logits="all", exact=True), expected)
    assert_logits_close(engine.forward(batch, engine.new_cache(4), logits="all", exact=True), expected)


@every_isa
@pytest.mark.parametrize("mathematics", MATHEMATICS.values(), ids=MATHEMATICS)
def test_other_mathematics_equal_the_reference(isa: str, mathematics: dict[str, Any]) -> None:
    weights = tiny_weights(n_layer=3, **mathematics)
    engine = CpuEngine(weights, "float32", 1, isa=isa)
    batch = ragged(engine)
    assert_logits_close(engine.forward(batch, logits="all"), ReferenceEngine(weights).forward(batch, logits="all"))
    ids = random_ids(engine.config, 20)
    np.testing.assert_array_equal(one_by_one(engine, ids), engine.forward([ids], logits="all"))


@every_isa
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_exact_near_0_and_far_from_it(isa: str, activation: str) -> None:
    """The one hidden unit is x, and the residual stream (f(x), -f(x)); the last LayerNorm leaves it nearly linear."""
    sizes: dict[str, Any] = {"n_vocab": 1, "n_ctx": 2, "n_embd": 2, "n_head": 1, "n_layer": 1, "n_inner": 1}
    config = GPT2Config(**sizes, activation_function=activation, layer_norm_epsilon=0.9, tie_word_embeddings=False)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    arrays["h.0.mlp.c_proj.weight"] = np.array([[1, -1]], np.float32)
    arrays["ln_f.weight"] = np.ones(2, np.float32)
    arrays["lm_head.weight"] = np.array([[1, 0]], np.float32)
    function = TRUE_ACTIVATIONS[activation]
    for x in (-30.0, -5.0, -1.0, -0.7, -0.6, -1e-3, 0.0, 1e-4, 0.6, 0.7, 1.0, 5.0, 30.0):
        arrays["h.0.mlp.c_fc.bias"] = np.array([x], np.float32)
        expected = function(x) / math.sqrt(function(x) ** 2 + 0.9)
        logits = CpuEngine(ArrayWeights(config, arrays), "float32", 1, isa=isa).forward([[0]])
        assert logits[0, 0] == pytest.approx(expected, rel=1e-5, abs=1e-9)


@every_isa
def test_quantised_activations_cost_little(isa: str) -> None:
    engine = CpuEngine(trained_like_weights(), "int8", 2, isa=isa)
    ids = random_ids(engine.config, 64)
    assert relative_error(engine.forward([ids], logits="all"), engine.forward([ids], logits="all", exact=True)) < 0.015


@every_isa
def test_outlier_channels_leave_the_int8_error_small(isa: str) -> None:
    """Channels scaled up and their weight rows scaled down is the same function, and must be as easy to quantise."""
    weights = trained_like_weights()
    arrays = dict(weights.arrays)
    factors = np.ones(128, np.float32)
    factors[[3, 40, 77]] = 200
    for layer in range(weights.config.n_layer):
        for norm, reader in (("ln_1", "attn.c_attn"), ("ln_2", "mlp.c_fc")):
            for name in (f"h.{layer}.{norm}.weight", f"h.{layer}.{norm}.bias"):
                arrays[name] = arrays[name] * factors
            arrays[f"h.{layer}.{reader}.weight"] = arrays[f"h.{layer}.{reader}.weight"] / factors[:, None]
    ids = random_ids(weights.config, 64)
    truth = ReferenceEngine(weights).forward([ids], logits="all")
    with_outliers = CpuEngine(ArrayWeights(weights.config, arrays), "int8", 2, isa=isa).forward([ids], logits="all")
    without = CpuEngine(weights, "int8", 2, isa=isa).forward([ids], logits="all")
    assert relative_error(with_outliers, truth) < 1.2 * relative_error(without, truth) < 0.03


@pytest.mark.skipif(len(AVAILABLE) == 1, reason="one instruction set")
@every_dtype
def test_instruction_sets_agree(dtype: str) -> None:
    weights = tiny_weights(n_embd=45, n_head=3)
    ids = random_ids(weights.config, 40)
    results = [CpuEngine(weights, dtype, 1, isa=isa).forward([ids], logits="all") for isa in AVAILABLE]
    for result in results[1:]:  # a rounding apart: an activation between two steps of int8 may fall to either
        assert relative_error(result, results[0]) < (1e-5 if dtype == "float32" else 0.02)


@pytest.mark.skipif("amx" not in AVAILABLE, reason="no tile registers")
@every_shape
def test_tile_registers_give_the_same_bits_as_the_others(shape: dict[str, int | bool]) -> None:
    """As many rows as fit none, one and several of them, in any remainder."""
    weights = tiny_weights(**shape)
    tiles, others = (CpuEngine(weights, "int8", 2, isa=isa) for isa in ("amx", "avx512"))
    longest = min(40, weights.config.n_ctx)
    for length in range(1, longest + 1):
        ids = random_ids(weights.config, length)
        np.testing.assert_array_equal(tiles.forward([ids], logits="all"), others.forward([ids], logits="all"))


NO_PERMISSION = """
import ctypes
from cutaway.engines.cpu.library import library

class SignalStack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

memory = ctypes.create_string_buffer(4096)
stack = SignalStack(ctypes.addressof(memory), 0, len(memory))
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0
assert library().cutaway_isa(None) == b"avx512"
"""


@pytest.mark.skipif("amx" not in AVAILABLE, reason="no tile registers")
def test_where_the_system_refuses_tile_registers_the_others_are_used() -> None:
    """Linux refuses them to a process with a stack for signals that could not hold them."""
    subprocess.run([sys.executable, "-c", NO_PERMISSION], check=True)


@every_isa
@every_dtype
@every_shape
def test_decoding_gives_the_same_bits_as_prefill(isa: str, dtype: str, shape: dict[str, int | bool]) -> None:
    engine = CpuEngine(tiny_weights(**shape), dtype, 2, isa=isa)
    ids = random_ids(engine.config, min(engine.config.n_ctx, 40))
    np.testing.assert_array_equal(one_by_one(engine, ids), engine.forward([ids], logits="all"))


@every_isa
@every_dtype
def test_bits_do_not_depend_on_batch_or_threads(isa: str, dtype: str) -> None:
    weights = tiny_weights(n_embd=48, n_head=3)
    alone = CpuEngine(weights, dtype, 1, isa=isa)
    batch = ragged(alone, (3, 48, 1, 7, 20, 20, 2))
    expected = np.concatenate([alone.forward([ids]) for ids in batch])
    for threads in (1, 2, 3):
        engine = CpuEngine(weights, dtype, threads, isa=isa)
        np.testing.assert_array_equal(engine.forward(batch), expected)
        np.testing.assert_array_equal(engine.forward(batch, engine.new_cache(len(batch))), expected)


@every_dtype
def test_splitting_a_long_batch_changes_nothing(dtype: str) -> None:
    """More tokens than go through the layers at once, with rows that end and begin anywhere."""
    engine = CpuEngine(tiny_weights(n_ctx=700), dtype, 2)
    batch = ragged(engine, (200, 700, 30, 500, 1))
    cache = engine.new_cache(len(batch))
    last = engine.forward(batch, cache)
    np.testing.assert_array_equal(last, np.concatenate([engine.forward([ids]) for ids in batch]))
    every = engine.forward(batch, logits="all")
    np.testing.assert_array_equal(every[np.cumsum([len(ids) for ids in batch]) - 1], last)
    assert cache.lengths == tuple(len(ids) for ids in batch)


@every_isa
def test_embeddings_with_the_smallest_scales_are_read_as_they_are(isa: str) -> None:
    weights = tiny_weights(n_embd=36)
    arrays = {**weights.arrays, "wpe.weight": np.zeros_like(weights.arrays["wpe.weight"])}
    arrays["wte.weight"] = arrays["wte.weight"] * np.where(np.arange(61) % 2, np.float32(3e-3), 1)[:, None]
    small = ArrayWeights(weights.config, arrays)
    assert quantise(arrays["wte.weight"]).scales[1::2].max() < np.finfo(np.float16).smallest_normal
    batch = [[token] for token in range(61)]
    exact = CpuEngine(small, "int8", 1, isa=isa).forward(batch, exact=True)
    assert_logits_close(exact, ReferenceEngine(dequantised(small)).forward(batch))


@pytest.mark.skipif(len(AVAILABLE) == 1, reason="one instruction set")
@pytest.mark.parametrize("size", [1, 1e-5])
def test_instruction_sets_round_keys_and_values_to_the_same_float16(size: float) -> None:
    """A short start makes the cache a float16 one; the exact call after it leaves no other rounding to see."""
    weights = trained_like_weights()
    arrays = dict(weights.arrays)
    for layer in range(weights.config.n_layer):
        factors = np.repeat(np.array([1, 1, size], np.float32), 128)
        for name in (f"h.{layer}.attn.c_attn.weight", f"h.{layer}.attn.c_attn.bias"):
            arrays[name] = arrays[name] * factors
        arrays[f"h.{layer}.attn.c_proj.weight"] = arrays[f"h.{layer}.attn.c_proj.weight"] / np.float32(size)
    ids = random_ids(weights.config, 64)
    results = []
    for isa in AVAILABLE:
        engine = CpuEngine(ArrayWeights(weights.config, arrays), "int8", 1, isa=isa)
        cache = engine.new_cache(1)
        engine.forward([ids[:1]], cache)
        results.append(engine.forward([ids[1:]], cache, "all", exact=True))
    for result in results[1:]:
        assert relative_error(result, results[0]) < 5e-5


@every_isa
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channel", [24, 48], ids=["key", "value"])
def test_values_beyond_float16_are_clamped_to_its_largest(isa: str, sign: int, channel: int) -> None:
    weights = tiny_weights()
    logits = []
    for size in (7e4, 1e6):
        bias = weights.arrays["h.0.attn.c_attn.bias"].copy()
        bias[channel] = sign * size
        arrays = {**weights.arrays, "h.0.attn.c_attn.bias": bias}
        logits.append(CpuEngine(ArrayWeights(weights.config, arrays), "int8", 1, isa=isa).forward([[1, 2, 3]]))
    assert np.isfinite(logits[0]).all()
    np.testing.assert_array_equal(logits[0], logits[1])


@every_isa
@every_dtype
def test_a_row_that_overflows_does_not_affect_later_calls(isa: str, dtype: str) -> None:
    weights = tiny_weights()
    weights.arrays["wte.weight"][5] = 3e38
    engine = CpuEngine(weights, dtype, threads=1, isa=isa)
    ids = random_ids(weights.config, 20)
    fine = [token for token in ids if token != 5]
    before = engine.forward([fine], logits="all")
    engine.forward([[5] * 20])
    np.testing.assert_array_equal(engine.forward([fine], logits="all"), before)


@every_dtype
def test_calls_from_several_threads_wait_for_each_other(dtype: str) -> None:
    engine = CpuEngine(tiny_weights(), dtype, 2)
    batch = ragged(engine)
    expected = [engine.forward([ids]) for ids in batch]
    results: list[FloatArray | None] = [None] * len(batch)

    def work(row: int) -> None:
        for _ in range(20):
            results[row] = engine.forward([batch[row]])

    threads = [threading.Thread(target=work, args=(row,)) for row in range(len(batch))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, truth in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, truth)


def test_int8_weights_run_as_float32_too() -> None:
    weights = tiny_weights()
    engine = CpuEngine(dequantised(weights), "float32")
    ids = random_ids(engine.config, 20)
    exact = CpuEngine(weights, "int8").forward([ids], logits="all", exact=True)
    assert_logits_close(exact, engine.forward([ids], logits="all"))


def test_an_engine_has_its_name_dtype_threads_and_isa() -> None:
    engine = CpuEngine(tiny_weights(), threads=3, isa="portable")
    assert (engine.name, engine.dtype, engine.threads, engine.isa) == ("cpu", "float32", 3, "portable")
    assert CpuEngine(tiny_weights()).isa == AVAILABLE[-1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.forward([]), "at least one"),
        (lambda e: e.forward([[]]), "empty"),
        (lambda e: e.forward([[1], [61]]), "outside"),
        (lambda e: e.forward([[-1]]), "outside"),
        (lambda e: e.forward([[1.5]]), "whole numbers"),
        (lambda e: e.forward([[1] * 49]), "context"),
        (lambda e: e.forward([[1]], logits="some"), "logits"),
        (lambda e: e.forward([[1]], e.new_cache(2)), "2 rows"),
        (lambda e: e.forward([[1]], CpuEngine(tiny_weights()).new_cache(1)), "made it"),
        (lambda e: e.new_cache(0), "rows of a cache must be from 1"),
        (lambda e: CpuEngine(tiny_weights(), "int4"), "int4"),
        (lambda e: CpuEngine(tiny_weights(), threads=0), "threads"),
        (lambda e: CpuEngine(tiny_weights(), isa="mmx"), "mmx"),
    ],
)
def test_rejects_wrong_arguments(call: Callable[[CpuEngine], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(CpuEngine(tiny_weights()))


@every_isa
@pytest.mark.parametrize("channel", [3, 11, 20, 28])  # in each register of a block
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_nan_stays_nan_in_int8(isa: str, broken: float, channel: int) -> None:
    weights = tiny_weights(n_embd=32, n_head=4)
    arrays = dict(weights.arrays)
    arrays["h.1.ln_2.weight"] = np.where(np.arange(32) == channel, np.float32(broken), arrays["h.1.ln_2.weight"])
    engine = CpuEngine(ArrayWeights(weights.config, arrays), "int8", threads=1, isa=isa)
    assert not np.isfinite(engine.forward([[1, 2, 3]])).any()


class MixedWeights:
    """Weights whose matrices are int8 in the layers `int8`, and float32 in the others."""

    dtype = "int8"

    def __init__(self, weights: ArrayWeights, *int8: str) -> None:
        self.config = weights.config
        self.weights = weights
        self.int8 = int8

    def read(self, name: str) -> FloatArray:
        return self.stored(name).dequantise()

    def stored(self, name: str) -> StoredTensor:
        stored = self.weights.stored(name)
        quantised = stored.spec.quantisable and name.startswith(self.int8)
        return stored.to(FORMATS["int8"]) if quantised else stored


@every_isa
@pytest.mark.parametrize("int8", [("h.1.",), ("h.0.mlp.", "wte."), ("h.", "lm_head."), ("lm_head.",)])
def test_a_model_of_mixed_formats_equals_the_reference_over_its_effective_weights(
    isa: str, int8: tuple[str, ...]
) -> None:
    mixed = MixedWeights(tiny_weights(n_embd=66, tie_word_embeddings=False), *int8)
    engine = CpuEngine(mixed, threads=2, isa=isa)
    batch = ragged(engine)
    expected = ReferenceEngine(mixed).forward(batch, logits="all")
    assert_logits_close(engine.forward(batch, logits="all", exact=True), expected)
    assert 1e-4 < relative_error(engine.forward(batch, logits="all"), expected) < 0.1
    for ids in batch:
        np.testing.assert_array_equal(one_by_one(engine, ids), engine.forward([ids], logits="all"))


@every_isa
def test_mixed_weights_are_converted_to_the_format_asked_for(isa: str) -> None:
    weights = tiny_weights(n_embd=66)
    mixed = MixedWeights(weights, "h.1.")
    batch = [random_ids(weights.config, 20)]
    np.testing.assert_array_equal(
        CpuEngine(mixed, "float32", 1, isa=isa).forward(batch),
        CpuEngine(
            ArrayWeights(weights.config, {name: mixed.read(name) for name in weights.arrays}), threads=1, isa=isa
        ).forward(batch),
    )


def test_the_library_rejects_unknown_tensors_and_formats() -> None:
    engine = CpuEngine(tiny_weights(), threads=1)
    values = np.zeros((61, 24), np.float32)
    arrays = (StoredArray * 1)(StoredArray(values.ctypes.data, 24, 1))
    for name, stored_format in ((b"h.2.ln_1.weight", b"float32"), (b"wte.weight", b"int3")):
        with pytest.raises(EngineError, match="no such tensor or format"):
            check(library().cutaway_load(engine._handle, name, stored_format, arrays))


@every_isa
@pytest.mark.parametrize("gain", [0.0, 1e-45, 1e-39, 1e-38, 1e-37, 3e-37, 1e-36, 1e-30])
def test_activations_next_to_zero_are_quantised_to_next_to_zero(isa: str, gain: float) -> None:
    weights = tiny_weights(n_embd=64, n_head=2, tie_word_embeddings=False)
    weights.arrays["ln_f.weight"][:] = gain
    weights.arrays["ln_f.bias"][:] = 0
    engine = CpuEngine(weights, "int8", threads=1, isa=isa)
    logits = engine.forward([[1, 2, 3]])
    exact = engine.forward([[1, 2, 3]], exact=True)
    largest = 8 * np.float64(gain)  # of the activations: the square root of the width
    step = max(largest / 127, 4e-37)  # a block of smaller numbers becomes 0
    bound = step * np.abs(weights.arrays["lm_head.weight"], dtype=np.float64).sum(axis=1)
    assert (np.abs(logits[0].astype(np.float64) - exact[0]) <= bound).all()


RELOAD_AFTER_FORK = """
import os, signal, sys
from cutaway.engines.cpu.engine import CpuEngine
from tests.tiny import tiny_weights

engine = CpuEngine(tiny_weights(), threads=int(sys.argv[1]))
cache = engine.new_cache(1)
expected = engine.forward([[1, 2]], cache)
child = os.fork()
if not child:
    signal.alarm(60)
    engine = CpuEngine(tiny_weights(), threads=int(sys.argv[1]))  # frees the inherited one
    cache = engine.new_cache(1)
    os._exit(0 if (engine.forward([[1, 2]], cache) == expected).all() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (engine.forward([[1, 2]]) == expected).all()  # the parent's is untouched
"""


@pytest.mark.parametrize("threads", ["1", "2", "8"])
def test_engine_loads_again_in_a_forked_child(threads: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", RELOAD_AFTER_FORK, threads]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
