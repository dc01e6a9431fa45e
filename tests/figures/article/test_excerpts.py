"""Parts of tensors: each number keeps its place."""

import numpy as np
import pytest

from cutaway.figures import Selection
from cutaway.figures.article.excerpts import (
    at,
    few_columns,
    omitted_tokens,
    part,
    selection_text,
    sheet,
    token_weights,
    weight_grid,
    weights_and_bias,
    window,
)
from cutaway.figures.panels import Bars, Grid, LocalizedText
from tests.figures.drawing import make_trace


def test_a_part_of_a_non_contiguous_tensor_has_the_right_index() -> None:
    trace = make_trace("tiny 7")
    assert not trace["q.1"].flags.c_contiguous
    cells = part(trace, "q.1", 2, slice(3, 6))
    for row, column in np.ndindex(*cells.values.shape):
        assert cells.index(row, column) == (2, 3 + row, column)
        assert cells.values[row, column] == trace["q.1"][2, 3 + row, column]


def test_at_returns_one_number() -> None:
    trace = make_trace("tiny 7")
    number = at(trace, "attn.0", 1, 6, 2, form=".2f")
    assert (number.tensor, number.index, number.form) == ("attn.0", (1, 6, 2), ".2f")
    assert number.value == trace["attn.0"][1, 6, 2]


@pytest.mark.parametrize(("name", "shape"), [("tiny 7", (1, 96)), ("untied 7", (1, 17)), ("one head 7", (1, 20))])
def test_sheet_holds_all_numbers_of_a_vector(name: str, shape: tuple[int, int]) -> None:
    trace = make_trace(name)
    cells = sheet(trace, "mlp_act.0", 3)
    assert cells.values.shape == shape
    np.testing.assert_array_equal(cells.values.ravel(), trace["mlp_act.0"][3])
    assert cells.index(shape[0] - 1, shape[1] - 1) == (3, shape[0] * shape[1] - 1)


def test_sheet_folds_a_long_vector_if_it_can() -> None:
    trace = make_trace("built-in")
    assert sheet(trace, "mlp_act.0", 3).values.shape == (16, 96)
    assert sheet(make_trace("one head 7"), "ln1.0", 0).values.shape == (1, 5)


def test_small_matrices_are_shown_whole_and_large_ones_sampled() -> None:
    small = weight_grid(make_trace("one head 7"), "h.0.attn.c_proj.weight")
    assert small.title == "h.0.attn.c_proj.weight, 5 × 5"
    assert small.cells.values.shape == (5, 5)
    trace = make_trace("built-in")
    large = weight_grid(trace, "h.0.mlp.c_fc.weight")
    assert isinstance(large.title, LocalizedText)
    assert large.title.en == "h.0.mlp.c_fc.weight, 384 × 1,536: one row in 24 and one column in 16"
    assert large.title.zh == "h.0.mlp.c_fc.weight, 384 × 1,536：每 24 行取一行、每 16 列取一列"
    np.testing.assert_array_equal(large.cells.values, trace["h.0.mlp.c_fc.weight"][::24, ::16])
    assert large.cells.index(2, 3) == (48, 48)


def test_a_bias_is_drawn_below_its_matrix() -> None:
    whole = weights_and_bias(make_trace("one head 7"), "h.0.attn.c_attn")[1]
    assert (whole.title, whole.cells.values.shape) == ("h.0.attn.c_attn.bias", (1, 15))
    thinned = weights_and_bias(make_trace("built-in"), "h.0.attn.c_attn")[1]
    said = LocalizedText("h.0.attn.c_attn.bias, one in 12 of 1,152", "h.0.attn.c_attn.bias，1,152 个，每 12 个取一个")
    assert (thinned.title, thinned.cells.values.shape, thinned.cells.index(0, 95)) == (said, (1, 96), (1140,))


def test_wide_vectors_show_their_first_numbers() -> None:
    assert few_columns(192) == (slice(192), LocalizedText("", ""))
    assert few_columns(768)[1] == LocalizedText(", the first 192 of 768 numbers", "，768 个数中的前 192 个")


def test_weights_have_bars_while_they_fit() -> None:
    few = make_trace("tiny 7")
    many = make_trace("long 70")
    assert isinstance(token_weights(few, "", part(few, "attn.0", 0, 6)), Bars)
    assert isinstance(token_weights(many, "", part(many, "attn.0", 0, 6)), Grid)


@pytest.mark.parametrize(
    ("name", "position", "rows"),
    [
        ("tiny 7", 6, (0, 7)),
        ("tiny 1", 0, (0, 1)),
        ("long 70", 0, (0, 16)),
        ("long 70", 30, (18, 34)),
        ("long 70", 69, (54, 70)),
    ],
)
def test_a_window_contains_the_position(name: str, position: int, rows: tuple[int, int]) -> None:
    assert window(make_trace(name), position) == slice(*rows)


def test_says_what_is_omitted() -> None:
    assert omitted_tokens(make_trace("tiny 7")) == LocalizedText("", "")
    assert omitted_tokens(make_trace("long 70")).en == "16 of 70 tokens are shown."


def test_positions_are_counted_from_1_in_prose_and_from_0_as_indices() -> None:
    assert selection_text(Selection(2, 1, 8)).en == "layer 2, head 1 (counted from 0), position 9 (index 8)"
