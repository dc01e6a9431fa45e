"""Passes that take over what another has kept: the same numbers as from the beginning, and no work done twice."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.engines.reference import block
from cutaway.errors import UsageError
from cutaway.trace import Intervention, ReuseStats, Trace
from cutaway.trace import forward as forward_module
from cutaway.trace.interventions import KINDS, fitting
from cutaway.trace.names import ATTENDED, trace_shapes
from tests.tiny import random_ids, tiny_weights
from tests.trace.tracing import EXAMPLES, assert_same_trace, interventions, small_models, texts, trace_of

WEIGHTS = tiny_weights(n_layer=3)
IDS = random_ids(WEIGHTS.config, 20)
BASE = trace_of(WEIGHTS, IDS)


def counts(work: ReuseStats) -> tuple[int, int, int, int]:
    return work.positions_computed, work.positions_reused, work.layers_computed, work.layers_reused


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many tokens each call of a block reads."""
    rows: list[int] = []

    def counting(*arguments: object) -> object:
        rows.append(len(arguments[3]))  # type: ignore[arg-type]
        return block(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(forward_module, "block", counting)
    return rows


def test_the_first_pass_computes_every_position(rows_read: list[int]) -> None:
    trace = trace_of(WEIGHTS, IDS)
    assert counts(trace.work) == (20, 0, 3, 0)
    assert trace.work.seconds > 0
    assert rows_read == [20, 20, 20]


@pytest.mark.parametrize("place", [0, 1, 12, 19])
def test_edit_computes_from_the_first_difference_on(place: int, rows_read: list[int]) -> None:
    ids = [*IDS]
    ids[place] = (ids[place] + 1) % 61
    edited = BASE.edit(ids)
    assert counts(edited.work) == (20 - place, place, 3, 0)
    assert rows_read == [20 - place] * 3
    assert_same_trace(edited, trace_of(WEIGHTS, ids))


def test_append_computes_one_position(rows_read: list[int]) -> None:
    longer = BASE.append(7)
    assert counts(longer.work) == (1, 20, 3, 0)
    assert rows_read == [1, 1, 1]
    assert_same_trace(longer, trace_of(WEIGHTS, [*IDS, 7]))


@pytest.mark.parametrize("length", [1, 11, 20])
def test_a_shorter_text_computes_nothing(length: int, rows_read: list[int]) -> None:
    shorter = BASE.edit(IDS[:length])
    assert counts(shorter.work) == (0, length, 0, 3)
    assert rows_read == []
    assert_same_trace(shorter, trace_of(WEIGHTS, IDS[:length]))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_intervene_reuses_the_layers_before(layer: int, rows_read: list[int]) -> None:
    intervention = Intervention("zero_ablate_attention", layer)
    changed = BASE.intervene(intervention)
    assert (changed.work.layers_computed, changed.work.layers_reused) == (3 - layer, layer)
    assert changed.work.changed_layer == layer
    assert rows_read == [20] * (3 - layer)
    assert_same_trace(changed, trace_of(WEIGHTS, IDS, intervention))
    assert_same_trace(changed.intervene(), BASE)


def test_intervening_after_the_last_layer_computes_no_layer(rows_read: list[int]) -> None:
    changed = BASE.intervene(Intervention("no_final_norm"))
    assert counts(changed.work) == (0, 20, 0, 3)
    assert rows_read == []
    assert_same_trace(changed, trace_of(WEIGHTS, IDS, Intervention("no_final_norm")))


def test_count_and_order_of_interventions_matter() -> None:
    half = Intervention("scale_head", layer=1, head=0, value=0.5)
    twice = BASE.intervene(half).intervene(half, half)
    assert twice.work.changed_layer == 1
    assert_same_trace(twice, trace_of(WEIGHTS, IDS, half, half))
    low, high = (Intervention("mask_value", layer=2, value=value) for value in (-1e4, 0.5))
    turned = BASE.intervene(low, high).intervene(high, low)
    assert turned.work.changed_layer == 2
    assert_same_trace(turned, trace_of(WEIGHTS, IDS, high, low))


def test_edits_text_and_interventions_at_once() -> None:
    intervention = Intervention("zero_ablate_mlp", layer=1)
    ids = [*IDS[:15], 1, 2]
    both = Trace(WEIGHTS.config, WEIGHTS.arrays, None, ids, [intervention], base=BASE)
    assert (both.work.positions_computed, both.work.layers_computed, both.work.changed_layer) == (2, 3, 1)
    assert_same_trace(both, trace_of(WEIGHTS, ids, intervention))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].needs_all])
def test_interventions_on_all_tokens_reuse_nothing_of_another_text(kind: str) -> None:
    changed = BASE.intervene(EXAMPLES[kind])
    assert changed.work.layers_reused == 1
    for ids, shared in (([*IDS[:-1], 3], len(IDS) - 1), ([*IDS, 3], len(IDS)), (IDS[:7], 7)):
        edited = changed.edit(ids)
        assert (edited.work.positions_computed, edited.work.positions_reused) == (len(ids), 0)
        assert_same_trace(edited, trace_of(WEIGHTS, ids, EXAMPLES[kind]))
        back = Trace(WEIGHTS.config, WEIGHTS.arrays, None, ids, base=changed)
        assert back.work.positions_reused == shared  # in the layer before it
        assert_same_trace(back, trace_of(WEIGHTS, ids))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not KINDS[kind].needs_all])
