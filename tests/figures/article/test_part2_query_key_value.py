"""F44 to F56: one token on its way through a block."""

import math

import numpy as np
import pytest

from cutaway.figures import Figure, Selection
from cutaway.figures.article import part2_heads, part2_projection_and_mlp, part2_query_key_value, part2_score_and_sum
from cutaway.figures.panels import Box, Drawing, Grid, Label, Number, Table
from cutaway.trace import Intervention, Trace
from tests.figures.drawing import TRACES, assert_drawn, draw, falsify, is_ok, make_trace
from tests.tiny import tiny_weights

ALL = (
    *part2_query_key_value.FIGURES,
    *part2_heads.FIGURES,
    *part2_score_and_sum.FIGURES,
    *part2_projection_and_mlp.FIGURES,
)
FIGURES = {figure.id: figure for figure in sorted(ALL, key=lambda figure: figure.id)}


def test_these_are_all() -> None:
    assert list(FIGURES) == [f"F{number}" for number in range(44, 57)]
    assert [figure.picture for figure in FIGURES.values()] == list(range(42, 55))
    assert all(figure.part == 2 and figure.status == "live" for figure in FIGURES.values())


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_holds_and_can_be_drawn(figure: Figure, name: str) -> None:
    trace = make_trace(name)
    assert_drawn(trace, figure)
    assert_drawn(trace, figure, Selection(trace.config.n_layer - 1, trace.config.n_head - 1, 0))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("F44", "resid.pre.0"),
        ("F44", "ln1.0"),
        ("F45", "qkv.0"),
        ("F45", "h.0.attn.c_attn.bias"),
        ("F46", "qkv.0"),
        ("F46", "ln1.0"),
        ("F47", "q.0"),
        ("F47", "v.0"),
        ("F48", "scores_raw.0"),
        ("F49", "scores.0"),
        ("F50", "scores.0"),
        ("F50", "attn.0"),
        ("F51", "z.0"),
        ("F52", "zcat.0"),
        ("F53", "attn_out.0"),
        ("F53", "h.0.attn.c_proj.bias"),
        ("F54", "resid.mid.0"),
        ("F55", "ln2.0"),
        ("F55", "mlp_pre.0"),
        ("F55", "mlp_act.0"),
        ("F56", "mlp_out.0"),
        ("F56", "resid.post.0"),
    ],
)
def test_a_wrong_number_is_found(name: str, tensor: str) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, FIGURES[name])
    assert not is_ok(falsify(trace, tensor), FIGURES[name])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("F44", "no_positions"),
        ("F47", "values_are_keys"),
        ("F49", "no_scale"),
        ("F50", "no_mask"),
        ("F54", "no_residual_attention"),
        ("F56", "no_residual_mlp"),
    ],
)
def test_a_changed_model_is_no_gpt2(name: str, kind: str) -> None:
    changed = make_trace("tiny 7").intervene(Intervention(kind))
    assert not is_ok(changed, FIGURES[name], Selection(position=3))


def test_the_other_form_of_gelu_is_found() -> None:
    trace = make_trace("tiny 7")
    exact = [x / 2 * (1 + math.erf(x / math.sqrt(2))) for x in trace["mlp_pre.0"].ravel().tolist()]
    other = falsify(trace, "mlp_act.0")
    other.false = {"mlp_act.0": np.array(exact, np.float32).reshape(trace["mlp_act.0"].shape)}
    assert not is_ok(other, FIGURES["F55"])


@pytest.mark.parametrize(("name", "norm"), [("F44", "ln1"), ("F46", "ln1"), ("F55", "ln2")])
def test_what_layer_norm_takes_from_the_vector_is_shown(name: str, norm: str) -> None:
    trace = make_trace("built-in")
    drawn = draw(trace, FIGURES[name])
    tables = [panel for panel in drawn.panels if isinstance(panel, Table)]
    mean, rstd = tables[0].rows[0]
    assert isinstance(mean, Number)
    assert isinstance(rstd, Number)
    assert (mean.tensor, rstd.tensor) == (f"{norm}.mean.0", f"{norm}.rstd.0")
    x = trace["resid.pre.0" if norm == "ln1" else "resid.mid.0"][8].astype(np.float64)
    np.testing.assert_allclose([mean.value, rstd.value], [x.mean(), 1 / np.sqrt(x.var() + 1e-5)], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("F45", "h.0.attn.c_attn"), ("F53", "h.0.attn.c_proj")],
)
def test_matrices_are_shown_with_their_biases(name: str, tensor: str) -> None:
    trace = make_trace("built-in")
    grids = [panel for panel in draw(trace, FIGURES[name]).panels if isinstance(panel, Grid)]
    weight, bias = (grid for grid in grids if grid.cells.tensor.startswith(tensor))
    assert (weight.cells.tensor, bias.cells.tensor) == (f"{tensor}.weight", f"{tensor}.bias")
    rows, columns = weight.cells.values.shape
    assert (rows, columns) == (16, 96)
    for column in range(columns):  # each bias is that of the column above it
        assert bias.cells.index(0, column) == weight.cells.index(0, column)[1:]
    last = weight.cells.index(rows - 1, columns - 1)
    assert weight.cells.values[-1, -1] == trace[f"{tensor}.weight"][last]


