"""Weights in memory, and the random ones of the tests."""

import numpy as np
import pytest

from cutaway.checkpoints.weights import ArrayWeights, Weights
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.formats import FLOAT32
from tests.random_weights import RandomWeights, random_weights

SMALL = GPT2Config(n_vocab=96, n_ctx=16, n_embd=64, n_head=2, n_layer=2, tie_word_embeddings=False)


def test_arrays_are_read_as_fresh_copies() -> None:
    weights: Weights = random_weights(SMALL)
    weights.read("ln_f.bias")[:] = 7
    assert not weights.read("ln_f.bias").any()
    assert weights.stored("wte.weight").format is FLOAT32


def test_random_weights_have_the_shapes_and_the_initialisation_of_gpt2() -> None:
    weights = random_weights(SMALL, seed=3)
    for name, shape in SMALL.tensor_shapes().items():
        assert weights.read(name).shape == shape
        assert weights.read(name).dtype == np.float32
    assert weights.read("wte.weight").std() == pytest.approx(0.02, rel=0.05)
    assert weights.read("wpe.weight").std() == pytest.approx(0.01, rel=0.1)
    assert weights.read("h.1.mlp.c_proj.weight").std() == pytest.approx(0.01, rel=0.05)
    assert (weights.read("h.0.ln_1.weight") == 1).all()
    assert not weights.read("h.0.mlp.c_fc.bias").any()


def test_random_weights_depend_on_the_seed_and_the_name_only() -> None:
    again = RandomWeights(SMALL, seed=3)
    assert np.array_equal(random_weights(SMALL, seed=3).read("wte.weight"), again.read("wte.weight"))
    assert not np.array_equal(random_weights(SMALL, seed=4).read("wte.weight"), again.read("wte.weight"))
    assert not np.array_equal(again.read("h.0.attn.c_attn.weight"), again.read("h.1.attn.c_attn.weight"))


def test_spread_perturbs_biases_and_gains() -> None:
    weights = random_weights(SMALL, spread=0.1)
    assert 0.02 < weights.read("h.0.attn.c_attn.bias").std() < 0.2
    assert 0.02 < (weights.read("ln_f.weight") - 1).std() < 0.2


def test_arrays_must_be_those_of_the_config() -> None:
    arrays = dict(random_weights(SMALL).arrays)
    with pytest.raises(UsageError, match=r"^extra is not a tensor of this GPT-2$"):
        ArrayWeights(SMALL, arrays | {"extra": np.zeros(1, np.float32)})
    with pytest.raises(UsageError, match=r"^ln_f.bias must have the shape \(64,\), not \(65,\)$"):
        ArrayWeights(SMALL, arrays | {"ln_f.bias": np.zeros(65, np.float32)})
    del arrays["wpe.weight"]
    with pytest.raises(UsageError, match=r"^the tensor wpe.weight is missing$"):
        ArrayWeights(SMALL, arrays)
