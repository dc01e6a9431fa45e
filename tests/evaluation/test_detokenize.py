"""De-tokenizers are invertible: on lines of every corpus' kind, and on tokens chosen to confuse them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.evaluation.detokenize import Conventions, Detokenizer
from cutaway.evaluation.paper_tasks import cbt, one_billion_words, ptb, wikitext

CORPORA = {
    "wikitext": wikitext.CONVENTIONS,
    "ptb": ptb.CONVENTIONS,
    "cbt": cbt.CONVENTIONS,
    "1bw": one_billion_words.CONVENTIONS,
}
every_corpus = pytest.mark.parametrize("conventions", CORPORA.values(), ids=CORPORA)

TOKENS = (
    "a dog St. U.S. . , ; : ! ? ( ) [ ] { } \" ' `` '' 's n't 't do can't $ % # N <unk> = == - -- @-@ @,@ @.@ @ 1 000 "
    "1.5 1,000 18- -5 ... 'a .a a-b a.b a,b \"a (a) -LRB- -RRB- ° é é. XXXXX"
)


@every_corpus
@given(tokens=st.lists(st.sampled_from([*TOKENS.split(), ""]), min_size=1, max_size=12))
def test_any_line_is_recovered(conventions: Conventions, tokens: list[str]) -> None:
    line = " ".join(tokens)
    detokenizer = Detokenizer(conventions, line.split(" "))
    assert detokenizer.retokenize(detokenizer.detokenize(line)) == line


@every_corpus
@given(line=st.text("ab.,'\"-@$( )=`1%n t", max_size=20))
def test_any_text_is_recovered(conventions: Conventions, line: str) -> None:
    detokenizer = Detokenizer(conventions, line.split(" "))
    assert detokenizer.retokenize(detokenizer.detokenize(line)) == line


def test_tokens_that_look_like_several_are_exceptions() -> None:
    detokenizer = Detokenizer(wikitext.CONVENTIONS, ["St.", "Main", "St", ".", "U.S.", "@-@", "1.5", "dog"])
    assert detokenizer.exceptions == {"St.", "U.S.", "@-@", "1.5"}
    assert detokenizer.detokenize("Main St . , ( St. Louis ) U.S. @-@ based") == "Main St ., (St. Louis) U.S.-based"
    assert detokenizer.retokenize("St. end.") == "St. end ."


def test_a_mark_between_words_that_stand_apart_stays() -> None:
    detokenizer = Detokenizer(wikitext.CONVENTIONS, ["@-@", "@,@", "a"])
    assert detokenizer.detokenize("a @-@") == "a @-@"
    assert detokenizer.detokenize("@,@ a") == "@,@ a"


def test_quotation_marks_open_and_close_by_turns() -> None:
    detokenizer = Detokenizer(wikitext.CONVENTIONS, ['"', "a", ",", "."])
    assert detokenizer.detokenize('" a , " a " a " .') == '"a," a "a".'
