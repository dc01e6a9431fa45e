"""Helpers for the tests of traces: small traces, the reference's tensors in one pass, comparison."""

import numpy as np
from hypothesis import strategies as st

from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.engines.reference import block, embed, lm_head
from cutaway.numerics import FloatArray, softmax
from cutaway.trace import Intervention, Trace
from cutaway.trace.interventions import KINDS, Edits
from tests.tiny import assert_logits_close, tiny_weights

# One of each kind, in the second layer where it can be.
EXAMPLES = {
    "zero_ablate_head": Intervention("zero_ablate_head", layer=1, head=2),
    "mean_ablate_head": Intervention("mean_ablate_head", layer=1, head=2),
    "scale_head": Intervention("scale_head", layer=1, head=2, value=-0.5),
    "zero_ablate_attention": Intervention("zero_ablate_attention", layer=1),
    "zero_ablate_mlp": Intervention("zero_ablate_mlp", layer=1),
    "attention_knockout": Intervention("attention_knockout", layer=1, head=2, query=5, key=3),
    "no_mask": Intervention("no_mask", layer=1),
    "mask_value": Intervention("mask_value", layer=1, value=0.25),
    "no_scale": Intervention("no_scale", layer=1),
    "values_are_keys": Intervention("values_are_keys", layer=1),
    "previous_queries": Intervention("previous_queries", layer=1),
    "no_positions": Intervention("no_positions"),
    "no_residual_attention": Intervention("no_residual_attention", layer=1),
    "no_residual_mlp": Intervention("no_residual_mlp", layer=1),
    "no_final_norm": Intervention("no_final_norm"),
    "patch_residual": Intervention("patch_residual", layer=1, position=5, source=(9, 8, 7, 6, 5, 4, 3)),
}


def trace_of(weights: ArrayWeights, ids: list[int], *interventions: Intervention) -> Trace:
    return Trace(weights.config, weights.arrays, None, ids, interventions)


def seen_in_one_go(weights: ArrayWeights, ids: list[int], *interventions: Intervention) -> dict[str, FloatArray]:
    """Every tensor of a plain run of the reference, by its name and in its order."""
    config = weights.config
    arrays = weights.arrays
    edits = Edits(interventions, patches={each: _patch(weights, each) for each in interventions if each.source})
    seen: dict[str, FloatArray] = {}

    def hook(name: str, array: FloatArray) -> FloatArray:
        seen[name] = edits(name, array)
        return seen[name]

    x = embed(arrays, ids, 0, hook)
    for layer in range(config.n_layer):
        x, _ = block(config, arrays, layer, x, None, hook)
    lm_head(config, arrays, x, hook)
    seen["probs"] = softmax(seen["logits"])
    for name in "kv":
        seen[f"cache.{name}"] = np.stack([seen[f"{name}.{layer}"] for layer in range(config.n_layer)])
    return seen


def _patch(weights: ArrayWeights, intervention: Intervention) -> FloatArray:
    assert intervention.source is not None
    assert intervention.position is not None
    row: FloatArray = seen_in_one_go(weights, list(intervention.source))[f"resid.post.{intervention.layer}"][
        intervention.position
    ]
    return row


def assert_same_trace(ours: Trace, theirs: Trace) -> None:
    """The same tokens and interventions, and every tensor within the project's bar."""
    assert (ours.ids, ours.interventions) == (theirs.ids, theirs.interventions)
    for name in theirs.shapes():
        assert_logits_close(ours[name], theirs[name])


@st.composite
def small_models(draw: st.DrawFn) -> ArrayWeights:
    heads = draw(st.integers(1, 3))
    return tiny_weights(
        seed=draw(st.integers(0, 99)),
        n_vocab=draw(st.integers(2, 40)),
        n_ctx=12,
        n_head=heads,
        n_embd=heads * draw(st.integers(4, 8)),
        n_layer=draw(st.integers(1, 3)),
        tie_word_embeddings=draw(st.booleans()),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 0.1])),
    )


def texts(config: GPT2Config) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, config.n_vocab - 1), min_size=1, max_size=config.n_ctx)


@st.composite
def interventions(draw: st.DrawFn, config: GPT2Config, tokens: int) -> Intervention:
    """One that can be made: each field that its kind needs, and perhaps those that it allows."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    values = st.sampled_from([-1e4, -1.0, 0.0, 0.5])
    fields = {
        "layer": st.integers(0, config.n_layer - 1),
        "head": st.integers(0, config.n_head - 1),
        "query": st.integers(0, tokens - 1),
        "key": st.integers(0, tokens - 1),
        "position": st.integers(0, tokens - 1),
    }
    given = [name for name in KINDS[kind].allows if name in KINDS[kind].needs or draw(st.booleans())]
    places = {name: draw(fields[name]) for name in given if name in fields}
    source = st.lists(st.integers(0, config.n_vocab - 1), min_size=1 + places.get("position", 0), max_size=config.n_ctx)
    return Intervention(
        kind,
        value=draw(values) if "value" in given else None,
        source=tuple(draw(source)) if "source" in given else None,
        **places,
    )
