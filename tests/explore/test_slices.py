import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.explore import slices
from cutaway.explore.slices import Index, TensorSlice, Values, parse_slice, read_slices
from cutaway.numerics import FloatArray, softmax
from cutaway.trace import Intervention, Trace
from tests.tiny import random_ids, tiny_weights

WEIGHTS = tiny_weights(n_layer=2)
IDS = random_ids(WEIGHTS.config, 7)
TRACE = Trace(WEIGHTS.config, WEIGHTS.arrays, None, IDS)
NAMES = [*TRACE.shapes(), *WEIGHTS.config.tensor_shapes()]


def check() -> None:
    """The request is not cancelled."""


def selected(text: str, trace: Trace = TRACE) -> Values:
    return read_slices(trace, [text], check)[text].values


def written(place: Index) -> str:
    if isinstance(place, int):
        return str(place)
    return ":".join("" if end is None else str(end) for end in (place.start, place.stop))


@st.composite
def selections_of(draw: st.DrawFn) -> tuple[str, tuple[Index, ...]]:
    """A tensor's name, and places along some of its axes that are there."""
    name = draw(st.sampled_from(NAMES))
    shape = {**TRACE.shapes(), **WEIGHTS.config.tensor_shapes()}[name]
    places: list[Index] = []
    for length in shape[: draw(st.integers(0, len(shape)))]:
        ends = st.none() | st.integers(-2 * length, 2 * length)
        places.append(draw(st.integers(-length, length - 1) | st.builds(slice, ends, ends)))
    return name, tuple(places)


@given(selections_of())
@settings(deadline=None, max_examples=100)
def test_slices_equal_numpys(chosen: tuple[str, tuple[Index, ...]]) -> None:
    name, places = chosen
    text = f"{name}[{','.join(map(written, places))}]" if places else name
    expected = TRACE[name][places]
    assert parse_slice(text) == TensorSlice(name, places)
    found = selected(text)
    assert found.shape == expected.shape == parse_slice(text).shape_in(TRACE[name].shape)
    if name in ("logits", "probs"):  # rows of the output matrix's product may differ in the last bit from those of all
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected)


@given(selections_of())
@settings(deadline=None, max_examples=100)
def test_origin_locates_every_element(chosen: tuple[str, tuple[Index, ...]]) -> None:
    name, places = chosen
    shape = TRACE[name].shape
    elements = np.arange(math.prod(shape)).reshape(shape)
    origin = TensorSlice(name, places).origin_in(shape)
    assert (origin.tensor, origin.shape) == (name, shape)
    part = elements[places]
    assert len(origin.steps) == part.ndim
    if part.size:
        steps = np.array(origin.steps, np.int64).reshape(-1, *[1] * part.ndim)
        np.testing.assert_array_equal(origin.offset + (np.indices(part.shape) * steps).sum(axis=0), part)


def test_spaces_are_allowed_as_people_write_them() -> None:
    assert parse_slice("attn.5[1, :, 2:5]") == parse_slice("attn.5[1,:,2:5]")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "invalid slice"),
        ("attn.0[", "invalid slice"),
        ("attn.0[]", "invalid slice"),
        ("attn.0[0]x", "invalid slice"),
        ("attn.0[0][0]", "invalid slice"),
        ("attn.0[0.5]", "invalid slice"),
        ("attn.0\n[0]", "invalid slice"),
        ("attn.0[0,]", "invalid index"),
        ("attn.0[-]", "invalid index"),
        ("attn.0[1 2]", "invalid index"),
        ("attn.0[0:4:2]", "invalid index"),
        ("attn.0[0,0,0,0]", "has 3 axes, not 4"),
        ("attn.0[3]", "index 3 is out of range for axis 0 of attn.0, of size 3"),
        ("attn.0[0,-8]", "index -8 is out of range for axis 1 of attn.0, of size 7"),
        ("attn.2", "unknown tensor 'attn.2'"),
        ("__metadata__", "unknown tensor '__metadata__'"),
        ("lm_head.weight", "unknown tensor 'lm_head.weight'"),
    ],
)
def test_rejects_invalid_slices(text: str, part: str) -> None:
    with pytest.raises(UsageError) as refusal:
        selected(text)
    assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(st.text("attn.0logitswe[]:,-1 ５²", max_size=20) | st.text(max_size=20))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    with suppress(UsageError):
        selected(text)


