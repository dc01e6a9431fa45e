"""F22: what a word looks at."""

import numpy as np
import pytest

from cutaway.figures import Selection, find_figure
from cutaway.figures.article import (
    part1_self_attention,
)
from cutaway.figures.panels import Arcs
from tests.figures.drawing import draw, is_ok, make_trace


def test_check_fails_on_a_head_that_is_not_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    looks = part1_self_attention._looks
    monkeypatch.setattr(part1_self_attention, "_looks", lambda trace, position: looks(trace, position)[1:])
    assert not is_ok(trace, find_figure("F22"))


def test_the_shown_head_is_the_best_of_all() -> None:
    trace = make_trace("built-in")
    position = 8
    weights = np.stack([trace[f"attn.{layer}"][:, position] for layer in range(trace.config.n_layer)])  # (L, H, T)
    weights[:, :, [0, position]] = 0
    best = part1_self_attention._looks(trace, position)[0]
    assert best.weight == weights.max() == weights[best.layer, best.head, best.key]
    again = part1_self_attention._weights(trace, position)[:, :, 1:position]
    assert [*np.unravel_index(again.argmax(), again.shape)] == [best.layer, best.head, best.key - 1]
    scores = trace[f"scores.{best.layer}"][best.head, position]
    rounding = np.spacing(np.abs(scores).max())  # of a score; a weight moves by at most a quarter of a score's error
    assert np.abs(again.max() - best.weight) < rounding
    (_, chosen, lines, _) = draw(trace, find_figure("F22"), Selection(layer=0, head=1, position=position)).panels
    assert isinstance(chosen, Arcs)
    assert isinstance(lines, Arcs)
    assert chosen.cells.tensor == "attn.0"  # what was asked for comes first
    assert chosen.cells.index(0, best.key) == (1, position, best.key)
    assert lines.cells.index(0, best.key) == (best.head, position, best.key)
    panels = draw(trace, find_figure("F22"), Selection(layer=best.layer, head=best.head, position=position)).panels
    assert [type(panel) for panel in panels].count(Arcs) == 1  # not drawn twice


@pytest.mark.parametrize("position", [0, 1])
def test_the_first_two_tokens_have_no_other_token_to_attend_to(position: int) -> None:
    panels = draw(make_trace("tiny 7"), find_figure("F22"), Selection(position=position)).panels
    assert [type(panel).__name__ for panel in panels] == ["Note", "Arcs"]
