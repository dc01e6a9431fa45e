"""T2 to T4: when writing stops, words and tokens, batches."""

import numpy as np
import pytest

from cutaway.figures import find_figure
from cutaway.figures.article import (
    part1_simplifications,
)
from cutaway.figures.panels import Note
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Trace
from tests.figures.drawing import draw, is_ok, make_trace, numbers


@pytest.mark.parametrize(
    ("name", "reason"),
    [("tiny 7", "that many were written"), ("one head 9", "all slots are full"), ("one head 7", "all slots are full")],
)
def test_finish_reasons(name: str, reason: str) -> None:
    check = draw(make_trace(name), find_figure("T2")).check
    assert check is not None
    assert check.statement.en.endswith(reason)


def test_the_end_token_is_a_finish_reason() -> None:
    trace = make_trace("built-in")
    end = trace.weights["wte.weight"][50256]
    biased = dict(trace.weights) | {"ln_f.bias": 100 * end / np.linalg.norm(end)}
    check = draw(Trace(trace.config, biased, trace.tokenizer, trace.ids), find_figure("T2")).check
    assert check is not None
    assert check.statement.en.endswith("the end-of-text token was chosen")


def test_check_fails_if_a_text_beyond_the_context_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part1_simplifications, "Trace", lambda *arguments: None)
    assert not is_ok(make_trace("tiny 7"), find_figure("T2"))


def test_pre_tokens_join_to_the_text_and_merges_give_the_tokens() -> None:
    trace = make_trace("built-in")
    _, pieces, merges, vocabulary = draw(trace, find_figure("T3")).panels
    assert sum(row[0] for row in numbers(pieces)) == len("<|endoftext|>A robot must obey the orders given it")
    ranks = [row[0] for row in numbers(merges)]
    assert ranks[:2] == sorted(ranks[:2])
    assert [row[0] for row in numbers(vocabulary)] == [256, 50_000, 1, 50_257]


def test_check_fails_on_another_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text, allow_special=False: [0])
    assert not is_ok(make_trace("built-in"), find_figure("T3"))


def test_without_a_tokenizer_tokens_stand_for_nothing() -> None:
    (note,) = draw(make_trace("tiny 7"), find_figure("T3")).panels
    assert isinstance(note, Note)


def test_both_ways_compute_the_same_logits() -> None:
    table = draw(make_trace("long 70"), find_figure("T4")).panels[2]
    assert len(numbers(table)) == part1_simplifications.MOST_TOKENS
    assert all(computed == 1 and apart < 1e-3 for computed, apart in numbers(table))
