"""T1: the likeliest token each time."""

import numpy as np
import pytest

import cutaway
from cutaway.figures import find_figure
from cutaway.figures.article import (
    decoding,
    part1_greedy_decoding,
)
from cutaway.figures.panels import Table
from cutaway.tokenizer.codec import Codec
from cutaway.trace import Trace
from tests.figures.drawing import draw, make_trace, numbers


@pytest.mark.parametrize(
    ("ids", "run"),
    [([], 0), ([1], 0), ([1, 2], 0), ([1, 1], 1), ([1, 2, 1], 1), ([1, 2, 3, 1, 2], 2), ([1, 2, 1, 2, 1], 3)],
)
def test_finds_a_loop_with_a_beginning(ids: list[int], run: int) -> None:
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
def test_finds_a_loop_that_repeats_three_times(ids: list[int], lap: int) -> None:
    assert part1_greedy_decoding.find_lap(ids) == lap


def test_a_model_that_repeats_itself() -> None:
    trace = make_trace("tiny 7")
    nothing = {name: np.zeros_like(tensor) for name, tensor in trace.weights.items()}
    drawn = draw(Trace(trace.config, nothing, None, trace.ids), find_figure("T1"))
    _, laps, _, ways = drawn.panels
    assert [row[1] for row in numbers(laps)] == list(range(8))  # the lowest id every time
    assert isinstance(ways, Table)
    assert [row[1] for row in ways.rows] == ["#0", "#1"]
    assert "From step 1 on the same token stands 8 times in a row" in drawn.text(columns=200)


@pytest.mark.slow
def test_the_built_in_model_repeats_itself_greedily_and_not_when_sampling() -> None:
    trace = cutaway.load(engine="reference").trace('The little dog said, "I am')
    found = part1_greedy_decoding.walk(trace)
    assert isinstance(trace.tokenizer, Codec)
    assert "The little dog said" in trace.tokenizer.decode(found.written[-2 * found.lap :])
    assert found.written[found.start : -found.lap] == found.written[found.closed :]
    second = decoding.candidates(trace.edit([*trace.ids, *found.written[: found.closed]]), 2)[1]
    assert found.other
    assert found.other.id == second.id
    assert [step.chosen.id for step in found.after] != found.written[found.closed + 1 :][: len(found.after)]


def test_says_that_there_is_no_loop() -> None:
    drawn = draw(make_trace("one head 7"), find_figure("T1"))
    assert "In 3 steps, which fill the context, no run of tokens stands 3 times in a row" in drawn.text(columns=200)
    assert len(drawn.panels) == 3
