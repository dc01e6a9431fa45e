"""F01 to F17 and T1 to T4: a language model from outside, and what its mask is for."""

from collections.abc import Sequence

import numpy as np
import pytest

from cutaway.config import PUBLISHED, GPT2Config
from cutaway.figures import Figure, Selection, all_figures
from cutaway.figures.article import (
    decoding,
    part1_autoregression,
    part1_greedy_decoding,
    part1_language_model,
    part1_looking_inside,
    part1_masking,
    part1_model_sizes,
    part1_simplifications,
)
from cutaway.figures.panels import Box, Drawing, Grid, Note, Number, Panel, Table
from cutaway.numerics import softmax
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Intervention, Trace
from tests.figures.drawing import TRACES, assert_drawn, draw, falsify, is_ok, make_trace
from tests.tiny import tiny_weights

FIGURES: list[Figure] = [
    each
    for room in (
        part1_language_model,
        part1_model_sizes,
        part1_autoregression,
        part1_greedy_decoding,
        part1_masking,
        part1_looking_inside,
        part1_simplifications,
    )
    for each in room.FIGURES
]
BY_ID = {each.id: each for each in FIGURES}


def figure(name: str) -> Figure:
    return BY_ID[name]


def of_shape(tokens: Sequence[int], tokenizer: Tokenizer | None = None, **shape: int) -> Trace:
    weights = tiny_weights(**shape)
    tensors = {name: weights.read(name) for name in weights.config.tensor_shapes()}
    return Trace(weights.config, tensors, tokenizer, tokens)


def numbers(panel: Panel) -> list[list[float]]:
    assert isinstance(panel, Table)
    return [[entry.value for entry in row if isinstance(entry, Number)] for row in panel.rows]


def boxes(panel: Panel) -> list[str]:
    """The texts in a diagram's boxes that are tokens or names."""
    assert isinstance(panel, Drawing)
    return [shape.text for shape in panel.shapes if isinstance(shape, Box) and isinstance(shape.text, str)]


def test_these_are_all() -> None:
    pictures = {name: each.picture for name, each in BY_ID.items()}
    assert pictures == {
        "F01": 2, "F02": 1, "F03": 4, "F04": None, "F07": 7, "F08": None, "F09": 3, "F12": 10, "F13": 11, "F14": 12,
        "F15": 13, "F16": 14, "F17": 15, "T1": None, "T2": None, "T3": None, "T4": None,
    }  # fmt: skip
    assert all(each.part == 1 and each.status == "live" for each in FIGURES)
    assert set(BY_ID) <= set(all_figures())


@pytest.mark.parametrize("name", [*TRACES, "one head 9", "long 69"])
@pytest.mark.parametrize("each", FIGURES, ids=lambda each: each.id)
def test_holds_and_can_be_drawn(each: Figure, name: str) -> None:
    trace = make_trace(name)
    assert_drawn(trace, each)
    assert_drawn(trace, each, Selection(trace.config.n_layer - 1, trace.config.n_head - 1, len(trace) // 2))


@pytest.mark.parametrize("each", FIGURES, ids=lambda each: each.id)
def test_a_vocabulary_may_be_padded(each: Figure) -> None:
    tokenizer = Tokenizer.gpt2()
    padded = of_shape([50256, 50299, 262], tokenizer, n_vocab=50300, n_embd=4, n_head=1, n_layer=1, n_ctx=6)
    assert_drawn(padded, each)


@pytest.mark.parametrize("each", FIGURES, ids=lambda each: each.id)
def test_a_context_may_hold_one_token(each: Figure) -> None:
    assert_drawn(of_shape([3], n_ctx=1), each)


@pytest.mark.parametrize("each", FIGURES, ids=lambda each: each.id)
def test_a_change_at_a_late_token_does_not_disturb_the_early_ones(each: Figure) -> None:
    cut = make_trace("tiny 7").intervene(Intervention("attention_knockout", query=6, key=5))
    assert_drawn(cut, each)


@pytest.mark.parametrize("name", ["F02", "F12", "F13", "F16", "F17", "T4"])
def test_without_the_mask_it_does_not_hold(name: str) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, figure(name))
    assert not is_ok(trace.intervene(Intervention("no_mask")), figure(name), Selection(position=3))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("F01", "logits"),
        ("F01", "resid.post.1"),
        ("F04", "logits"),
        ("F04", "resid.post.1"),
        ("F12", "attn.0"),
        ("F13", "attn.0"),
        ("F15", "pos_emb"),
    ],
)
def test_a_wrong_number_is_found(name: str, tensor: str) -> None:
    assert not is_ok(falsify(make_trace("tiny 7"), tensor), figure(name), Selection(position=3))


