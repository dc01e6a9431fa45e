"""Traces of a text whose first tokens see each other."""

import numpy as np
import pytest

from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.trace import Intervention, Trace
from tests.tiny import random_ids, tiny_weights

WEIGHTS = tiny_weights(seed=2)
TENSORS = {name: WEIGHTS.read(name) for name in WEIGHTS.config.tensor_shapes()}
IDS = random_ids(WEIGHTS.config, 7)


def traced(n_prefix: int, ids: list[int] | None = None) -> Trace:
    return Trace(WEIGHTS.config, TENSORS, None, IDS if ids is None else ids, n_prefix=n_prefix)


@pytest.mark.parametrize("n_prefix", [0, 1, 4, 7])
def test_logits_are_the_engines(n_prefix: int) -> None:
    expected = ReferenceEngine(WEIGHTS).forward([IDS], logits="all", n_prefix=[n_prefix])
    np.testing.assert_allclose(traced(n_prefix)["logits"], expected, atol=1e-5)


def test_attention_is_of_the_whole_prefix_and_of_earlier_tokens() -> None:
    trace = traced(4)
    attn = trace["attn.1"]
    visible = np.tri(7, dtype=bool)
    visible[:, :4] = True
    assert (attn[:, visible] > 0).all()
    assert not attn[:, ~visible].any()
    for position in range(7):
        np.testing.assert_allclose(trace.attention_of(1, position), attn[:, position], atol=1e-6)
    np.testing.assert_allclose(trace.attention(1, 1, 2)["attn"], attn[1:2], atol=1e-6)


def test_only_positions_after_the_prefix_are_reused() -> None:
    trace = traced(4)
    later = trace.edit([*IDS[:5], IDS[0], IDS[1]])
    assert (later.n_prefix, later.work.positions_reused) == (4, 5)
    np.testing.assert_allclose(later["logits"], traced(4, list(later.ids))["logits"], atol=1e-5)
    inside = trace.edit([*IDS[:3], (IDS[3] + 1) % WEIGHTS.config.n_vocab, *IDS[4:]])
    assert inside.work.positions_reused == 0
    np.testing.assert_allclose(inside["logits"], traced(4, list(inside.ids))["logits"], atol=1e-5)
    assert trace.append(IDS[0]).work.positions_computed == 1
    shorter = trace.edit(IDS[:2])  # read anew: in the longer prefix its tokens saw what is cut off
    assert (shorter.n_prefix, shorter.work.positions_reused) == (2, 0)
    np.testing.assert_allclose(shorter["logits"], traced(2, IDS[:2])["logits"], atol=1e-5)


def test_interventions_keep_the_prefix() -> None:
    changed = traced(4).intervene(Intervention("scale_head", layer=1, head=1, value=1.0))
    assert changed.n_prefix == 4
    np.testing.assert_allclose(changed["logits"], traced(4)["logits"], atol=1e-5)
    np.testing.assert_allclose(changed.attention_of(1, 2), traced(4).attention_of(1, 2), atol=1e-6)


@pytest.mark.parametrize("position", [1, 3, 5])
def test_the_source_of_a_patch_is_read_with_the_same_prefix(position: int) -> None:
    source = traced(4, random_ids(WEIGHTS.config, 7, seed=1))
    patch = Intervention("patch_residual", layer=1, position=position, source=source.ids)
    patched = traced(4).intervene(patch)["resid.post.1"]
    np.testing.assert_allclose(patched[position], source["resid.post.1"][position], atol=1e-5)


def test_the_source_of_a_patch_may_be_shorter_than_the_prefix() -> None:
    source = traced(2, random_ids(WEIGHTS.config, 2, seed=1))
    patch = Intervention("patch_residual", layer=0, position=0, source=source.ids)
    patched = traced(4).intervene(patch)["resid.post.0"]
    np.testing.assert_allclose(patched[0], source["resid.post.0"][0], atol=1e-5)


def test_a_prefix_is_at_most_the_text() -> None:
    with pytest.raises(UsageError, match="n_prefix must be from 0 to 7, not 8"):
        traced(8)


def test_prefixes_are_refused_with_relative_positions() -> None:
    weights = tiny_weights(relative_positions=9)
    with pytest.raises(UsageError, match="a model with relative positions has only causal attention"):
        Trace(weights.config, weights.arrays, None, IDS, n_prefix=2)
    assert Trace(weights.config, weights.arrays, None, IDS, n_prefix=0)["logits"].any()