def test_the_index_map_names_equal_numbers() -> None:
    trace = make_trace("built-in")
    table = draw(trace, FIGURES["F47"], Selection(2, 1)).panels[1]
    assert isinstance(table, Table)
    assert len(table.rows) == 6
    for after, number, before, same in table.rows:
        assert isinstance(number, Number)
        assert isinstance(same, Number)
        assert number.value == same.value
        assert after == f"{number.tensor}[{', '.join(map(str, number.index))}]"
        assert before == f"{same.tensor}[{', '.join(map(str, same.index))}]"


def test_heads_of_one_number_have_one_line_in_the_index_map() -> None:
    weights = tiny_weights(n_embd=3, n_head=3)
    tensors = {name: weights.read(name) for name in weights.config.tensor_shapes()}
    table = draw(Trace(weights.config, tensors, None, [1, 2, 3]), FIGURES["F47"]).panels[1]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["q.0[0, 2, 0]", "k.0[0, 2, 0]", "v.0[0, 2, 0]"]


def test_up_to_three_heads_are_shown() -> None:
    trace = make_trace("built-in")
    grids = draw(trace, FIGURES["F48"], Selection(0, 5)).panels[1:]
    assert [grid.cells.index(0, 0)[0] for grid in grids if isinstance(grid, Grid)] == [0, 1, 5]
    assert len(draw(make_trace("one head 7"), FIGURES["F48"]).panels) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [("built-in", "3 of 6 heads (0, 1, 2)"), ("tiny 7", "all 3 heads"), ("one head 7", "its only head")],
)
def test_it_says_which_heads_of_how_many(name: str, said: str) -> None:
    assert said in draw(make_trace(name), FIGURES["F48"]).text(columns=500)


@pytest.mark.parametrize(("position", "slots"), [(0, "12345"), (3, "23456"), (6, "34567")])
def test_the_slots_around_the_token_have_their_numbers(position: int, slots: str) -> None:
    drawn = draw(make_trace("tiny 7"), FIGURES["F44"], Selection(position=position))
    drawing = drawn.panels[1]
    assert isinstance(drawing, Drawing)
    assert "".join(str(shape.text) for shape in drawing.shapes if isinstance(shape, Label)) == slots
    (chosen,) = (shape for shape in drawing.shapes if isinstance(shape, Box) and shape.colour == "output")
    assert chosen.text == f"#{make_trace('tiny 7').ids[position]}"
    assert f"in slot {position + 1} of 48" in drawn.text(columns=500)


def test_the_rows_of_a_sum_add_up() -> None:
    for name in ("built-in", "long 70", "one wide 4"):
        trace = make_trace(name)
        table = draw(trace, FIGURES["F51"]).panels[1]
        assert isinstance(table, Table)
        *rows, total, z, off = [[cell.value for cell in row if isinstance(cell, Number)] for row in table.rows]
        shown = len(z)
        parts = np.array([[row[0], *row[-shown:]] for row in rows])
        np.testing.assert_allclose(parts.sum(axis=0), total, atol=1e-5)
        np.testing.assert_allclose(total[1:], z, atol=1e-5)
        assert off[0] < 1e-5


def test_cached_keys_are_marked() -> None:
    table = draw(make_trace("built-in"), FIGURES["F50"], Selection(position=3)).panels[1]
    assert isinstance(table, Table)
    assert [getattr(row[1], "en", "") for row in table.rows] == ["kept", "kept", "kept", "new"]


def test_a_long_text_shows_its_last_tokens() -> None:
    drawn = draw(make_trace("long 70"), FIGURES["F50"], Selection(position=60))
    assert "The last 16 of 61 tokens are shown" in drawn.text().replace("\n", " ")
    assert "61 个词元里的最后 16 个" in drawn.text("zh").replace("\n", "")
    assert drawn.check is not None
    assert "after a cache of 60, and the whole text of 70 tokens at once" in drawn.check.statement.en
