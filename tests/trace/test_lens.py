"""The logit lens and surprise against transformers and torch, attributions against their definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.checkpoints import ArrayWeights
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray
from cutaway.trace import Intervention, Trace
from cutaway.trace import lens as lens_module
from cutaway.trace.interventions import KINDS
from cutaway.trace.lens import (
    boundaries,
    direct_logit_attribution,
    divergence,
    logit_lens,
    neuron_logit_effects,
    surprisal,
)
from tests.tiny import peer_logits, peer_model, random_ids, tiny_weights
from tests.trace.tracing import EXAMPLES, small_models, texts, trace_of

WEIGHTS = tiny_weights()
IDS = random_ids(WEIGHTS.config, 30)
TRACE = trace_of(WEIGHTS, IDS)
NO_SUM = tuple(name for name, kind in KINDS.items() if kind.breaks_sum)


def test_boundaries_lie_between_the_parts() -> None:
    assert boundaries(2) == ["resid.pre.0", "resid.mid.0", "resid.post.0", "resid.mid.1", "resid.post.1"]


@pytest.mark.parametrize("shape", [{}, {"tie_word_embeddings": False}])
def test_the_lens_is_the_peers_last_layers_at_every_boundary(shape: dict[str, bool]) -> None:
    weights = tiny_weights(**shape)
    trace = trace_of(weights, IDS)
    peer = peer_model(weights)
    for reading in logit_lens(trace, 5):
        x = torch.from_numpy(trace[reading.boundary].copy())
        with torch.no_grad():
            best = peer.lm_head(peer.transformer.ln_f(x)).softmax(-1).topk(5)
        np.testing.assert_array_equal(reading.ids, best.indices)
        np.testing.assert_allclose(reading.probabilities, best.values, atol=1e-5)


def test_the_last_reading_is_the_models_prediction() -> None:
    last = logit_lens(TRACE, 61)[-1]
    np.testing.assert_allclose(np.take_along_axis(TRACE["probs"], last.ids, axis=-1), last.probabilities, atol=1e-6)
    assert (np.sort(last.ids, axis=-1) == np.arange(61)).all()
    assert (np.diff(last.probabilities, axis=-1) <= 0).all()
    np.testing.assert_allclose(last.probabilities.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("count", [1, 4, 13])
def test_some_positions_equal_the_rows_of_all(count: int) -> None:
    for some, every in zip(logit_lens(TRACE, 3, 17, count), logit_lens(TRACE, 3), strict=True):
        assert some.boundary == every.boundary
        np.testing.assert_array_equal(some.ids, every.ids[17 : 17 + count])
        np.testing.assert_allclose(some.probabilities, every.probabilities[17 : 17 + count], atol=1e-6)


def test_the_lowest_id_comes_first_among_equals() -> None:
    arrays = {**WEIGHTS.arrays, "wte.weight": np.zeros_like(WEIGHTS.arrays["wte.weight"])}
    same = trace_of(ArrayWeights(WEIGHTS.config, arrays), IDS)
    np.testing.assert_array_equal(logit_lens(same, 61)[0].ids, [list(range(61))] * 30)


def test_the_lens_includes_interventions() -> None:
    changed = TRACE.intervene(Intervention("no_final_norm"))
    assert logit_lens(changed, 1)[-1].ids[:, 0].tolist() == changed["logits"].argmax(axis=-1).tolist()


@pytest.mark.parametrize("arguments", [(0,), (62,), (1.0,), (1, 30), (1, -31), (1, True), (1, 17, 0), (1, 17, 14)])
def test_rejects_invalid_lens_arguments(arguments: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="must be"):
        logit_lens(TRACE, *arguments)


def by_torch(ours: Trace, theirs: Trace, position: int, other_position: int) -> list[float]:
    """KL at each boundary by torch, from the logits that the reference reads there."""
    found = []
    for name in boundaries(ours.config.n_layer):
        rows = (ours.read_out(ours[name][[position]]), theirs.read_out(theirs[name][[other_position]]))
        p, q = (torch.from_numpy(row["logits"].copy()).double().log_softmax(-1) for row in rows)
        found.append(float(torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum")))
    return found


@pytest.mark.parametrize("chunk", [2, 128])
@pytest.mark.parametrize("kind", [None, "zero_ablate_mlp", "no_final_norm"])
def test_divergence_is_torchs_kl(kind: str | None, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lens_module, "CHUNK", chunk)
    other = trace_of(WEIGHTS, IDS[:9], *([EXAMPLES[kind]] if kind else []))
    found = divergence(TRACE, other, 29, 8)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, by_torch(TRACE, other, 29, 8), atol=1e-6)
    assert (found > 1e-3).any()
    assert not np.allclose(found, divergence(other, TRACE, 8, 29), rtol=1e-3)  # one way round is not the other


def test_a_trace_does_not_diverge_from_itself_nor_before_a_change() -> None:
    assert not divergence(TRACE, TRACE, 4, 4).any()
    changed = TRACE.intervene(Intervention("zero_ablate_mlp", layer=1))
    assert divergence(TRACE, changed, 4, 4).astype(bool).tolist() == [False] * 4 + [True]


def test_divergence_holds_where_probabilities_underflow() -> None:
    arrays = {**WEIGHTS.arrays, "wte.weight": WEIGHTS.arrays["wte.weight"] * np.float32(1000)}
    sharp = trace_of(ArrayWeights(WEIGHTS.config, arrays), IDS)
    found = divergence(sharp, sharp, 4, 9)
    assert np.isfinite(found).all()
    assert found.max() > 100
    np.testing.assert_allclose(found, by_torch(sharp, sharp, 4, 9), rtol=1e-5)


@pytest.mark.parametrize("positions", [(30, 0), (-31, 0), (0, 30), (0, -31), (0.0, 0), (0, True)])
def test_rejects_a_divergence_at_an_invalid_position(positions: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="must be"):
        divergence(TRACE, TRACE, *positions)


@pytest.mark.parametrize("shape", [{"n_layer": 1}, {"n_vocab": 60}])
def test_rejects_a_divergence_between_incompatible_models(shape: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="different layers or vocabularies"):
        divergence(TRACE, trace_of(tiny_weights(**shape), IDS), 0, 0)


@pytest.mark.parametrize("shape", [{}, {"tie_word_embeddings": False}])
def test_neuron_logit_effects_are_the_share_of_the_logits(shape: dict[str, bool]) -> None:
    trace = trace_of(tiny_weights(**shape), IDS)
    position = 11
    layer = 1
    config = trace.config
    ids, amounts = neuron_logit_effects(trace, layer, range(config.n_inner), config.n_vocab)
    per_token = np.take_along_axis(amounts, np.argsort(ids, axis=-1), axis=-1)  # (n_inner, V)
    written = trace[f"mlp_act.{layer}"][position] @ per_token * trace["ln_f.rstd"][position]
    bias = trace[f"h.{layer}.mlp.c_proj.bias"]
    for token in (0, 7, 60):
        row = trace["wte.weight" if config.tie_word_embeddings else "lm_head.weight"][token]
        rest = (bias - bias.mean()) * trace["ln_f.weight"] @ row * trace["ln_f.rstd"][position]
        assert direct_logit_attribution(trace, position, token).mlp[layer] == pytest.approx(
            float(written[token] + rest[0]), abs=1e-4
        )


def test_neuron_logit_effects_are_sorted_for_each_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, amounts = neuron_logit_effects(TRACE, 0, [5, 1, 5], 4)
    assert ids.shape == amounts.shape == (3, 4)
    assert (np.diff(amounts, axis=-1) <= 0).all()
    np.testing.assert_array_equal(ids[0], ids[2])
    np.testing.assert_array_equal(
        neuron_logit_effects(TRACE.intervene(Intervention("zero_ablate_mlp")), 0, [5], 4)[0], ids[:1]
    )
    monkeypatch.setattr(lens_module, "CHUNK", 2)
    np.testing.assert_array_equal(neuron_logit_effects(TRACE, 0, [5, 1, 5], 4)[0], ids)


@pytest.mark.parametrize("place", [(2, [0]), (0, [96]), (0, [-1]), (0, [0.0]), (0, [0], 0), (0, [0], 62)])
def test_rejects_invalid_units(place: tuple[int, list[int]]) -> None:
    with pytest.raises(UsageError, match="must be"):
        neuron_logit_effects(TRACE, *place)


def test_rejects_no_unit() -> None:
    with pytest.raises(UsageError, match="the number of units must be at least 1, not 0"):
        neuron_logit_effects(TRACE, 0, [])


@settings(max_examples=15)
@given(data=st.data(), weights=small_models())
def test_attribution_sums_to_the_logit(data: st.DataObject, weights: ArrayWeights) -> None:
    trace = trace_of(weights, data.draw(texts(weights.config)))
    position = data.draw(st.integers(0, len(trace) - 1))
    token = data.draw(st.integers(0, weights.config.n_vocab - 1))
    parts = direct_logit_attribution(trace, position, token)
    assert parts.logit == pytest.approx(float(trace["logits"][position, token]), abs=1e-3)
    np.testing.assert_allclose(parts.heads.sum(axis=-1) + parts.attention_bias, parts.attention, atol=1e-3)


def test_attribution_of_each_part_is_its_output_at_a_fixed_scale() -> None:
    position = 20
    token = 9

    def read(part: FloatArray) -> float:
        normal = (part - part.mean()) * TRACE["ln_f.rstd"][position] * TRACE["ln_f.weight"]
        return float(normal @ TRACE["wte.weight"][token])

    parts = direct_logit_attribution(TRACE, position, token)
    assert parts.token_embedding == pytest.approx(read(TRACE["tok_emb"][position]), abs=1e-4)
    assert parts.position_embedding == pytest.approx(read(TRACE["pos_emb"][position]), abs=1e-4)
    assert parts.final_bias == pytest.approx(float(TRACE["ln_f.bias"] @ TRACE["wte.weight"][token]), abs=1e-4)
    for layer in range(2):
        matrix = TRACE[f"h.{layer}.attn.c_proj.weight"]
        assert parts.attention[layer] == pytest.approx(read(TRACE[f"attn_out.{layer}"][position]), abs=1e-4)
        assert parts.mlp[layer] == pytest.approx(read(TRACE[f"mlp_out.{layer}"][position]), abs=1e-4)
        assert parts.attention_bias[layer] == pytest.approx(read(TRACE[f"h.{layer}.attn.c_proj.bias"]), abs=1e-4)
        for head in range(3):
            written = TRACE[f"z.{layer}"][head, position] @ matrix[8 * head : 8 * head + 8]
            assert parts.heads[layer, head] == pytest.approx(read(written), abs=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind not in NO_SUM])
def test_attribution_sums_to_the_logit_with_interventions(kind: str) -> None:
    changed = TRACE.intervene(EXAMPLES[kind])
    parts = direct_logit_attribution(changed, 12, 5)
    assert parts.logit == pytest.approx(float(changed["logits"][12, 5]), abs=1e-3)
    np.testing.assert_allclose(parts.heads.sum(axis=-1) + parts.attention_bias, parts.attention, atol=1e-3)


@pytest.mark.parametrize("kind", NO_SUM)
def test_rejects_attribution_of_a_logit_that_is_not_a_sum(kind: str) -> None:
    with pytest.raises(UsageError, match=f"{kind}: it is not a sum of parts"):
        direct_logit_attribution(TRACE.intervene(EXAMPLES[kind]), 0, 0)


def test_rejects_attribution_at_a_patched_position_only() -> None:
    trace = trace_of(WEIGHTS, [1, 2, 3, 4], Intervention("patch_residual", layer=0, position=2, source=(5, 6, 7)))
    with pytest.raises(UsageError, match="patch_residual: it is not a sum of parts"):
        direct_logit_attribution(trace, 2, 0)
    assert abs(direct_logit_attribution(trace, 3, 0).logit - trace.logits_at(3)[0]) < 1e-4


@pytest.mark.parametrize("place", [(30, 0), (-31, 0), (0, 61), (0, -1), (0.0, 0), (0, 1.5)])
def test_rejects_attribution_of_an_unknown_token(place: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="must be"):
        direct_logit_attribution(TRACE, *place)


@pytest.mark.parametrize("tokens", [1, 2, 30])
@pytest.mark.parametrize("chunk", [1, 7, 128])
def test_surprisal_equals_the_peers_loss(tokens: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lens_module, "CHUNK", chunk)
    nats = surprisal(trace_of(WEIGHTS, IDS[:tokens]))
    logits = torch.from_numpy(peer_logits(peer_model(WEIGHTS), IDS[:tokens]))
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(IDS)[1:tokens], reduction="none")
    assert nats.dtype == np.float32
    assert nats.shape == (tokens - 1,)
    np.testing.assert_allclose(nats, loss.numpy(), atol=1e-5)


def test_surprisal_is_computed_once_for_a_trace() -> None:
    nats = surprisal(TRACE)
    assert surprisal(TRACE) is nats
    assert not nats.flags.writeable


def test_the_lens_does_not_depend_on_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = logit_lens(TRACE, 4)
    monkeypatch.setattr(lens_module, "CHUNK", 2)
    for ours, theirs in zip(logit_lens(TRACE, 4), whole, strict=True):
        np.testing.assert_array_equal(ours.ids, theirs.ids)
