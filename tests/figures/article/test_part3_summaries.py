"""F61, the layout of an example; F62, a summary by GPT-2's own protocol."""

from functools import cache

import numpy as np
import pytest

import cutaway
from cutaway.figures import Selection, find_figure
from cutaway.figures.article import part3_summaries
from cutaway.figures.article.part3_summaries import MARK, Written, write_summary
from cutaway.figures.panels import LocalizedText, Note, Number, Table
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
    assert 0 < len(found.ids) <= 65 - len(found.prompt)


def test_a_mark_that_is_there_is_not_written_twice() -> None:
    found = write_summary(spoken("A robot. TL;DR: It must."))
    assert GPT2.decode(found.prompt[1:]) == "A robot. TL;DR:"
    assert found.n_source == 4


def test_a_source_that_leaves_no_room_loses_its_end() -> None:
    trace = spoken("A robot must obey. " * 4, 24)
    found = write_summary(trace)
    assert found.n_source < len(trace)
    note = draw(trace, find_figure("F62")).panels[0]
    assert isinstance(note, Note)
    assert f"(the last {len(trace) - found.n_source} are left out)" in note.words.en
    assert len(found.prompt) + len(found.ids) <= 25


def test_every_token_is_one_of_the_two_likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    found = write_summary(trace)
    assert max(found.ranks) < 2
    forged = Written(found.prompt, found.n_source, found.ids, found.rows, (*found.ranks[:-1], 5))
    monkeypatch.setattr("cutaway.figures.article.part3_summaries.write_summary", lambda trace: forged)
    assert not is_ok(trace, find_figure("F62"))


def script(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    """Make the model write these ids."""
    left = iter(ids)
    monkeypatch.setattr(part3_summaries, "distribution", lambda logits, settings: ([next(left)], np.ones(1)))


def test_three_sentences_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, GPT2.encode(" One. Two! Three? Four and five."))
    trace = spoken("A robot must serve.")
    said = draw(trace, find_figure("F62")).panels[1]
    assert isinstance(said, Note)
    assert (said.words.en, said.words.zh) == ("It writes: One. Two! Three?", "它写出：One. Two! Three?")
    assert GPT2.decode(write_summary(trace).ids) == " One. Two! Three? Four"


def test_the_end_of_the_text_ends_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [*GPT2.encode(" One"), 50256, *GPT2.encode(" two")])
    trace = spoken("A robot must wait.")
    assert write_summary(trace).ids[1:] == (50256,)
    said = draw(trace, find_figure("F62")).panels[1]
    assert isinstance(said, Note)
    assert said.words.en == "It writes: One"


def test_a_hundred_tokens_are_written_and_the_first_have_rows() -> None:
    trace = of_shape([3, 1, 2], n_ctx=200)
    assert len(write_summary(trace).ids) == 100
    _, _, table = draw(trace, find_figure("F62")).panels
    assert isinstance(table, Table)
    assert len(table.rows) == 24
    assert table.title == LocalizedText(
        "what was drawn, and what else could have been, the first 24 of 100",
        "采样到的词元，以及另一个候选，100 个中的前 24 个",
    )


def test_a_large_model_writes_fewer_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = of_shape([3, 1, 4], n_ctx=200)
    monkeypatch.setattr(part3_summaries, "MOST_READ", 10 * trace.config.n_params)
    assert len(write_summary(trace).ids) == 10
    note = draw(trace, find_figure("F62")).panels[0]
    assert isinstance(note, Note)
    assert "at most 10 (the paper's 100 take long here)" in note.words.en


@pytest.mark.parametrize("place", range(3))
def test_every_probability_is_of_the_text_before_it(place: int) -> None:
    _, _, table = draw(make_trace("tiny 7"), find_figure("F62")).panels
    assert isinstance(table, Table)
    number = table.rows[place][1]
    assert isinstance(number, Number)
    assert value_of(number, make_trace("tiny 7"), Selection()) == pytest.approx(number.value)


@pytest.mark.slow
def test_the_built_in_model_writes_a_summary() -> None:
    trace = cutaway.load(engine="reference").trace("A robot must obey. A robot may not injure a human being.")
    assert_drawn(trace, find_figure("F62"))


def test_ids_without_a_token_have_no_text() -> None:
    assert part3_summaries._text(Tokenizer.gpt2(), [9379, 50290, 1276]) == " robot must"
