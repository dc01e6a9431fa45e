"""F41 to F43: one token at a time, and what is reused."""

import numpy as np
import pytest

from cutaway.figures import Figure, Selection, find_figure
from cutaway.figures.article import decoding, part2_kv_cache
from cutaway.figures.article.part2_kv_cache import FIGURES, at_once, decode
from cutaway.figures.panels import Box, Drawing, Grid, Number, Table
from cutaway.trace import Intervention, Trace
from tests.figures.drawing import (
    draw,
    is_ok,
    make_trace,
)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.id)
def test_holds_for_a_trace_that_was_decoded(figure: Figure) -> None:
    whole = make_trace("tiny 7")
    assert is_ok(whole.edit(whole.ids[:6]).append(whole.ids[6]), figure)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.id)
def test_holds_if_a_later_edge_is_knocked_out(figure: Figure) -> None:
    cut = make_trace("tiny 7").intervene(
        Intervention("attention_knockout", query=6, key=1), Intervention("no_positions")
    )
    assert is_ok(cut, figure)


def test_nothing_is_reused_if_tokens_attend_ahead() -> None:
    ahead = make_trace("tiny 7").intervene(Intervention("no_mask"))
    assert not is_ok(ahead, find_figure("F41"))
    assert not is_ok(ahead, find_figure("F43"))


def test_check_fails_without_reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(trace: Trace, count: int, base: Trace | None = None) -> Trace:
        return decoding.beginning(trace, count)

    monkeypatch.setattr(part2_kv_cache, "beginning", forgetful)
    trace = make_trace("tiny 7")
    assert not is_ok(trace, find_figure("F41"))
    assert not is_ok(trace, find_figure("F43"))


def test_queries_are_not_cached() -> None:
    """The queries of the tokens before can be anything at all."""
    trace = make_trace("tiny 7")
    before = decode(trace, 5)
    spoilt = {
        name: np.full_like(array, np.nan) for name, array in before._forward.cached.items() if name.startswith("q.")
    }
    before._forward.cached.update(spoilt)  # type: ignore[attr-defined]
    after = before.append(trace.ids[6])
    np.testing.assert_allclose(after.logits_at(-1), trace.logits_at(-1), atol=1e-4)


def test_the_cache_keeps_keys_and_values_of_every_layer() -> None:
    trace = make_trace("built-in")
    drawn = draw(trace, find_figure("F42"), Selection(head=3))
    table, layers, keys, values = drawn.panels[1:]
    assert isinstance(table, Table)
    assert [row[:2] for row in table.rows] == [("cache.k", "9 × 6 × 2 × 64"), ("cache.v", "9 × 6 × 2 × 64")]
    assert [entry.value for row in table.rows for entry in row if isinstance(entry, Number)] == [27_648, 27_648]
    assert isinstance(layers, Drawing)
    assert [shape.colour for shape in layers.shapes if isinstance(shape, Box)] == ["reused", "key"] * 9
    for grid, kind in ((keys, "k"), (values, "v")):
        assert isinstance(grid, Grid)
        np.testing.assert_array_equal(grid.cells.values, trace[f"cache.{kind}"][:, 3, 1])
    assert drawn.check is not None
    assert "55,296 bytes, 27,648 a token" in drawn.check.statement.en


def test_shows_the_whole_vector_before_a_heads_part() -> None:
    trace = make_trace("built-in")
    grids = [panel for panel in draw(trace, find_figure("F41"), Selection(2, 3)).panels if isinstance(panel, Grid)]
    whole, *heads = grids
    np.testing.assert_array_equal(whole.cells.values.reshape(-1), trace["qkv.2"][1])
    for third, grid in zip(whole.cells.values, heads, strict=True):
        np.testing.assert_array_equal(grid.cells.values[0], third[3 * 64 : 4 * 64])


def test_only_the_new_token_has_a_query() -> None:
    drawing = draw(make_trace("built-in"), find_figure("F43")).panels[1]
    assert isinstance(drawing, Drawing)
    colours = [box.colour for box in drawing.shapes if hasattr(box, "colour")]
    assert colours == ["token", "reused", "reused"] * 2 + ["token", "query", "key", "value"]


def test_a_single_token_has_nothing_to_reuse() -> None:
    drawn = draw(make_trace("tiny 1"), find_figure("F43"))
    assert "one token" in drawn.text()
    assert drawn.check is not None
    assert drawn.check.statement.en == part2_kv_cache.ALONE.en


def test_a_trace_without_reuse_computed_every_position() -> None:
    whole = make_trace("tiny 7")
    assert at_once(whole) is whole
    again = at_once(whole.edit(whole.ids[:6]))
    assert (again.ids, again.work.positions_reused) == (whole.ids[:6], 0)