def test_computes_a_single_head(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    whole = Trace.attention

    def attention(trace: Trace, layer: int, first: int, last: int) -> object:
        asked.append((layer, first, last))
        return whole(trace, layer, first, last)

    monkeypatch.setattr(Trace, "attention", attention)
    trace = Trace(WEIGHTS.config, WEIGHTS.arrays, None, IDS)
    for text in ("attn.1[-1,:,2:5]", "z.0[1:]", "masked.0[5:,0]"):
        selected(text, trace)
    assert asked == [(1, 2, 3), (0, 1, 3)]


def test_slices_of_one_head_share_its_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[int, int, int]] = []
    attention = Trace.attention

    def counted(trace: Trace, layer: int, first: int, stop: int) -> dict[str, FloatArray]:
        computed.append((layer, first, stop))
        return attention(trace, layer, first, stop)

    monkeypatch.setattr(Trace, "attention", counted)
    texts = ["scores_raw.1[2,4,:]", "attn.1[2,4,:]", "z.1[2,4,:]", "attn.1[2,:,:]", "attn.0[2,:,:]"]
    found = read_slices(TRACE, texts, check)
    assert computed == [(1, 2, 3), (0, 2, 3)]
    for text, part in found.items():
        np.testing.assert_array_equal(part.values, selected(text))


@pytest.mark.parametrize("name", ["logits", "probs", "ln_f", "ln_f.rstd"])
def test_only_the_requested_rows_are_read_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    whole = Trace.read_out

    def read_out(trace: Trace, x: NDArray[np.float32]) -> object:
        rows.append(len(x))
        return whole(trace, x)

    monkeypatch.setattr(Trace, "read_out", read_out)
    trace = Trace(WEIGHTS.config, WEIGHTS.arrays, None, IDS)
    for text in (f"{name}[3]", f"{name}[-2:,0:1]"):
        selected(text, trace)
    assert rows == [1, 2]


def test_a_slice_of_logits_equals_the_traces() -> None:
    np.testing.assert_array_equal(selected("logits[3,:]"), TRACE.logits_at(3))
    np.testing.assert_array_equal(selected("probs[3]"), softmax(TRACE.logits_at(3)[None])[0])


def test_slices_include_the_interventions() -> None:
    changes = (Intervention("no_final_norm"), Intervention("zero_ablate_head", layer=0, head=1))
    trace = Trace(WEIGHTS.config, WEIGHTS.arrays, None, IDS, changes)
    assert not selected("z.0[1]", trace).any()
    for name in ("logits", "ln_f", "z.0", "attn.1"):
        np.testing.assert_array_equal(selected(name, trace), trace[name])


def test_a_response_has_at_most_256_slices() -> None:
    with pytest.raises(UsageError, match="1 to 256 slices, not 0"):
        read_slices(TRACE, [], check)
    with pytest.raises(UsageError, match="1 to 256 slices, not 257"):
        read_slices(TRACE, [f"ids[{i}:]" for i in range(257)], check)
    assert read_slices(TRACE, ["ids"] * 300, check).keys() == {"ids"}


def test_a_response_that_is_too_large_is_rejected_before_it_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_BYTES", 4 * 61 * 7)
    read_slices(TRACE, ["logits"], check)
    monkeypatch.setattr(Trace, "read_out", None)
    with pytest.raises(UsageError, match="the response would exceed 1708 bytes"):
        read_slices(TRACE, ["logits", "ids[0]"], check)


def test_a_response_has_at_most_256_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "_compute", None)
    weights = tiny_weights(n_vocab=50257, n_embd=12, n_layer=1)
    trace = Trace(weights.config, weights.arrays, None, [1])
    size = 4 * 50257 * 12
    texts = [f"wte.weight[{first}:]" for first in range(-1_000_000, -1_000_000 + 256 * 2**20 // size + 1)]
    with pytest.raises(UsageError, match="the response would exceed 268435456 bytes"):
        read_slices(trace, texts, check)


def test_cancellation_is_checked_between_tensors() -> None:
    calls: list[None] = []

    def gone() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        read_slices(TRACE, ["ids", "attn.0", "attn.1"], gone)
    assert len(calls) == 2