@pytest.mark.parametrize("name", ["F01", "F04"])
def test_other_candidates_than_the_likeliest_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part1_language_model, "candidates", second_best)
    assert not is_ok(make_trace("tiny 7"), figure(name))


@pytest.mark.parametrize("name", ["F01", "F04"])
def test_shares_of_other_tokens_than_all_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part1_language_model, "candidates", among_the_shown)
    assert not is_ok(make_trace("tiny 7"), figure(name))


def among_the_shown(trace: Trace, count: int) -> list[decoding.Candidate]:
    likely = decoding.candidates(trace, count)
    total = sum(each.probability for each in likely)
    return [decoding.Candidate(each.id, each.logit, each.probability / total) for each in likely]


@pytest.mark.parametrize("name", ["F08", "T1"])
def test_a_loop_that_takes_other_tokens_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "candidates", second_best)
    trace = make_trace("tiny 7")
    assert not is_ok(Trace(trace.config, trace.weights, None, trace.ids), figure(name))


def second_best(trace: Trace, count: int) -> list[decoding.Candidate]:
    logits = trace.logits_at(-1)
    order = np.argsort(-logits)[1 : count + 1]
    return [decoding.Candidate(int(token), float(logits[token]), 0.0) for token in order]


def test_a_loop_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    step = decoding.Step(trace.ids, 7, decoding.Candidate(1, 0.0, 0.0))
    monkeypatch.setattr(part1_autoregression, "go_on", lambda trace, most: ([step] * most, trace))
    assert not is_ok(trace, figure("F09"))


@pytest.mark.parametrize(
    ("name", "tensor", "shape"),
    [
        ("F03", "ln_f.bias", (25,)),
        ("F07", "wpe.weight", (49, 24)),
        ("F14", "h.2.attn.c_attn.weight", (24, 72)),
        ("F14", "h.0.crossattention.c_attn.weight", (24, 48)),
        ("F15", "wpe.weight", (49, 24)),
    ],
)
def test_weights_of_another_shape_are_found(name: str, tensor: str, shape: tuple[int, ...]) -> None:
    trace = make_trace("tiny 7")
    other = Trace(trace.config, trace.weights, None, trace.ids)
    other.weights = dict(trace.weights) | {tensor: np.zeros(shape, np.float32)}
    assert is_ok(trace, figure(name))
    assert not is_ok(other, figure(name))


def test_the_published_sizes_are_counted() -> None:
    table = draw(make_trace("tiny 7"), figure("F03")).panels[2]
    counted = [row[0] for row in numbers(table)]
    assert counted[:4] == [124_439_808, 354_823_168, 774_030_080, 1_557_611_200]
    assert counted[4] == make_trace("tiny 7").config.n_params
    table = draw(make_trace("tiny 7"), figure("F07")).panels[2]
    assert numbers(table) == [[12, 768, 12], [24, 1024, 16], [36, 1280, 20], [48, 1600, 25], [2, 24, 3]]


def test_boxes_are_as_large_as_the_models() -> None:
    drawing = draw(make_trace("tiny 7"), figure("F03")).panels[1]
    assert isinstance(drawing, Drawing)
    areas = [shape.width * shape.height for shape in drawing.shapes if isinstance(shape, Box)]
    for area, model in zip(areas, PUBLISHED, strict=True):
        assert area / areas[0] == pytest.approx(model.config.n_params / GPT2Config().n_params, rel=0.03)


