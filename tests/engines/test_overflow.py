"""A token whose numbers overflow: it harms no earlier token, no other sequence, and no token that takes its place."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cutaway.checkpoints import ArrayWeights
from cutaway.engines.cpu.engine import ISAS, CpuEngine
from cutaway.engines.cpu.library import library
from cutaway.engines.protocol import Engine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.formats import FORMATS, StoredTensor
from cutaway.numerics import FloatArray
from tests.tiny import tiny_weights

Make = Callable[[ArrayWeights], Engine]

OVERFLOWING = 60


class Int8Blocks:
    """These weights with the matrices of the blocks in int8, and the embedding in float32."""

    dtype = "int8"

    def __init__(self, weights: ArrayWeights) -> None:
        self.config = weights.config
        self.weights = weights

    def stored(self, name: str) -> StoredTensor:
        stored = self.weights.stored(name)
        return stored.to(FORMATS["int8"]) if stored.spec.quantisable and name.startswith("h.") else stored

    def read(self, name: str) -> FloatArray:
        return np.array(self.stored(name).dequantise())


def cpu(isa: str) -> Make:
    return lambda weights: CpuEngine(weights, threads=2, isa=isa)


def cpu_int8(isa: str) -> Make:
    return lambda weights: CpuEngine(Int8Blocks(weights), threads=2, isa=isa)


AVAILABLE = [isa for isa in ISAS if library().cutaway_isa(isa.encode())]
FLOAT32: dict[str, Make] = {"reference": ReferenceEngine, "pytorch": lambda weights: PyTorchEngine(weights, "float32")}
FLOAT32 |= {isa: cpu(isa) for isa in AVAILABLE}
ENGINES = FLOAT32 | {f"{isa} int8": cpu_int8(isa) for isa in AVAILABLE}


@pytest.fixture(autouse=True)
def no_warnings_of_overflow() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


def overflow_in_embedding(weights: ArrayWeights) -> None:
    """Every number of the token is infinite or NaN from the first LayerNorm on."""
    weights.arrays["wte.weight"][OVERFLOWING] = np.inf


def overflow_in_values(weights: ArrayWeights) -> None:
    """The token is normal until the values of layer 0, which are infinite for it alone."""
    width = weights.config.n_embd
    arrays = weights.arrays
    arrays["wpe.weight"][:, 0] = arrays["h.0.ln_1.bias"][0] = 0
    arrays["h.0.ln_1.weight"][0] = 1
    arrays["wte.weight"][:, 0] = np.random.default_rng(0).uniform(-0.1, 0.1, len(arrays["wte.weight"]))
    arrays["wte.weight"][OVERFLOWING, 0] = 100  # the square root of the width, after LayerNorm
    arrays["h.0.attn.c_attn.weight"][0, : 2 * width] = 0
    arrays["h.0.attn.c_attn.weight"][0, 2 * width :] = 1.5e38
    arrays["h.0.attn.c_proj.weight"][:] *= 1e-37


SHAPES: dict[str, dict[str, int | bool]] = {
    "heads of 8": {"n_layer": 3},
    "heads of 3, rows that end within a block": {"n_embd": 33, "n_head": 11, "n_inner": 47},
    "heads of 64": {"n_embd": 128, "n_head": 2},
}

# A cache of float16 clamps values that are infinite.
CASES = [(make, overflow_in_embedding) for make in ENGINES.values()] + [
    (make, overflow_in_values) for make in FLOAT32.values()
]
NAMES = [f"{name}, embedding" for name in ENGINES] + [f"{name}, values" for name in FLOAT32]

every_case = pytest.mark.parametrize(("make", "overflow"), CASES, ids=NAMES)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def assert_close(ours: FloatArray, expected: FloatArray) -> None:
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


def make_engine(make: Make, shape: dict[str, int | bool], overflow: Callable[[ArrayWeights], None]) -> Engine:
    weights = tiny_weights(tie_word_embeddings=False, **shape)
    overflow(weights)
    return make(weights)


@every_case
@every_shape
def test_an_overflowing_token_harms_no_earlier_one(
    make: Make, shape: dict[str, int | bool], overflow: Callable[[ArrayWeights], None]
) -> None:
    engine = make_engine(make, shape, overflow)
    ids = [(7 * i) % 59 for i in range(21)]
    for place in (1, 2, 4, 11, 20):
        text = [*ids[:place], OVERFLOWING, *ids[place + 1 :]]
        logits = engine.forward([text], logits="all")
        assert_close(logits[:place], engine.forward([ids[:place]], logits="all"))
        assert not np.isfinite(logits[place:]).all(axis=1).any()


@every_case
@every_shape
def test_a_truncated_overflow_harms_no_token_in_its_place(
    make: Make, shape: dict[str, int | bool], overflow: Callable[[ArrayWeights], None]
) -> None:
    engine = make_engine(make, shape, overflow)
    cache = engine.new_cache(2)
    engine.forward([[1, 2, OVERFLOWING, 4, OVERFLOWING], [5, 6, OVERFLOWING]], cache)
    cache.truncate([2, 2])
    expected = engine.forward([[1, 2, 3], [5, 6, 7, 8]])
    assert_close(engine.forward([[3], [7, 8]], cache), expected)


@every_case
@every_shape
def test_an_overflowing_sequence_harms_no_other_in_its_batch(
    make: Make, shape: dict[str, int | bool], overflow: Callable[[ArrayWeights], None]
) -> None:
    engine = make_engine(make, shape, overflow)
    cache = engine.new_cache(3)
    sequences = [[OVERFLOWING] * 3, [4, 5], [OVERFLOWING, 1]]
    assert_close(engine.forward(sequences, cache)[1:2], engine.forward([[4, 5]]))
    assert_close(engine.forward([[1], [6], [OVERFLOWING]], cache)[1:2], engine.forward([[4, 5, 6]]))
    assert_close(engine.forward([[4, 5, 6]]), engine.forward([[4, 5, 6]], engine.new_cache(1)))


@every_case
@every_shape
def test_read_at_once_equals_token_by_token(
    make: Make, shape: dict[str, int | bool], overflow: Callable[[ArrayWeights], None]
) -> None:
    engine = make_engine(make, shape, overflow)
    ids = [(5 * i) % 59 for i in range(13)]
    ids[6] = OVERFLOWING
    cache = engine.new_cache(1)
    one_by_one = np.concatenate([engine.forward([[token]], cache) for token in ids])
    at_once = engine.forward([ids], logits="all")
    if isinstance(engine, CpuEngine):
        np.testing.assert_array_equal(at_once, one_by_one)
    assert_close(at_once[:6], one_by_one[:6])
    assert not np.isfinite(at_once[6:]).all(axis=1).any()
    assert not np.isfinite(one_by_one[6:]).all(axis=1).any()


# PyTorch's fused attention takes such a score for minus infinity; a cache of float16 clamps keys.
@pytest.mark.parametrize("make", [ReferenceEngine, *map(cpu, AVAILABLE)], ids=["reference", *AVAILABLE])
def test_a_score_that_is_nan_is_not_a_weight_of_zero(make: Make) -> None:
    """Infinity minus infinity in a dot product of query and key, whose value is finite."""
    weights = tiny_weights()
    width = weights.config.n_embd
    bias = weights.arrays["h.0.attn.c_attn.bias"]
    bias[: 2 * width] = np.tile([1e20, -1e20], width)
    bias[width : 2 * width] = 1e20
    assert np.isnan(make(weights).forward([[1, 2, 3]])).all()
