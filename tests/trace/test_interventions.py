"""Each intervention does what it says, where it says, and nothing else; and which ones let a token see what follows."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray
from cutaway.trace import Intervention, Trace
from cutaway.trace.interventions import KINDS, KNOCKED_OUT, fitting, made_in
from tests.tiny import assert_logits_close, random_ids, tiny_weights
from tests.trace.tracing import EXAMPLES, trace_of

WEIGHTS = tiny_weights()
IDS = random_ids(WEIGHTS.config, 9)
PLAIN = trace_of(WEIGHTS, IDS)
FUTURE = ~np.tri(len(IDS), dtype=bool)

CHANGED = {kind: trace_of(WEIGHTS, IDS, example) for kind, example in EXAMPLES.items()}

same = np.testing.assert_array_equal


def test_there_is_an_example_of_every_kind() -> None:
    assert list(EXAMPLES) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_the_logits_and_no_earlier_tensor(kind: str) -> None:
    tensor = KINDS[kind].tensor if KINDS[kind].tensor in ("pos_emb", "ln_f") else f"{KINDS[kind].tensor}.1"
    names = list(PLAIN.shapes())
    for name in names[: names.index(tensor)]:
        same(CHANGED[kind][name], PLAIN[name])
    assert np.abs(CHANGED[kind]["logits"] - PLAIN["logits"]).max() > 1e-3


def others(z: FloatArray) -> FloatArray:
    return z[:2]


def test_zero_ablate_head() -> None:
    z = CHANGED["zero_ablate_head"]["z.1"]
    assert not z[2].any()
    same(others(z), others(PLAIN["z.1"]))


def test_mean_ablate_head() -> None:
    z = CHANGED["mean_ablate_head"]["z.1"]
    plain = PLAIN["z.1"]
    same(z[2], np.broadcast_to(plain[2].mean(axis=0), plain[2].shape))
    same(others(z), others(plain))


def test_scale_head() -> None:
    z = CHANGED["scale_head"]["z.1"]
    plain = PLAIN["z.1"]
    same(z[2], plain[2] * np.float32(-0.5))
    same(others(z), others(plain))


def test_zero_ablate_attention() -> None:
    trace = CHANGED["zero_ablate_attention"]
    assert not trace["attn_out.1"].any()
    same(trace["resid.mid.1"], trace["resid.pre.1"])
    same(trace["z.1"], PLAIN["z.1"])


def test_zero_ablate_mlp() -> None:
    trace = CHANGED["zero_ablate_mlp"]
    assert not trace["mlp_out.1"].any()
    same(trace["resid.post.1"], trace["resid.mid.1"])


def test_attention_knockout() -> None:
    attn = CHANGED["attention_knockout"]["attn.1"].copy()
    plain = PLAIN["attn.1"].copy()
    assert attn[2, 5, 3] == 0
    plain[2, 5, 3] = 0
    plain[2, 5] /= plain[2, 5].sum()
    np.testing.assert_allclose(attn[2, 5], plain[2, 5], atol=1e-6)
    attn[2, 5] = plain[2, 5]
    same(attn, plain)


def test_a_knockout_is_in_every_head_and_layer_by_default() -> None:
    trace = trace_of(WEIGHTS, IDS, Intervention("attention_knockout", query=5, key=3))
    assert not trace["attn.0"][:, 5, 3].any()
    assert not trace["attn.1"][:, 5, 3].any()
    assert trace["attn.1"][:, 5, 2].all()


def test_a_token_without_edges_attends_equally_to_all_earlier_tokens() -> None:
    cuts = [Intervention("attention_knockout", layer=0, head=1, query=2, key=key) for key in range(9)]
    same(trace_of(WEIGHTS, IDS, *cuts)["attn.0"][1, 2], np.array([1 / 3] * 3 + [0] * 6, np.float32))


def test_no_mask() -> None:
    trace = CHANGED["no_mask"]
    same(trace["masked.1"], trace["scores.1"])
    assert trace["attn.1"][:, FUTURE].all()


def test_a_knocked_out_edge_stays_removed_without_the_mask() -> None:
    for off in (EXAMPLES["no_mask"], EXAMPLES["mask_value"]):
        for both in ([EXAMPLES["attention_knockout"], off], [off, EXAMPLES["attention_knockout"]]):
            masked = trace_of(WEIGHTS, IDS, *both)["masked.1"]
            assert masked[2, 5, 3] == KNOCKED_OUT
            assert (masked == KNOCKED_OUT).sum() == 1


def test_mask_value() -> None:
    masked = CHANGED["mask_value"]["masked.1"]
    assert (masked[:, FUTURE] == 0.25).all()
    same(masked[:, ~FUTURE], PLAIN["masked.1"][:, ~FUTURE])


def test_no_scale() -> None:
    trace = CHANGED["no_scale"]
    same(trace["scores.1"], trace["scores_raw.1"])
    assert (trace["masked.1"][:, FUTURE] == -1e10).all()


def test_values_are_keys() -> None:
    trace = CHANGED["values_are_keys"]
    same(trace["v.1"], trace["k.1"])
    same(trace["cache.v"][0], PLAIN["v.0"])


def test_no_positions() -> None:
    trace = CHANGED["no_positions"]
    same(trace["resid.pre.0"], trace["tok_emb"])


def test_previous_queries() -> None:
    q = CHANGED["previous_queries"]["q.1"]
    plain = PLAIN["q.1"]
    same(q[:, 0], plain[:, 0])
    same(q[:, 1:], plain[:, :-1])
    alone = Intervention("previous_queries")
    same(trace_of(WEIGHTS, IDS[:1], alone)["logits"], trace_of(WEIGHTS, IDS[:1])["logits"])


def test_no_residual_attention() -> None:
    trace = CHANGED["no_residual_attention"]
    same(trace["resid.mid.1"], trace["attn_out.1"])


def test_no_residual_mlp() -> None:
    trace = CHANGED["no_residual_mlp"]
    same(trace["resid.post.1"], trace["mlp_out.1"])


def test_patch_residual() -> None:
    trace = CHANGED["patch_residual"]
    example = EXAMPLES["patch_residual"]
    assert example.source
    other = trace_of(WEIGHTS, list(example.source))
    expected = PLAIN["resid.post.1"].copy()
    expected[5] = other["resid.post.1"][5]
    same(trace["resid.post.1"], expected)


def test_patching_every_layer_and_position_gives_the_other_text() -> None:
    source = tuple(reversed(IDS))
    patches = [
        Intervention("patch_residual", layer=0, position=position, source=source) for position in range(len(IDS))
    ]
    assert_logits_close(trace_of(WEIGHTS, IDS, *patches)["logits"], trace_of(WEIGHTS, list(source))["logits"])


def test_a_patch_of_the_same_text_changes_nothing() -> None:
    patch = Intervention("patch_residual", layer=0, position=5, source=tuple(IDS))
    assert_logits_close(trace_of(WEIGHTS, IDS, patch)["logits"], PLAIN["logits"])


def test_reads_only_as_much_of_a_source_as_the_patches_need(monkeypatch: pytest.MonkeyPatch) -> None:
    from cutaway.trace import forward as forward_module

    plain = forward_module.forward
    read = []

    def noted(config: GPT2Config, weights: object, ids: Sequence[int], *rest: object, **options: object) -> object:
        read.append((options["n_layers"], tuple(ids)))
        return plain(config, weights, ids, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(forward_module, "forward", noted)
    source = tuple(range(20))
    other = tuple(range(20, 40))
    patches = [
        Intervention("patch_residual", layer=0, position=2, source=source),
        Intervention("patch_residual", layer=0, position=5, source=source),
        Intervention("patch_residual", layer=1, position=0, source=other),
    ]
    trace_of(WEIGHTS, IDS, *patches)
    assert read == [(1, source[:6]), (2, other[:1])]


def test_the_source_of_a_reused_patch_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from cutaway.trace import forward as forward_module

    plain = forward_module.forward
    read = []

    def counted(*arguments: object, **options: object) -> object:
        read.append(arguments[2])
        return plain(*arguments, **options)  # type: ignore[arg-type]

    trace = CHANGED["patch_residual"]
    monkeypatch.setattr(forward_module, "forward", counted)
    longer = trace.append(1)
    assert read == []  # `trace` has its own name of the function; patches read their sources by this one
    monkeypatch.undo()
    same(longer["resid.post.1"][:9], trace["resid.post.1"])


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ((1, 2), "the source of a patch must be token ids, 4 to 48 of them in a tuple, not (1, 2)"),
        ((1, 2, 3), "4 to 48 of them in a tuple, not (1, 2, 3)"),
        ([1, 2, 3, 4], "in a tuple, not [1, 2, 3, 4]"),
        ((1,) * 49, "4 to 48 of them"),
        ((1, 2, 3, 61), "a token id of the source must be from 0 to 60, not 61"),
        (None, "the intervention patch_residual needs a source"),
    ],
)
def test_rejects_an_invalid_source(source: tuple[int, ...] | None, complaint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(complaint)):
        trace_of(WEIGHTS, IDS, Intervention("patch_residual", layer=0, position=3, source=source))


@pytest.mark.parametrize(
    "intervention",
    [
        Intervention("attention_knockout", query=4, key=0),
        Intervention("attention_knockout", query=0, key=4),
        Intervention("patch_residual", layer=0, position=4, source=(1,) * 5),
    ],
)
def test_an_intervention_fits_a_text_that_has_its_position(intervention: Intervention) -> None:
    assert fitting([intervention], tokens=5) == [intervention]
    assert fitting([intervention], tokens=4) == []


def test_rejects_invalid_interventions() -> None:
    with pytest.raises(UsageError, match="^each intervention must be an Intervention, not \\["):
        PLAIN.intervene([Intervention("no_mask")])  # type: ignore[arg-type]


def test_no_final_norm() -> None:
    trace = CHANGED["no_final_norm"]
    same(trace["ln_f"], trace["resid.post.1"])
    same(trace["logits"], trace["resid.post.1"] @ trace["wte.weight"].T)
    assert_logits_close(trace.logits_at(3), trace["logits"][3])


def test_without_a_layer_an_intervention_is_in_all() -> None:
    trace = trace_of(WEIGHTS, IDS, Intervention("zero_ablate_mlp"))
    assert not trace["mlp_out.0"].any()
    assert not trace["mlp_out.1"].any()


def test_interventions_add_up() -> None:
    twice = trace_of(WEIGHTS, IDS, EXAMPLES["scale_head"], EXAMPLES["scale_head"])
    same(twice["z.1"][2], PLAIN["z.1"][2] * np.float32(0.25))
    both = trace_of(WEIGHTS, IDS, EXAMPLES["zero_ablate_attention"], EXAMPLES["no_residual_attention"])
    assert not both["resid.mid.1"].any()


LOOKING_AHEAD = ("mean_ablate_head", "no_mask", "mask_value")


@pytest.mark.parametrize("kind", KINDS)
def test_only_interventions_that_look_ahead_make_tokens_depend_on_later_ones(kind: str) -> None:
    def early(trace: Trace) -> FloatArray:
        return trace["logits"][:5]

    changed = trace_of(WEIGHTS, [*IDS[:6], 0, 1, 2], EXAMPLES[kind])
    difference = float(np.abs(early(changed) - early(CHANGED[kind])).max())
    assert difference > 1e-3 if kind in LOOKING_AHEAD else difference < 1e-4


def test_made_in_selects_by_layer() -> None:
    given = [EXAMPLES["no_final_norm"], EXAMPLES["zero_ablate_mlp"], Intervention("no_scale")]
    assert made_in(0, given) == given[2:]
    assert made_in(1, given) == given[1:]


@pytest.mark.parametrize(
    ("intervention", "complaint"),
    [
        (Intervention("no_such"), "unknown intervention 'no_such': use one of zero_ablate_head, "),
        (Intervention("x\n" * 99), "unknown intervention"),
        (Intervention("zero_ablate_head", layer=0), "needs a head"),
        (Intervention("zero_ablate_head", head=0), "needs a layer"),
        (Intervention("scale_head", layer=0, head=0), "needs a value"),
        (Intervention("attention_knockout", query=1), "needs a key"),
        (Intervention("mask_value"), "needs a value"),
        (Intervention("zero_ablate_mlp", head=0), "has no head"),
        (Intervention("zero_ablate_mlp", value=1.0), "has no value"),
        (Intervention("no_positions", layer=0), "has no layer"),
        (Intervention("no_final_norm", layer=1), "has no layer"),
        (Intervention("zero_ablate_mlp", layer=2), "layer must be from 0 to 1, not 2"),
        (Intervention("zero_ablate_mlp", layer=-1), "layer must be from 0 to 1, not -1"),
        (Intervention("zero_ablate_mlp", layer=True), "layer must be a whole number"),
        (Intervention("zero_ablate_head", layer=0, head=3), "head must be from 0 to 2"),
        (Intervention("attention_knockout", query=9, key=0), "query must be from 0 to 8"),
        (Intervention("attention_knockout", query=0, key=9), "key must be from 0 to 8"),
        (Intervention("mask_value", value=float("nan")), "value must be from"),
        (Intervention("mask_value", value=float("-inf")), "value must be from"),
        (Intervention("mask_value", value=1e13), "value must be from"),
        (Intervention("mask_value", value="0"), "value must be a number"),  # type: ignore[arg-type]
    ],
)
def test_rejects_invalid_fields_in_one_line(intervention: Intervention, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        trace_of(WEIGHTS, IDS, intervention)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [-1e12, -1e4, 1e12])
def test_large_values_do_not_overflow(value: float) -> None:
    for intervention in (
        Intervention("scale_head", layer=0, head=0, value=value),
        Intervention("mask_value", value=value),
    ):
        assert np.isfinite(trace_of(WEIGHTS, IDS, intervention)["logits"]).all()
