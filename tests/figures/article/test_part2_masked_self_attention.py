"""F36 to F40: the mask, in one row and in matrices."""

import numpy as np
import pytest

from cutaway.engines.reference import MASKED
from cutaway.figures import Figure, Selection
from cutaway.figures.article import part2_attention_matrices, part2_masked_self_attention
from cutaway.figures.colours import paint
from cutaway.figures.panels import Grid, Number, Table
from cutaway.trace import Intervention
from tests.figures.drawing import TRACES, assert_drawn, draw, falsify, is_ok, make_trace

FIGURES = {figure.id: figure for figure in (*part2_masked_self_attention.FIGURES, *part2_attention_matrices.FIGURES)}


def test_these_are_all() -> None:
    assert sorted(FIGURES) == ["F36", "F37", "F38", "F39", "F40"]
    assert [FIGURES[name].picture for name in sorted(FIGURES)] == list(range(34, 39))
    assert all(figure.part == 2 and figure.status == "live" for figure in FIGURES.values())


@pytest.mark.parametrize("name", [*TRACES, "tiny 2", "tiny 3"])
@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_holds_and_can_be_drawn(figure: Figure, name: str) -> None:
    trace = make_trace(name)
    assert_drawn(trace, figure)
    assert_drawn(trace, figure, Selection(trace.config.n_layer - 1, trace.config.n_head - 1, 0))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("F36", "scores.0"),
        ("F36", "masked.0"),
        ("F36", "attn.0"),
        ("F38", "scores_raw.0"),
        ("F38", "k.0"),
        ("F39", "scores.0"),
        ("F39", "masked.0"),
        ("F39", "attn.0"),
        ("F40", "attn.0"),
    ],
)
def test_a_wrong_number_is_found(name: str, tensor: str) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, FIGURES[name])
    assert not is_ok(falsify(trace, tensor), FIGURES[name])


@pytest.mark.parametrize("tensor", ["scores", "masked", "attn"])
def test_weights_of_tokens_that_are_not_masked_are_checked(tensor: str) -> None:
    trace = make_trace("tiny 2")  # which has no later token
    assert is_ok(trace, FIGURES["F36"])
    assert not is_ok(falsify(trace, f"{tensor}.0"), FIGURES["F36"])


@pytest.mark.parametrize("name", ["F36", "F37", "F39", "F40"])
def test_without_the_mask_the_claims_fail(name: str) -> None:
    assert not is_ok(make_trace("tiny 7").intervene(Intervention("no_mask")), FIGURES[name])


def test_a_score_of_zero_is_no_mask() -> None:
    zero = make_trace("tiny 7").intervene(Intervention("mask_value", value=0))
    assert not is_ok(zero, FIGURES["F36"])
    assert not is_ok(zero, FIGURES["F39"])


def test_the_sums_are_of_the_chosen_heads_rows() -> None:
    other = falsify(make_trace("tiny 7"), "attn.1")  # in a model's own weights every row of every head sums to 1
    sums = draw(other, FIGURES["F40"], Selection(1, 2, 3)).panels[2]
    assert isinstance(sums, Grid)
    np.testing.assert_allclose(sums.cells.values[:, 0], other["attn.1"][2].sum(axis=-1), rtol=1e-5)


def test_the_second_token_gives_nothing_to_those_after_it() -> None:
    table = draw(make_trace("tiny 7"), FIGURES["F36"]).panels[1]
    assert isinstance(table, Table)
    for key, (_, score, hidden, weight) in enumerate(table.rows):
        assert isinstance(score, Number)
        assert isinstance(hidden, Number)
        assert isinstance(weight, Number)
        assert hidden.value == (score.value if key < 2 else MASKED)
        assert (weight.value > 0) == (key < 2)


def test_examples_are_prefixes_and_the_token_after_them() -> None:
    trace = make_trace("built-in")
    table = draw(trace, FIGURES["F37"]).panels[1]
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows[:3]] == ["<|endoftext|>", "<|endoftext|>A", "<|endoftext|>A␣robot"]
    assert [row[2] for row in table.rows] == ["A", "␣robot", "␣must", "␣obey", "␣the", "␣orders", "␣given", "␣it"]
    for place, row in enumerate(table.rows):
        loss = row[3]
        assert isinstance(loss, Number)
        np.testing.assert_allclose(loss.value, -np.log(trace["probs"][place, trace.ids[place + 1]]), rtol=1e-4)


def test_the_opened_cell_is_the_sum_of_its_products() -> None:
    trace = make_trace("tiny 7")
    matrix, query, key, products = draw(trace, FIGURES["F38"], Selection(1, 2, 5)).panels[1:]
    assert isinstance(matrix, Grid)
    assert isinstance(query, Grid)
    assert isinstance(key, Grid)
    assert isinstance(products, Grid)
    column = key.cells.index(0, 0)[1]
    np.testing.assert_allclose(products.cells.values.sum(), matrix.cells.values[5, column], rtol=1e-4)
    np.testing.assert_array_equal(products.cells.values, query.cells.values * key.cells.values)


@pytest.mark.parametrize(("name", "shape"), [("tiny 7", (7, 1)), ("long 70", (1, 70))])
def test_the_sums_of_many_rows_are_on_one_line(name: str, shape: tuple[int, int]) -> None:
    sums = draw(make_trace(name), FIGURES["F40"]).panels[2]
    assert isinstance(sums, Grid)
    np.testing.assert_allclose(sums.cells.values, np.ones(shape), atol=1e-5)


def test_masked_scores_have_a_mark_and_a_colour_of_their_own() -> None:
    hidden = draw(make_trace("tiny 7"), FIGURES["F39"])
    assert hidden.text().count(" -1e10") == 21 + 2  # of 7 × 7 cells, and twice in words
    assert hidden.text(columns=40).count("×") == 21 + 2  # there as shades, and "7 × 7" twice
    scores = np.array([[-15, MASKED, -np.inf, 3]], np.float32)
    for scale in ("size", "signed"):
        lowest, first, second, _ = paint(scores, scale)[0]
        assert (first == second).all()
        assert (first != lowest).any()
    grids = [panel for name in ("F38", "F39") for panel in draw(make_trace("tiny 7"), FIGURES[name]).panels]
    assert {panel.scale for panel in grids if isinstance(panel, Grid)} == {"signed"}


def test_all_scores_but_the_first_are_compared_where_there_is_one_token() -> None:
    check = draw(make_trace("tiny 1"), FIGURES["F39"]).check
    assert check is not None
    assert check.statement.en == "no score of one token is masked: the scores stay bit for bit"
