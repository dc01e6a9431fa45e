"""F01, F02 and F04: a language model from outside."""

import numpy as np
import pytest

from cutaway.figures import Selection, find_figure
from cutaway.figures.article import (
    decoding,
    part1_language_model,
)
from cutaway.figures.panels import Number, Table
from cutaway.numerics import softmax
from cutaway.trace import Trace
from tests.figures.drawing import boxes, draw, is_ok, make_trace, numbers, second_best


@pytest.mark.parametrize("name", ["F01", "F04"])
def test_check_fails_on_wrong_candidates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part1_language_model, "candidates", second_best)
    assert not is_ok(make_trace("tiny 7"), find_figure(name))


@pytest.mark.parametrize("name", ["F01", "F04"])
def test_check_fails_on_shares_of_some_tokens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part1_language_model, "candidates", among_the_shown)
    assert not is_ok(make_trace("tiny 7"), find_figure(name))


def among_the_shown(trace: Trace, count: int) -> list[decoding.Candidate]:
    likely = decoding.candidates(trace, count)
    total = sum(each.probability for each in likely)
    return [decoding.Candidate(each.id, each.logit, each.probability / total) for each in likely]


def test_candidates_are_the_largest_logits() -> None:
    trace = make_trace("built-in")
    logits = trace["logits"][-1]
    order = np.argsort(-logits)
    for name, count in (("F01", 3), ("F04", 10)):
        table = draw(trace, find_figure(name)).panels[2]
        assert isinstance(table, Table)
        indices = [entry.index for row in table.rows for entry in row if isinstance(entry, Number)]
        assert [index for _, index in indices[::2]] == order[:count].tolist()
        np.testing.assert_allclose([row[1] for row in numbers(table)], softmax(logits)[order[:count]], rtol=1e-4)


def test_shows_candidates_on_keys_above_the_text() -> None:
    keys = boxes(draw(make_trace("built-in"), find_figure("F01")).panels[1])
    assert len(keys) == 4
    assert keys[-1].startswith("<|endoftext|>A␣robot")


def test_hides_a_word_between_others() -> None:
    trace = make_trace("tiny 7")
    for position, hidden in ((-1, 3), (0, 3), (2, 2), (5, 5)):
        table = draw(trace, find_figure("F02"), Selection(position=position)).panels[2]
        (alone, loss), (whole, _) = numbers(table)
        assert whole == pytest.approx(float(trace["probs"][hidden - 1, trace.ids[hidden]]), abs=1e-6)
        assert alone == pytest.approx(whole, abs=1e-6)
        assert loss == pytest.approx(-np.log(alone))


@pytest.mark.parametrize("name", ["F02", "F12"])
@pytest.mark.parametrize(("position", "another"), [(6, True), (-1, True), (4, False), (1, False)])
def test_says_if_it_shows_another_position(name: str, position: int, another: bool) -> None:
    said = draw(make_trace("tiny 7"), find_figure(name), Selection(position=position)).text(columns=1000)
    assert ("position 7 (index 6)" in said.lower()) == another
    assert ("position 4 (index 3)" in said) == another


def test_neither_the_first_word_nor_a_late_one_is_hidden() -> None:
    for position, why in ((0, "nothing before it"), (60, "too much before it")):
        assert why in draw(make_trace("long 70"), find_figure("F02"), Selection(position=position)).text(columns=1000)