def test_candidates_are_the_largest_logits() -> None:
    trace = make_trace("built-in")
    logits = trace["logits"][-1]
    order = np.argsort(-logits)
    for name, count in (("F01", 3), ("F04", 10)):
        table = draw(trace, figure(name)).panels[2]
        assert isinstance(table, Table)
        indices = [entry.index for row in table.rows for entry in row if isinstance(entry, Number)]
        assert [index for _, index in indices[::2]] == order[:count].tolist()
        np.testing.assert_allclose([row[1] for row in numbers(table)], softmax(logits)[order[:count]], rtol=1e-4)


def test_suggestions_stand_on_keys_above_the_text() -> None:
    keys = boxes(draw(make_trace("built-in"), figure("F01")).panels[1])
    assert len(keys) == 4
    assert keys[-1].startswith("<|endoftext|>A␣robot")


def test_a_word_is_hidden_between_others() -> None:
    trace = make_trace("tiny 7")
    for position, hidden in ((-1, 3), (0, 3), (2, 2), (5, 5)):
        table = draw(trace, figure("F02"), Selection(position=position)).panels[2]
        (alone, loss), (whole, _) = numbers(table)
        assert whole == pytest.approx(float(trace["probs"][hidden - 1, trace.ids[hidden]]), abs=1e-6)
        assert alone == pytest.approx(whole, abs=1e-6)
        assert loss == pytest.approx(-np.log(alone))


def test_the_last_position_gives_way_to_one_that_has_later_ones() -> None:
    trace = make_trace("tiny 7")
    for position, shown in ((-1, 3), (6, 3), (5, 5), (0, 0)):
        grid = draw(trace, figure("F12"), Selection(position=position)).panels[1]
        assert isinstance(grid, Grid)
        assert (grid.cells.values == trace["attn.0"][:, shown]).all()
        assert (grid.cells.values[:, shown + 1 :] == 0).all()


@pytest.mark.parametrize("name", ["F02", "F12"])
@pytest.mark.parametrize(("position", "another"), [(6, True), (-1, True), (4, False), (1, False)])
def test_it_says_when_it_shows_another_position(name: str, position: int, another: bool) -> None:
    said = draw(make_trace("tiny 7"), figure(name), Selection(position=position)).text(columns=1000)
    assert ("position 7 (index 6)" in said.lower()) == another
    assert ("position 4 (index 3)" in said) == another


def test_the_first_word_and_a_very_late_one_are_not_hidden() -> None:
    for position, why in ((0, "nothing before it"), (60, "too much before it")):
        assert why in draw(make_trace("long 70"), figure("F02"), Selection(position=position)).text(columns=1000)


def test_the_mask_is_taken_off_one_layer() -> None:
    trace = make_trace("tiny 7")
    free = draw(trace, figure("F13"), Selection(1, 2, 3)).panels[2]
    assert isinstance(free, Grid)
    np.testing.assert_allclose(free.cells.values, softmax(trace["scores.1"][2]), atol=1e-6)


def test_what_comes_out_goes_in() -> None:
    trace = make_trace("built-in")
    texts = boxes(draw(trace, figure("F09")).panels[1])
    out = [texts[1], texts[4], texts[7]]
    assert texts == ["GPT-2", out[0], out[0], "GPT-2", out[1], out[1], "GPT-2", out[2]]


def test_the_loop_ends_with_the_context() -> None:
    trace = make_trace("one head 7")
    steps_, last = decoding.go_on(trace, 12)
    assert (len(steps_), len(last)) == (3, trace.config.n_ctx)
    assert [step.computed for step in steps_[1:]] == [1, 1]


def test_the_second_step_computes_one_position() -> None:
    table = draw(make_trace("tiny 7"), figure("F17")).panels[2]
    (computed,), (reused,), (moved,), (anew,) = numbers(table)
    assert (computed, reused, moved) == (1, 1, 0)
    assert anew < 1e-4


@pytest.mark.parametrize(
    ("ids", "run"),
    [([], 0), ([1], 0), ([1, 2], 0), ([1, 1], 1), ([1, 2, 1], 1), ([1, 2, 3, 1, 2], 2), ([1, 2, 1, 2, 1], 3)],
)
def test_a_run_that_stood_before_is_found(ids: list[int], run: int) -> None:
    assert part1_greedy_decoding.seen_before(ids) == run


