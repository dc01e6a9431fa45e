"""Traces show the weights that an engine computes with, at every precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cutaway.checkpoints import ArrayWeights, Checkpoint, EffectiveWeights, Weights, save_checkpoint
from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.formats import FLOAT32, StoredTensor
from cutaway.numerics import FloatArray
from tests.tiny import assert_logits_close, random_ids, tiny_weights

WEIGHTS = tiny_weights(n_embd=66)  # two blocks of 32 and a bit
SHAPES: list[dict[str, int | bool]] = [{"n_embd": 66}, {"tie_word_embeddings": False}, {"n_inner": 10}]


def as_weights(weights: EffectiveWeights, like: Weights) -> ArrayWeights:
    return ArrayWeights(like.config, dict(weights))


def assert_same(ours: EffectiveWeights, theirs: Weights) -> None:
    assert list(ours) == list(theirs.config.tensor_shapes())
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs.read(name))


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_equals_the_weights_of_the_cpu_engine(shape: dict[str, int | bool]) -> None:
    weights = tiny_weights(**shape)
    int8 = as_weights(EffectiveWeights(weights, "int8"), weights)
    ids = random_ids(weights.config, 30)
    ours = ReferenceEngine(int8).forward([ids], logits="all")
    assert_logits_close(ours, CpuEngine(weights, "int8", threads=1).forward([ids], logits="all", exact=True))
    assert np.abs(ours - ReferenceEngine(weights).forward([ids], logits="all")).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_a_file_of_a_precision_equals_conversion_on_load(tmp_path: Path, dtype: str) -> None:
    save_checkpoint(tmp_path, WEIGHTS, dtype)
    saved = Checkpoint(tmp_path, "x")
    assert_same(EffectiveWeights(WEIGHTS, dtype), saved)
    assert_same(EffectiveWeights(saved, dtype), saved)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_floats_equal_those_of_the_pytorch_engine(dtype: str) -> None:
    held = PyTorchEngine(WEIGHTS, dtype).model.state_dict()
    for name, ours in EffectiveWeights(WEIGHTS, dtype).items():
        theirs = held[name].float().numpy()
        np.testing.assert_array_equal(ours, theirs.T if WEIGHTS.config.tensors[name].transposed else theirs)


def test_float32_equals_the_stored_weights(tmp_path: Path) -> None:
    assert_same(EffectiveWeights(WEIGHTS, "float32"), WEIGHTS)
    save_checkpoint(tmp_path, WEIGHTS, "int8")
    assert_same(EffectiveWeights(Checkpoint(tmp_path, "x"), "float32"), Checkpoint(tmp_path, "x"))


def test_an_int8_file_is_rounded_for_an_engine_of_half_floats(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, WEIGHTS, "int8")
    saved = Checkpoint(tmp_path, "x")
    for name, ours in EffectiveWeights(saved, "bfloat16").items():
        theirs = torch.from_numpy(saved.read(name)).bfloat16().float().numpy()
        np.testing.assert_array_equal(ours, theirs)


class Counted:
    """Weights that say what was read of them."""

    def __init__(self) -> None:
        self.config = WEIGHTS.config
        self.dtype = WEIGHTS.dtype
        self.names: list[str] = []

    def read(self, name: str) -> FloatArray:
        self.names.append(name)
        return WEIGHTS.read(name)

    def stored(self, name: str) -> StoredTensor:
        return StoredTensor(self.config.tensors[name], FLOAT32, {"": self.read(name)})


def test_tensors_are_read_lazily_and_once() -> None:
    counted = Counted()
    weights = EffectiveWeights(counted, "int8")
    assert (len(weights), "wte.weight" in list(weights), counted.names) == (2 + 2 * 12 + 2, True, [])
    assert weights["wpe.weight"] is weights["wpe.weight"]
    assert weights["wte.weight"].dtype == np.float32
    assert counted.names == ["wpe.weight", "wte.weight"]


def test_an_unknown_name_is_a_key_error() -> None:
    weights = EffectiveWeights(WEIGHTS, "int8")
    assert "lm_head.weight" not in weights
    with pytest.raises(KeyError):
        weights["no_such"]


def test_what_is_kept_cannot_be_written_and_what_is_read_can() -> None:
    """Otherwise traces would be of other weights than the engine's."""
    for dtype in ("float32", "int8"):
        weights = EffectiveWeights(WEIGHTS, dtype)
        for name in weights:
            with pytest.raises(ValueError, match="read-only"):
                weights[name][0] = 0
            weights.read(name)[0] = 0
    assert all(array.flags.writeable for array in WEIGHTS.arrays.values())
