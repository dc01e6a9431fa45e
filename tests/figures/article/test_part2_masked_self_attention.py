"""F36 and F37: later tokens are masked."""

import numpy as np
import pytest

from cutaway.engines.reference import MASKED
from cutaway.figures import find_figure
from cutaway.figures.panels import Number, Table
from cutaway.trace import Intervention
from tests.figures.drawing import (
    draw,
    falsify,
    is_ok,
    make_trace,
)


@pytest.mark.parametrize("tensor", ["scores", "masked", "attn"])
def test_weights_of_tokens_that_are_not_masked_are_checked(tensor: str) -> None:
    trace = make_trace("tiny 2")  # which has no later token
    assert is_ok(trace, find_figure("F36"))
    assert not is_ok(falsify(trace, f"{tensor}.0"), find_figure("F36"))


def test_the_second_token_gives_nothing_to_those_after_it() -> None:
    table = draw(make_trace("tiny 7"), find_figure("F36")).panels[2]
    assert isinstance(table, Table)
    for key, (_, score, hidden, weight) in enumerate(table.rows):
        assert isinstance(score, Number)
        assert isinstance(hidden, Number)
        assert isinstance(weight, Number)
        assert hidden.value == (score.value if key < 2 else MASKED)
        assert (weight.value > 0) == (key < 2)


def test_examples_are_prefixes_and_the_token_after_them() -> None:
    trace = make_trace("built-in")
    table = draw(trace, find_figure("F37")).panels[2]
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows[:3]] == ["<|endoftext|>", "<|endoftext|>A", "<|endoftext|>A␣robot"]
    assert [row[2] for row in table.rows] == ["A", "␣robot", "␣must", "␣obey", "␣the", "␣orders", "␣given", "␣it"]
    for place, row in enumerate(table.rows):
        loss = row[3]
        assert isinstance(loss, Number)
        np.testing.assert_allclose(loss.value, -np.log(trace["probs"][place, trace.ids[place + 1]]), rtol=1e-4)


def test_a_score_of_zero_is_not_masked() -> None:
    zero = make_trace("tiny 7").intervene(Intervention("mask_value", value=0))
    assert not is_ok(zero, find_figure("F36"))
    assert not is_ok(zero, find_figure("F39"))
