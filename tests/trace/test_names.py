"""The names of a trace: complete, in order, and each with its shape."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.trace.names import split_name, trace_shapes
from tests.tiny import random_ids, tiny_weights
from tests.trace.tracing import seen_in_one_go, small_models, texts, trace_of

CONFIG = tiny_weights().config


def test_the_names_are_what_the_reference_computes_in_its_order() -> None:
    seen = seen_in_one_go(tiny_weights(), [1, 2, 3])
    assert list(trace_shapes(CONFIG, 3)) == ["ids", *seen]


@settings(max_examples=15)
@given(data=st.data(), weights=small_models())
def test_every_tensor_has_its_shape(data: st.DataObject, weights: ArrayWeights) -> None:
    trace = trace_of(weights, data.draw(texts(weights.config)))
    assert {name: trace[name].shape for name in trace.shapes()} == trace.shapes()


def test_a_narrow_mlp_has_its_own_width() -> None:
    weights = tiny_weights(n_inner=10)
    trace = trace_of(weights, random_ids(weights.config, 5))
    assert trace["mlp_act.1"].shape == trace.shapes()["mlp_act.1"] == (5, 10)


def test_shapes_of_the_smallest_gpt2() -> None:
    shapes = trace_shapes(GPT2Config(), 1024)
    assert len(shapes) == 3 + 12 * 23 + 5 + 2
    assert shapes["attn.11"] == (12, 1024, 1024)
    assert shapes["cache.k"] == (12, 12, 1024, 64)


def test_splits_a_name_into_kind_and_layer() -> None:
    assert split_name(CONFIG, "resid.mid.1") == ("resid.mid", 1)
    assert split_name(CONFIG, "ln1.mean.0") == ("ln1.mean", 0)


NO_NAMES = """. attn attn. attn.2 attn.-1 attn.01 attn.1.0 attn.٠ attn.² Attn.0 h.0 resid.0 wte h.2.ln_1.weight
    lm_head.weight cache.k.0"""


@pytest.mark.parametrize("name", [*NO_NAMES.split(), "", "attn. 1", "attn.0\n", "attn." + "9" * 5000])
def test_rejects_an_unknown_name_in_one_line(name: str) -> None:
    with pytest.raises(UsageError, match="unknown tensor") as caught:
        trace_of(tiny_weights(), [1, 2])[name]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", [3, ("attn", 1), None])
def test_rejects_what_is_no_name(name: Any) -> None:
    with pytest.raises(UsageError, match="unknown tensor"):
        trace_of(tiny_weights(), [1, 2])[name]
