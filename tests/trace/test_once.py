"""Results of a trace: each is computed once, and goes with the trace."""

import gc
from weakref import ref

import pytest

from cutaway.trace import Trace
from cutaway.trace.once import once_for_a_trace
from tests.figures.drawing import make_trace

CALLS: list[tuple[Trace, int]] = []


class Found:
    """A result, which can be referred to weakly."""


@once_for_a_trace
def found_at(trace: Trace, position: int) -> Found:
    CALLS.append((trace, position))
    if position < 0:
        raise IndexError(position)
    return Found()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


def test_each_trace_and_argument_is_computed_once() -> None:
    one = make_trace("tiny 7")
    other = Trace(one.config, one.weights, one.tokenizer, one.ids)
    asked = [(one, 0), (one, 1), (other, 0)]
    results = [found_at(trace, position) for trace, position in asked]
    assert len(set(results)) == 3
    assert [found_at(trace, position) for trace, position in asked] == results
    assert asked == CALLS


def test_an_argument_by_its_name_counts() -> None:
    trace = make_trace("tiny 7")
    one = found_at(trace, position=4)
    assert found_at(trace, position=5) is not one
    assert found_at(trace, position=4) is one


def test_copies_that_can_be_cancelled_share_results() -> None:
    one = make_trace("tiny 7")
    copies = [one.with_cancellation(lambda: None) for _ in range(2)]
    assert len({found_at(trace, 2) for trace in (*copies, one)}) == 1
    assert len(CALLS) == 1


def test_an_error_is_not_kept() -> None:
    trace = make_trace("tiny 7")
    for _ in range(2):
        with pytest.raises(IndexError):
            found_at(trace, -1)
    assert len(CALLS) == 2


def test_a_result_goes_with_its_trace() -> None:
    one = make_trace("tiny 7")
    trace = Trace(one.config, one.weights, one.tokenizer, one.ids)
    result = ref(found_at(trace, 0))
    CALLS.clear()
    assert result() is not None
    del trace
    gc.collect()
    assert result() is None
