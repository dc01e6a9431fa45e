"""F61, the layout of an example; F62, a summary by GPT-2's own protocol."""

from functools import cache

import pytest

import cutaway
from cutaway.figures import Selection, find_figure
from cutaway.figures.article.part3_summaries import MARK, Written, write_summary
from cutaway.figures.panels import Note, Table
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Trace
from tests.figures.drawing import assert_drawn, draw, is_ok, make_trace, numbers, of_shape
from tests.figures.formulas import value_of

GPT2 = Tokenizer.gpt2()


@cache
def spoken(text: str = "A robot must obey.", n_ctx: int = 64) -> Trace:
    return of_shape([50256, *GPT2.encode(text)], GPT2, n_vocab=50257, n_embd=8, n_head=2, n_ctx=n_ctx)


@pytest.mark.parametrize("name", ["F61", "F62"])
def test_they_are_drawn_with_text_and_without(name: str) -> None:
    figure = find_figure(name)
    for trace in (make_trace("tiny 1"), make_trace("long 70"), spoken()):
        drawn = draw(trace, figure)
        assert drawn.check is not None
        assert drawn.check.ok
        assert drawn.text("en").strip()
        assert drawn.svg("zh").strip()
    assert_drawn(make_trace("tiny 7"), figure)


@pytest.mark.parametrize("name", ["F61", "F62"])
def test_every_number_of_the_statement(name: str) -> None:
    check = draw(spoken(), find_figure(name)).check
    assert check is not None
    for number in check.statement.numbers():
        assert value_of(number, spoken(), Selection()) == number.value


def test_the_article_is_read_and_its_beginning_learned() -> None:
    _, parts, border = draw(spoken(), find_figure("F61")).panels
    assert numbers(parts) == [[27], [10]]
    assert isinstance(border, Table)
    kinds = [row[2].en for row in border.rows]  # type: ignore[union-attr]
    assert kinds == ["read"] * 6 + ["learned"] * 10


def test_without_a_tokenizer_the_ids_are_gpt2s() -> None:
    note = draw(make_trace("tiny 1"), find_figure("F61")).panels[0]
    assert isinstance(note, Note)
    assert "The ids are GPT-2's own." in note.words.en


def test_the_mark_stands_between_source_and_summary() -> None:
    found = write_summary(spoken())
    assert found.n_source == len(spoken())
    assert GPT2.decode(found.prompt[found.n_source :]) == f" {MARK}"
    assert 0 < len(found.ids) <= 24


def test_a_mark_that_is_there_is_not_written_twice() -> None:
    found = write_summary(spoken("A robot. TL;DR: It must."))
    assert GPT2.decode(found.prompt[1:]) == "A robot. TL;DR:"
    assert found.n_source == 4


def test_a_source_that_leaves_no_room_loses_its_end() -> None:
    trace = spoken("A robot must obey. " * 4, 24)
    found = write_summary(trace)
    assert found.n_source < len(trace)
    assert len(found.prompt) + len(found.ids) <= 25


def test_every_token_is_one_of_the_two_likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    found = write_summary(trace)
    assert max(found.ranks) < 2
    forged = Written(found.prompt, found.n_source, found.ids, found.rows, (*found.ranks[:-1], 5))
    monkeypatch.setattr("cutaway.figures.article.part3_summaries.write_summary", lambda trace: forged)
    assert not is_ok(trace, find_figure("F62"))


@pytest.mark.slow
def test_the_built_in_model_writes_a_summary() -> None:
    trace = cutaway.load(engine="reference").trace("A robot must obey. A robot may not injure a human being.")
    assert_drawn(trace, find_figure("F62"))