@pytest.mark.parametrize(
    ("ids", "lap"),
    [
        ([], 0),
        ([1] * 7, 0),
        ([1] * 8, 1),
        ([1, 2] * 4, 2),
        ([1, 2] * 3, 0),
        ([9, 1, 2, 3, 4] + [5, 6, 7] * 3, 3),
        ([5, 6, 7, 8] * 3, 4),
        ([5, 6, 7, 8] * 3 + [5], 4),
        ([5, 6, 7, 8] * 3 + [9], 0),
    ],
)
def test_a_lap_is_found_where_it_stands_three_times_in_a_row(ids: list[int], lap: int) -> None:
    assert part1_greedy_decoding.find_lap(ids) == lap


def test_a_model_that_runs_in_circles() -> None:
    trace = make_trace("tiny 7")
    nothing = {name: np.zeros_like(tensor) for name, tensor in trace.weights.items()}
    drawn = draw(Trace(trace.config, nothing, None, trace.ids), figure("T1"))
    _, laps, _, ways = drawn.panels
    assert [row[1] for row in numbers(laps)] == list(range(8))  # the lowest id every time
    assert isinstance(ways, Table)
    assert [row[1] for row in ways.rows] == ["#0", "#1"]
    assert "From step 1 on the same token stands 8 times in a row" in drawn.text(columns=200)


def test_the_built_in_model_runs_in_a_circle_and_leaves_it() -> None:
    trace = make_trace("built-in")
    found = part1_greedy_decoding.walk(trace)
    assert trace.tokenizer
    assert trace.tokenizer.decode(found.written[-found.lap :]).split(",")[0].strip() in "and the United States"
    assert found.written[found.start : -found.lap] == found.written[found.closed :]
    second = decoding.candidates(trace.edit([*trace.ids, *found.written[: found.closed]]), 2)[1]
    assert found.other
    assert found.other.id == second.id
    assert [step.chosen.id for step in found.after] != found.written[found.closed + 1 :][: len(found.after)]


def test_where_there_is_no_circle_it_says_so() -> None:
    drawn = draw(make_trace("one head 7"), figure("T1"))
    assert "In 3 steps, which fill the context, no run of tokens stands 3 times in a row" in drawn.text(columns=200)
    assert len(drawn.panels) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [("tiny 7", "that many were written"), ("one head 9", "all slots are full"), ("one head 7", "all slots are full")],
)
def test_why_it_stops(name: str, reason: str) -> None:
    check = draw(make_trace(name), figure("T2")).check
    assert check is not None
    assert check.statement.en.endswith(reason)


def test_the_end_of_text_is_a_reason() -> None:
    trace = make_trace("built-in")
    end = trace.weights["wte.weight"][50256]
    biased = dict(trace.weights) | {"ln_f.bias": 100 * end / np.linalg.norm(end)}
    check = draw(Trace(trace.config, biased, trace.tokenizer, trace.ids), figure("T2")).check
    assert check is not None
    assert check.statement.en.endswith("the end-of-text token was chosen")


def test_a_model_that_reads_beyond_its_slots_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part1_simplifications, "Trace", lambda *arguments: None)
    assert not is_ok(make_trace("tiny 7"), figure("T2"))


def test_pieces_are_the_text_and_merges_lead_to_tokens() -> None:
    trace = make_trace("built-in")
    _, pieces, merges, vocabulary = draw(trace, figure("T3")).panels
    assert sum(row[0] for row in numbers(pieces)) == len("<|endoftext|>A robot must obey the orders given it")
    ranks = [row[0] for row in numbers(merges)]
    assert ranks[:2] == sorted(ranks[:2])
    assert [row[0] for row in numbers(vocabulary)] == [256, 50_000, 1, 50_257]


def test_another_tokenizer_than_the_models_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text, allow_special=False: [0])
    assert not is_ok(make_trace("built-in"), figure("T3"))


def test_without_a_tokenizer_tokens_stand_for_nothing() -> None:
    (note,) = draw(make_trace("tiny 7"), figure("T3")).panels
    assert isinstance(note, Note)


def test_both_ways_compute_the_same() -> None:
    table = draw(make_trace("long 70"), figure("T4")).panels[1]
    assert len(numbers(table)) == part1_simplifications.MOST_TOKENS
    assert all(computed == 1 and apart < 1e-3 for computed, apart in numbers(table))
