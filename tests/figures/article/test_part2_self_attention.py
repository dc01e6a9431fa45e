"""F30 to F35: the three steps of self-attention."""

import numpy as np
import pytest

from cutaway.figures import Figure, Selection
from cutaway.figures.article import part2_self_attention, part2_three_steps
from cutaway.figures.panels import Bars, Grid, Table
from cutaway.trace import Intervention
from tests.figures.drawing import TRACES, assert_drawn, draw, falsify, is_ok, make_trace

FIGURES = {figure.id: figure for figure in (*part2_self_attention.FIGURES, *part2_three_steps.FIGURES)}


def test_these_are_all() -> None:
    assert sorted(FIGURES) == ["F30", "F31", "F32", "F33", "F34", "F35"]
    assert [FIGURES[name].picture for name in sorted(FIGURES)] == list(range(28, 34))
    assert all(figure.part == 2 and figure.status == "live" for figure in FIGURES.values())


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_holds_and_can_be_drawn(figure: Figure, name: str) -> None:
    trace = make_trace(name)
    assert_drawn(trace, figure)
    assert_drawn(trace, figure, Selection(trace.config.n_layer - 1, trace.config.n_head - 1, len(trace) // 2))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("F30", "attn.0"),
        ("F31", "attn.0"),
        ("F31", "q.0"),
        ("F31", "z.0"),
        ("F31", "k.0"),
        ("F32", "q.0"),
        ("F32", "ln1.0"),
        ("F33", "scores.0"),
        ("F33", "attn.0"),
        ("F34", "z.0"),
        ("F34", "v.0"),
        ("F35", "attn.0"),
        ("F35", "z.0"),
    ],
)
def test_a_wrong_number_is_found(name: str, tensor: str) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, FIGURES[name])
    assert not is_ok(falsify(trace, tensor), FIGURES[name])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("F30", "no_mask"),
        ("F31", "no_scale"),
        ("F31", "no_mask"),
        ("F32", "values_are_keys"),
        ("F33", "no_scale"),
        ("F33", "no_mask"),
        ("F35", "no_scale"),
    ],
)
def test_a_changed_model_is_no_gpt2(name: str, kind: str) -> None:
    changed = make_trace("tiny 7").intervene(Intervention(kind))
    assert not is_ok(changed, FIGURES[name], Selection(position=3))


def test_a_token_alone_gives_itself_all_its_attention() -> None:
    bars = draw(make_trace("tiny 1"), FIGURES["F30"]).panels[1]
    assert isinstance(bars, Bars)
    assert bars.cells.values.tolist() == [[1]]


def test_many_tokens_have_a_strip_instead_of_bars() -> None:
    trace = make_trace("long 70")
    strip = draw(trace, FIGURES["F30"]).panels[1]
    assert isinstance(strip, Grid)
    np.testing.assert_array_equal(strip.cells.values, trace["attn.0"][0, 69][None])


def test_what_the_mask_hides_is_in_the_last_column_only() -> None:
    table = draw(make_trace("tiny 7"), FIGURES["F33"], Selection(position=2)).panels[1]
    assert isinstance(table, Table)
    *_, weight, without_mask = table.rows[5]
    assert not isinstance(weight, str)
    assert not isinstance(without_mask, str)
    assert weight.value == 0  # type: ignore[union-attr]
    assert without_mask.value > 0  # type: ignore[union-attr]


def test_a_long_text_is_cut_and_says_so() -> None:
    drawn = draw(make_trace("long 70"), FIGURES["F32"])
    queries = drawn.panels[1]
    assert isinstance(queries, Grid)
    assert queries.cells.values.shape == (16, 6)
    assert queries.cells.index(15, 0) == (0, 69, 0)
    assert "16 of 70 tokens are shown" in drawn.text().replace("\n", " ")
    assert "70 个词元里的 16 个" in drawn.text("zh").replace("\n", "")
