"""A trace's tensors against one plain run of the reference and against transformers; what it keeps and lets go."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.checkpoints import ArrayWeights
from cutaway.engines.reference import block, embed, lm_head, merge_heads
from cutaway.errors import NonFiniteError, UsageError
from cutaway.numerics import FloatArray
from cutaway.trace import Intervention, Trace
from cutaway.trace import trace as trace_module
from cutaway.trace.heads import search
from cutaway.trace.lens import direct_logit_attribution, divergence, logit_lens
from cutaway.trace.names import ATTENDED, attended
from tests.tiny import assert_logits_close, peer_model, random_ids, tiny_weights
from tests.trace.tracing import EXAMPLES, interventions, seen_in_one_go, small_models, texts, trace_of

WEIGHTS = tiny_weights()
IDS = random_ids(WEIGHTS.config, 30)


@settings(max_examples=20)
@given(data=st.data(), weights=small_models())
def test_every_tensor_equals_the_references(data: st.DataObject, weights: ArrayWeights) -> None:
    ids = data.draw(texts(weights.config))
    changes = data.draw(st.lists(interventions(weights.config, len(ids)), max_size=2))
    trace = trace_of(weights, ids, *changes)
    seen = seen_in_one_go(weights, ids, *changes)
    assert trace["ids"].tolist() == ids
    for name, array in seen.items():
        assert_logits_close(trace[name], array)


@pytest.mark.parametrize("shape", [{}, {"tie_word_embeddings": False}, {"n_embd": 48, "n_head": 12, "n_layer": 3}])
def test_tensors_equal_the_peers(shape: dict[str, int | bool]) -> None:
    weights = tiny_weights(**shape)
    trace = trace_of(weights, IDS)
    peer = peer_model(weights)
    peer.set_attn_implementation("eager")
    with torch.no_grad():
        theirs = peer(torch.tensor([IDS]), output_hidden_states=True, output_attentions=True, use_cache=True)
    for layer in range(weights.config.n_layer):
        assert_logits_close(trace[f"resid.pre.{layer}"], theirs.hidden_states[layer][0].numpy())
        assert_logits_close(trace[f"attn.{layer}"], theirs.attentions[layer][0].numpy())
        assert_logits_close(trace["cache.k"][layer], theirs.past_key_values.layers[layer].keys[0].numpy())
        assert_logits_close(trace["cache.v"][layer], theirs.past_key_values.layers[layer].values[0].numpy())
    assert_logits_close(trace["ln_f"], theirs.hidden_states[-1][0].numpy())
    assert_logits_close(trace["logits"], theirs.logits[0].numpy())
    assert_logits_close(trace["probs"], theirs.logits[0].softmax(-1).numpy())


@settings(max_examples=20)
@given(data=st.data(), weights=small_models())
def test_attention_sums_to_one_over_earlier_tokens(data: st.DataObject, weights: ArrayWeights) -> None:
    trace = trace_of(weights, data.draw(texts(weights.config)))
    for layer in range(weights.config.n_layer):
        attn = trace[f"attn.{layer}"]
        np.testing.assert_allclose(attn.sum(axis=-1), 1, atol=1e-6)
        assert not attn[:, ~np.tri(len(trace), dtype=bool)].any()
        assert (trace[f"masked.{layer}"][:, ~np.tri(len(trace), dtype=bool)] == -1e10).all()


def test_the_residual_stream_is_a_sum() -> None:
    trace = trace_of(WEIGHTS, IDS)
    np.testing.assert_array_equal(trace["resid.pre.0"], trace["tok_emb"] + trace["pos_emb"])
    for layer in range(2):
        middle = trace[f"resid.mid.{layer}"]
        np.testing.assert_array_equal(middle, trace[f"resid.pre.{layer}"] + trace[f"attn_out.{layer}"])
        np.testing.assert_array_equal(trace[f"resid.post.{layer}"], middle + trace[f"mlp_out.{layer}"])
    np.testing.assert_array_equal(trace["resid.post.0"], trace["resid.pre.1"])


def test_a_layer_norm_has_its_mean_and_its_scale() -> None:
    trace = trace_of(WEIGHTS, IDS)
    x = trace["resid.mid.1"]
    gain = trace["h.1.ln_2.weight"]
    bias = trace["h.1.ln_2.bias"]
    normal = (x - trace["ln2.mean.1"]) * trace["ln2.rstd.1"]
    np.testing.assert_array_equal(trace["ln2.1"], normal * gain + bias)
    np.testing.assert_allclose(normal.mean(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(normal.var(axis=-1), 1, atol=1e-3)


def test_checkpoint_tensors_keep_their_names() -> None:
    trace = trace_of(WEIGHTS, IDS)
    for name, array in WEIGHTS.arrays.items():
        np.testing.assert_array_equal(trace[name], array)


def test_some_heads_equal_those_of_the_layer() -> None:
    trace = trace_of(WEIGHTS, IDS)
    some = trace.attention(1, 1, 3)
    assert list(some) == list(ATTENDED)
    for kind, array in some.items():
        assert_logits_close(array, trace[f"{kind}.1"][1:3])


def test_a_trace_has_the_part_of_relative_positions() -> None:
    weights = tiny_weights(relative_positions=7)
    trace = trace_of(weights, IDS)
    seen = seen_in_one_go(weights, IDS)
    assert [name for name in trace if name.endswith(".1")][8:11] == ["scores_rel.1", "scores_raw.1", "scores.1"]
    for name in trace:
        if name != "ids":
            assert_logits_close(trace[name], seen[name])
    product = trace["q.1"] @ trace["k.1"].swapaxes(1, 2)
    assert_logits_close(trace["scores_raw.1"], product + trace["scores_rel.1"])
    table = weights.arrays["h.1.attn.relative.weight"]
    assert trace["scores_rel.1"][2, 20, 15] == pytest.approx(trace["q.1"][2, 20] @ table[2, 5], abs=1e-4)
    assert not trace["scores_rel.1"][:, 20, :14].any()
    some = trace.attention(1, 1, 3)
    assert list(some) == list(attended(weights.config))
    for kind, array in some.items():
        assert_logits_close(array, trace[f"{kind}.1"][1:3])
    assert_logits_close(trace.attention_of(1, 20), trace["attn.1"][:, 20])
    changed = trace.edit([*IDS[:20], 3, *IDS[21:]])
    assert changed.work.positions_reused == 20
    assert_logits_close(changed["logits"], trace_of(weights, list(changed.ids))["logits"])
    unscaled = trace.intervene(Intervention("no_scale", layer=1))
    np.testing.assert_array_equal(unscaled["scores.1"], unscaled["scores_raw.1"])
    assert "scores_rel.1" not in trace_of(WEIGHTS, IDS)


def test_logits_after_one_token() -> None:
    trace = trace_of(WEIGHTS, IDS)
    for position in (0, 17, 29, -1, -30):
        assert_logits_close(trace.logits_at(position), trace["logits"][position])


def test_read_out_takes_vectors_of_torch_and_of_float64() -> None:
    trace = trace_of(WEIGHTS, IDS)
    for x in (torch.from_numpy(trace["resid.pre.1"].copy()), trace["resid.pre.1"].astype(np.float64)):
        read = trace.read_out(x)
        assert read["logits"].dtype == np.float32
        np.testing.assert_array_equal(read["logits"], trace.read_out(trace["resid.pre.1"])["logits"])


@pytest.mark.parametrize("shape", [(2, 1), (2, 23), (24, 2), ()])
def test_read_out_rejects_vectors_of_another_width(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="x must be vectors of 24 numbers"):
        trace_of(WEIGHTS, IDS).read_out(np.ones(shape))


def test_read_out_accepts_any_vectors() -> None:
    trace = trace_of(WEIGHTS, IDS)
    assert_logits_close(trace.read_out(trace["resid.post.1"][4:6])["logits"], trace["logits"][4:6])
    early = trace.read_out(trace["resid.pre.0"])
    assert list(early) == ["ln_f.mean", "ln_f.rstd", "ln_f", "logits"]
    assert early["logits"].shape == (30, 61)


def test_a_trace_says_its_text() -> None:
    trace = trace_of(WEIGHTS, np.array([3, 4]))  # type: ignore[arg-type]
    assert (trace.ids, len(trace), trace.interventions) == ((3, 4), 2, ())
    assert all(type(token) is int for token in trace.ids)


@pytest.mark.parametrize(
    ("ids", "complaint"),
    [
        ([], "empty"),
        ([61], "outside 0 to 60"),
        ([-1], "outside 0 to 60"),
        ([0] * 49, "^the text is 49 tokens long; the context holds 48; shorten it$"),
        ([1.5], "whole numbers"),
        ("text", "whole numbers"),
    ],
)
def test_rejects_an_invalid_text(ids: list[int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        trace_of(WEIGHTS, ids)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_some_heads_and_one_row_equal_those_of_all_with_interventions(kind: str) -> None:
    trace = trace_of(WEIGHTS, IDS, EXAMPLES[kind])
    some = trace.attention(1, 1, 3)
    whole = trace["attn.1"]
    np.testing.assert_array_equal(some["attn"], whole[1:3])
    np.testing.assert_array_equal(some["z"], trace["z.1"][1:3])
    np.testing.assert_allclose(trace.attention_of(1, 5), whole[:, 5], atol=1e-6)


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_edits_work_as_a_hook_of_the_reference(kind: str) -> None:
    trace = trace_of(WEIGHTS, IDS, EXAMPLES[kind])
    seen = trace_of(WEIGHTS, IDS, EXAMPLES[kind]).edits()
    x = embed(WEIGHTS.arrays, IDS, 0, seen)
    for layer in range(WEIGHTS.config.n_layer):
        x, _ = block(WEIGHTS.config, WEIGHTS.arrays, layer, x, None, seen)
    np.testing.assert_array_equal(lm_head(WEIGHTS.config, WEIGHTS.arrays, x, seen), trace["logits"])


def test_computing_can_be_ended() -> None:
    trace = trace_of(WEIGHTS, IDS)
    trace["attn.0"]

    def enough() -> None:
        raise KeyboardInterrupt

    cancellable = trace.with_cancellation(enough)
    assert np.shares_memory(cancellable["attn.0"], trace["attn.0"])  # what is there is there for both
    for compute in (
        lambda: cancellable["mlp_act.1"],
        lambda: cancellable.logits_at(0),
        lambda: cancellable.attention_of(0, 3),
        lambda: cancellable.append(1),
        lambda: cancellable.intervene(Intervention("no_mask")),
        lambda: logit_lens(cancellable, 1),
    ):
        with pytest.raises(KeyboardInterrupt):
            compute()
    assert len(trace.append(1)) == 31


def test_a_trace_has_its_names_and_the_checkpoints() -> None:
    trace = trace_of(WEIGHTS, IDS)
    assert list(trace) == list(trace.shapes())
    assert "attn.1" in trace
    assert "wte.weight" in trace
    assert "attn.2" not in trace
    assert 3 not in trace


def test_a_traces_repr_is_one_line() -> None:
    trace = trace_of(WEIGHTS, IDS[:4])
    assert repr(trace) == "<Trace of 4 tokens: 2 layers, 3 heads, 24 wide>"
    assert repr(trace.intervene(Intervention("no_mask"))).endswith("24 wide, 1 interventions>")


def test_positions_may_be_counted_from_the_end() -> None:
    trace = trace_of(WEIGHTS, IDS)
    assert (trace.check_position(-1), trace.check_position(0)) == (29, 0)
    np.testing.assert_array_equal(trace.attention_of(1, -1), trace.attention_of(1, 29))
    np.testing.assert_array_equal(
        divergence(trace, trace.edit(IDS[:9]), -1, -1), divergence(trace, trace.edit(IDS[:9]), 29, 8)
    )
    assert direct_logit_attribution(trace, -1, 5).logit == direct_logit_attribution(trace, 29, 5).logit
    assert logit_lens(trace, 2, -1)[3].ids.tolist() == logit_lens(trace, 2, 29)[3].ids.tolist()
    assert search(trace, -1, [-2]) == search(trace, 29, [28])


@pytest.mark.parametrize("arguments", [(2, 0, 1), (-1, 0, 1), (0, 3, 4), (0, 0, 4), (0, 1, 1), (0, 2, 1), (0.5, 0, 1)])
def test_rejects_invalid_heads(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="must be"):
        trace_of(WEIGHTS, IDS).attention(*arguments)


@pytest.mark.parametrize("position", [30, -31, 1.0, True])
def test_rejects_logits_of_an_invalid_position(position: int) -> None:
    with pytest.raises(UsageError, match="position must be"):
        trace_of(WEIGHTS, IDS).logits_at(position)


def test_arrays_are_read_only() -> None:
    trace = trace_of(WEIGHTS, IDS[:4])
    arrays: list[FloatArray] = [trace[name] for name in (*trace.shapes(), *WEIGHTS.arrays)]
    arrays += [*trace.attention(0, 0, 1).values(), *trace.read_out(trace["ln_f"]).values(), trace.logits_at(0)]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_derived_tensors_are_cached() -> None:
    trace = trace_of(WEIGHTS, IDS)
    assert np.shares_memory(trace["attn.0"], trace["attn.0"])


def test_the_cache_of_derived_tensors_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = trace_of(WEIGHTS, IDS)
    seen = seen_in_one_go(WEIGHTS, IDS)
    monkeypatch.setattr(trace_module, "DERIVED_BYTES", 100_000)
    group = sum(seen[f"{kind}.0"].nbytes for kind in ATTENDED)
    for name in [*trace.shapes(), "scores.0", "z.1", "attn.0", "ln1.1", "logits", "scores.0"]:
        if name != "ids":
            assert_logits_close(trace[name], seen[name])
        assert sum(array.nbytes for array in trace._derived.values()) <= 100_000
    monkeypatch.setattr(trace_module, "DERIVED_BYTES", 0)
    assert_logits_close(trace["masked.1"], seen["masked.1"])
    assert sum(array.nbytes for array in trace._derived.values()) <= group


def test_tensors_computed_in_parts_are_consistent() -> None:
    """q, k and v are kept from when few tokens were read, so qkv must not be computed anew from all of them."""
    wide = tiny_weights(n_embd=96)  # so that products of one row and of several are rounded differently
    trace = trace_of(wide, IDS[:1])
    for token in IDS[1:12]:
        trace = trace.append(token)
    for layer in range(trace.config.n_layer):
        parts = [merge_heads(trace[f"{kind}.{layer}"]) for kind in "qkv"]
        np.testing.assert_array_equal(trace[f"qkv.{layer}"], np.concatenate(parts, axis=-1))


def test_a_trace_that_overflows_is_an_error_of_one_line() -> None:
    """In the residual stream when it is made, elsewhere once the tensor is asked for."""
    weights = tiny_weights()
    arrays = {name: weights.read(name) for name in weights.config.tensors}
    huge = {
        name: arrays[name] * np.float32(1e25) for name in arrays if name.endswith(("c_fc.weight", "mlp.c_proj.weight"))
    }
    with pytest.raises(NonFiniteError, match=r"^resid\.post\.1 is not finite: the weights make numbers too large"):
        Trace(weights.config, arrays | huge, None, [1, 2])
    trace = Trace(weights.config, arrays | {"ln_f.weight": np.full(24, 3e38, np.float32)}, None, [1, 2])
    assert np.isfinite(trace["attn.1"]).all()
    for name in ("logits", "probs"):
        with pytest.raises(NonFiniteError, match=r"is not finite"):
            trace[name]
