"""The logit lens and surprise against transformers and torch, attributions against their definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.checkpoints import ArrayWeights
from cutaway.engine import Float32
from cutaway.errors import UsageError
from cutaway.trace import Intervention
from cutaway.trace import lens as lens_module
from cutaway.trace.lens import attribution, boundaries, lens, surprise
from tests.tiny import peer_logits, peer_model, random_ids, tiny_weights
from tests.trace.tracing import EXAMPLES, small_models, texts, trace_of

WEIGHTS = tiny_weights()
IDS = random_ids(WEIGHTS.config, 30)
TRACE = trace_of(WEIGHTS, IDS)
NO_SUM = ("no_residual_attention", "no_residual_mlp", "no_final_norm")


def test_boundaries_lie_between_the_parts() -> None:
    assert boundaries(2) == ["resid.pre.0", "resid.mid.0", "resid.post.0", "resid.mid.1", "resid.post.1"]


@pytest.mark.parametrize("shape", [{}, {"tie_word_embeddings": False}])
def test_the_lens_is_the_peers_last_layers_at_every_boundary(shape: dict[str, bool]) -> None:
    weights = tiny_weights(**shape)
    trace, peer = trace_of(weights, IDS), peer_model(weights)
    for reading in lens(trace, 5):
        x = torch.from_numpy(trace[reading.boundary].copy())
        with torch.no_grad():
            best = peer.lm_head(peer.transformer.ln_f(x)).softmax(-1).topk(5)
        np.testing.assert_array_equal(reading.ids, best.indices)
        np.testing.assert_allclose(reading.probabilities, best.values, atol=1e-5)


def test_the_last_reading_is_what_the_model_says() -> None:
    last = lens(TRACE, 61)[-1]
    np.testing.assert_allclose(np.take_along_axis(TRACE["probs"], last.ids, axis=-1), last.probabilities, atol=1e-6)
    assert (np.sort(last.ids, axis=-1) == np.arange(61)).all()
    assert (np.diff(last.probabilities, axis=-1) <= 0).all()
    np.testing.assert_allclose(last.probabilities.sum(axis=-1), 1, atol=1e-5)


def test_one_position_is_a_row_of_all() -> None:
    for one, every in zip(lens(TRACE, 3, 17), lens(TRACE, 3), strict=True):
        assert one.boundary == every.boundary
        np.testing.assert_array_equal(one.ids, every.ids[17:18])
        np.testing.assert_allclose(one.probabilities, every.probabilities[17:18], atol=1e-6)


def test_among_equals_the_lowest_id_comes_first() -> None:
    arrays = {**WEIGHTS.arrays, "wte.weight": np.zeros_like(WEIGHTS.arrays["wte.weight"])}
    same = trace_of(ArrayWeights(WEIGHTS.config, arrays), IDS)
    np.testing.assert_array_equal(lens(same, 61)[0].ids, [list(range(61))] * 30)


def test_the_lens_reads_a_changed_model() -> None:
    changed = TRACE.intervene(Intervention("no_final_norm"))
    assert lens(changed, 1)[-1].ids[:, 0].tolist() == changed["logits"].argmax(axis=-1).tolist()


@pytest.mark.parametrize("arguments", [(0,), (62,), (1.0,), (1, 30), (1, -1), (1, True)])
def test_a_lens_on_nothing_is_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="must be"):
        lens(TRACE, *arguments)


@settings(deadline=None, max_examples=15)
@given(data=st.data(), weights=small_models())
def test_the_parts_of_a_logit_sum_to_it(data: st.DataObject, weights: ArrayWeights) -> None:
    trace = trace_of(weights, data.draw(texts(weights.config)))
    position = data.draw(st.integers(0, len(trace) - 1))
    token = data.draw(st.integers(0, weights.config.n_vocab - 1))
    parts = attribution(trace, position, token)
    assert parts.logit == pytest.approx(float(trace["logits"][position, token]), abs=1e-3)
    np.testing.assert_allclose(parts.heads.sum(axis=-1) + parts.attention_bias, parts.attention, atol=1e-3)


def test_each_part_is_what_it_writes_read_with_the_scale_held_fixed() -> None:
    position, token = 20, 9

    def read(part: Float32) -> float:
        normal = (part - part.mean()) * TRACE["ln_f.rstd"][position] * TRACE["ln_f.weight"]
        return float(normal @ TRACE["wte.weight"][token])

    parts = attribution(TRACE, position, token)
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
def test_the_parts_of_a_changed_models_logit_sum_to_it(kind: str) -> None:
    changed = TRACE.intervene(EXAMPLES[kind])
    parts = attribution(changed, 12, 5)
    assert parts.logit == pytest.approx(float(changed["logits"][12, 5]), abs=1e-3)
    np.testing.assert_allclose(parts.heads.sum(axis=-1) + parts.attention_bias, parts.attention, atol=1e-3)


@pytest.mark.parametrize("kind", NO_SUM)
def test_a_logit_that_is_no_sum_is_not_taken_apart(kind: str) -> None:
    with pytest.raises(UsageError, match=f"{kind}: it is no sum of parts"):
        attribution(TRACE.intervene(EXAMPLES[kind]), 0, 0)


@pytest.mark.parametrize("place", [(30, 0), (-1, 0), (0, 61), (0, -1), (0.0, 0), (0, 1.5)])
def test_a_logit_that_is_not_there_is_refused(place: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="must be"):
        attribution(TRACE, *place)


@pytest.mark.parametrize("tokens", [1, 2, 30])
@pytest.mark.parametrize("chunk", [1, 7, 128])
def test_surprise_is_the_peers_loss(tokens: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lens_module, "CHUNK", chunk)
    nats = surprise(trace_of(WEIGHTS, IDS[:tokens]))
    logits = torch.from_numpy(peer_logits(peer_model(WEIGHTS), IDS[:tokens]))
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(IDS)[1:tokens], reduction="none")
    assert nats.dtype == np.float32
    assert nats.shape == (tokens - 1,)
    np.testing.assert_allclose(nats, loss.numpy(), atol=1e-5)


def test_the_lens_does_not_depend_on_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lens(TRACE, 4)
    monkeypatch.setattr(lens_module, "CHUNK", 7)
    for ours, theirs in zip(lens(TRACE, 4), whole, strict=True):
        np.testing.assert_array_equal(ours.ids, theirs.ids)
