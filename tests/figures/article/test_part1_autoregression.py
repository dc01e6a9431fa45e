"""F08 and F09: the auto-regressive loop."""

import pytest

from cutaway.figures import find_figure
from cutaway.figures.article import (
    decoding,
    part1_autoregression,
)
from tests.figures.drawing import boxes, draw, is_ok, make_trace


def test_check_fails_if_the_loop_drops_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    step = decoding.Step(trace.ids, 7, decoding.Candidate(1, 0.0, 0.0))
    monkeypatch.setattr(part1_autoregression, "first_steps", lambda trace: [step] * 4)
    assert not is_ok(trace, find_figure("F09"))


def test_each_output_is_the_next_input() -> None:
    trace = make_trace("built-in")
    texts = boxes(draw(trace, find_figure("F09")).panels[1])
    out = [texts[1], texts[4], texts[7]]
    assert texts == ["GPT-2", out[0], out[0], "GPT-2", out[1], out[1], "GPT-2", out[2]]