def test_edit_keeps_the_interventions(kind: str) -> None:
    changed = BASE.intervene(EXAMPLES[kind])
    ids = [*IDS[:12], 5, *IDS[13:]]
    edited = changed.edit(ids)
    assert edited.work.positions_reused == 12
    assert_same_trace(edited, trace_of(WEIGHTS, ids, EXAMPLES[kind]))


def test_reports_the_first_changed_layer_or_the_number_of_layers() -> None:
    layers = WEIGHTS.config.n_layer
    assert BASE.append(1).work.changed_layer == layers
    for layer in range(layers):
        assert BASE.intervene(Intervention("zero_ablate_mlp", layer=layer)).work.changed_layer == layer


def test_a_token_without_edges_does_not_depend_on_the_others() -> None:
    changed = BASE.intervene(Intervention("attention_knockout", query=0, key=0))
    ids = [*IDS[:19], 5]
    assert_same_trace(changed.edit(ids), trace_of(WEIGHTS, ids, Intervention("attention_knockout", query=0, key=0)))


Step = Callable[[st.DataObject, Trace], Trace]


def edit(data: st.DataObject, trace: Trace) -> Trace:
    ids = list(trace.ids)
    place = data.draw(st.integers(0, len(trace) - 1))
    ids[place] = data.draw(st.integers(0, trace.config.n_vocab - 1))
    return trace.edit(ids)


def append(data: st.DataObject, trace: Trace) -> Trace:
    token = data.draw(st.integers(0, trace.config.n_vocab - 1))
    return trace.append(token) if len(trace) < trace.config.n_ctx else trace


def truncate(data: st.DataObject, trace: Trace) -> Trace:
    length = data.draw(st.integers(1, len(trace)))
    return trace.intervene(*fitting(trace.interventions, length)).edit(trace.ids[:length])


def intervene(data: st.DataObject, trace: Trace) -> Trace:
    return trace.intervene(*data.draw(st.lists(interventions(trace.config, len(trace)), max_size=2)))


@settings(max_examples=25)
@given(data=st.data(), weights=small_models())
def test_any_chain_of_edits_equals_a_new_trace(data: st.DataObject, weights: ArrayWeights) -> None:
    trace = trace_of(weights, data.draw(texts(weights.config)))
    steps: list[Step] = data.draw(st.lists(st.sampled_from([edit, append, truncate, intervene]), max_size=5))
    for step in steps:
        trace = step(data, trace)
    assert_same_trace(trace, trace_of(weights, list(trace.ids), *trace.interventions))


def test_intervening_leaves_the_base_trace_unchanged() -> None:
    trace = trace_of(WEIGHTS, IDS)
    before = {name: trace[name].copy() for name in trace.shapes()}
    trace.edit([0, 1]).append(2).intervene(Intervention("no_mask")).append(3)
    for name, array in before.items():
        np.testing.assert_array_equal(trace[name], array)


def test_progress_reports_every_layer() -> None:
    told: list[tuple[int, int]] = []
    BASE.edit([1, 2], progress=lambda done, layers: told.append((done, layers)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_an_exception_from_progress_leaves_the_base_trace_usable() -> None:
    class Enough(Exception):
        pass

    def stop(done: int, layers: int) -> None:
        if done == 2:
            raise Enough

    trace = trace_of(WEIGHTS, IDS)
    with pytest.raises(Enough):
        trace.edit([1, 2, 3], progress=stop)
    with pytest.raises(Enough):
        trace.intervene(Intervention("zero_ablate_mlp"), progress=stop)
    assert_same_trace(trace, BASE)
    assert_same_trace(trace.append(4), trace_of(WEIGHTS, [*IDS, 4]))


def test_rejects_invalid_edits_and_interventions() -> None:
    with pytest.raises(UsageError, match="query must be from 0 to 4, not 9"):
        BASE.intervene(Intervention("attention_knockout", query=9, key=0)).edit(IDS[:5])
    with pytest.raises(UsageError, match="the context holds 48"):
        BASE.edit([0] * 49)
    with pytest.raises(UsageError, match="empty"):
        BASE.edit([])


def kept_bytes(config: GPT2Config, tokens: int) -> int:
    """2 L + 1 boundaries of the residual stream, and q, k and v of L layers, 4 bytes a number."""
    return 4 * tokens * config.n_embd * (2 * config.n_layer + 1 + 3 * config.n_layer)


@pytest.mark.parametrize(
    "change", [lambda t: t, lambda t: t.append(3), lambda t: t.edit([5, 6]), lambda t: t.edit(IDS)]
)
def test_caches_residuals_queries_keys_and_values(change: Callable[[Trace], Trace]) -> None:
    trace = change(trace_of(WEIGHTS, IDS[:10]))
    assert trace.n_bytes == kept_bytes(WEIGHTS.config, len(trace))
    shapes = trace_shapes(WEIGHTS.config, len(trace))
    assert {name: array.shape for name, array in trace._forward.cached.items()} == {
        n: shapes[n] for n in trace._forward.cached
    }
    group = sum(trace[f"{kind}.0"].nbytes for kind in ATTENDED)
    assert trace.n_bytes == kept_bytes(WEIGHTS.config, len(trace)) + group  # what is computed from it counts, too


def test_a_short_trace_does_not_keep_a_long_ones_memory() -> None:
    short = BASE.edit(IDS[:5])
    assert short.work.layers_reused == WEIGHTS.config.n_layer
    assert all(array.flags.owndata for array in short._forward.cached.values())


def test_the_smallest_gpt2_keeps_about_200_mb_of_a_full_context() -> None:
    assert 180e6 < kept_bytes(GPT2Config(), 1024) < 210e6
