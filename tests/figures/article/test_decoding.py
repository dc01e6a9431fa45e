"""Steps of the loop."""

import pytest

from cutaway.figures import find_figure
from cutaway.figures.article import (
    decoding,
)
from cutaway.trace import Trace
from tests.figures.drawing import is_ok, make_trace, second_best


@pytest.mark.parametrize("name", ["F08", "T1"])
def test_check_fails_if_the_loop_chooses_other_tokens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "candidates", second_best)
    trace = make_trace("tiny 7")
    assert not is_ok(Trace(trace.config, trace.weights, None, trace.ids), find_figure(name))


def test_the_loop_ends_with_the_context() -> None:
    trace = make_trace("one head 7")
    steps_, last = decoding.go_on(trace, 12)
    assert (len(steps_), len(last)) == (3, trace.config.n_ctx)
    assert [step.computed for step in steps_[1:]] == [1, 1]


def test_the_first_steps_are_computed_once_for_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    expected, _ = decoding.go_on(trace, decoding.ROUNDS)
    assert decoding.first_steps(trace) == expected
    monkeypatch.setattr(decoding, "candidates", second_best)
    assert decoding.first_steps(trace) == expected
