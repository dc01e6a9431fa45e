"""`exact`: float32 arithmetic over weights of any dtype; and numbers that overflow."""

from typing import Any

import numpy as np
import pytest
import torch

from cutaway.checkpoints import ArrayWeights, EffectiveWeights
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.pytorch.model import GPT2
from cutaway.engines.reference import ReferenceEngine
from tests.tiny import assert_logits_close, tiny_weights

IDS = [3, 14, 15, 9, 26, 5]
WEIGHTS = tiny_weights()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_exact_logits_are_those_of_the_rounded_weights_in_float32(dtype: str) -> None:
    engine = PyTorchEngine(WEIGHTS, dtype)
    rounded = EffectiveWeights(WEIGHTS, dtype)
    reference = ReferenceEngine(ArrayWeights(WEIGHTS.config, {name: rounded.read(name) for name in rounded}))
    expected = reference.forward([IDS], logits="all")
    assert_logits_close(engine.forward([IDS], logits="all", exact=True), expected)
    cache = engine.new_cache(1)
    assert_logits_close(engine.forward([IDS[:4]], cache, "all", exact=True), expected[:4])
    assert_logits_close(engine.forward([IDS[4:5]], cache, exact=True), expected[4:5])
    assert_logits_close(engine.forward([IDS[5:]], cache, exact=True), expected[5:])


def test_a_cache_serves_exact_calls_and_others() -> None:
    engine = PyTorchEngine(WEIGHTS, "bfloat16")
    plain = engine.new_cache(1)
    first = engine.forward([IDS[:4]], plain)
    mixed = engine.new_cache(1)
    engine.forward([IDS[:4]], mixed, exact=True)
    mixed.truncate([0])
    assert (engine.forward([IDS[:4]], mixed) == first).all()
    mixed.add_rows(9)
    assert engine.forward([IDS[4:5]], mixed, rows=[9], exact=True).shape == (1, WEIGHTS.config.n_vocab)


def test_a_cache_in_which_numbers_overflowed_is_read_the_slow_way_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tiny_weights()
    arrays = dict(weights.arrays)
    for name in ("c_fc", "c_proj"):
        arrays[f"h.0.mlp.{name}.weight"] = arrays[f"h.0.mlp.{name}.weight"] * np.float32(1e25)
    engine = PyTorchEngine(ArrayWeights(weights.config, arrays))
    slowly: list[bool] = []
    hidden = GPT2.hidden

    def recorded(model: GPT2, *arguments: Any, despite_overflow: bool = False, **more: Any) -> torch.Tensor:
        slowly.append(despite_overflow)
        return hidden(model, *arguments, despite_overflow=despite_overflow, **more)

    monkeypatch.setattr(GPT2, "hidden", recorded)
    cache = engine.new_cache(1)
    for ids in ([1, 2], [3], [4]):
        engine.forward([ids], cache)
    assert slowly == [False, True, True, True]
    assert cache.lengths == (4,)
