import re

import pytest

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.explore.arguments import Arguments, Query


def test_takes_what_is_given_and_the_default_where_nothing_is() -> None:
    given = Arguments({"n": 3, "x": 1, "text": "a", "flag": True, "items": [1], "word": "b", "ids": [0, 4]})
    assert given.whole("n", 0, 3) == 3
    assert given.whole("m", 0, 3, default=2) == 2
    assert given.real("x", 0, 1) == 1.0
    assert given.real("y", 0, 1, default=0.5) == 0.5
    assert given.text("text") == "a"
    assert given.flag("flag")
    assert not given.flag("other")
    assert given.items("items") == [1]
    assert given.one_of("word", ("a", "b"), "a") == "b"
    assert given.one_of("another", ("a", "b"), "a") == "a"
    assert given.token_ids("ids", GPT2Config(n_vocab=5)) == [0, 4]
    assert "text" in given
    given.end()


def test_null_is_as_if_it_were_not_there() -> None:
    given = Arguments({"n": None})
    assert "n" not in given
    assert given.whole("n", 0, 3, default=2) == 2
    given.end()


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda a: a.text("nothing"), "nothing is missing"),
        (lambda a: a.text("n"), "n must be text, not 3"),
        (lambda a: a.whole("n", 0, 2), "n must be from 0 to 2, not 3"),
        (lambda a: a.whole("text", 0, 2), "text must be a whole number, not '1'"),
        (lambda a: a.whole("flag", 0, 2), "flag must be a whole number, not True"),
        (lambda a: a.real("text", 0, 2), "text must be a number, not '1'"),
        (lambda a: a.flag("n"), "n must be true or false, not 3"),
        (lambda a: a.items("n"), "n must be a list, not 3"),
        (lambda a: a.one_of("text", ("a", "b"), "a"), "text must be one of a, b, not '1'"),
        (lambda a: a.token_ids("ids", GPT2Config(n_vocab=5)), "a token id must be from 0 to 4, not 5"),
        (lambda a: a.token_ids("ids", GPT2Config(n_ctx=1)), "the text is 2 tokens long; the context holds 1"),
        (lambda a: (a.text("texts", ""), a.end()), "there is no 'n' here"),
        (lambda a: (a.text("texts", ""), a.whole("n", 0), a.end()), "there is no 'text' here; did you mean texts?"),
    ],
)
def test_refuses_in_one_line(take: object, message: str) -> None:
    given = Arguments({"n": 3, "text": "1", "flag": True, "ids": [0, 5]})
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        take(given)  # type: ignore[operator]


def test_a_query_has_numbers_as_text() -> None:
    query = Query([("n", "-3"), ("text", "5"), ("sel", "a"), ("sel", "b")], repeated=["sel"])
    assert query.whole("n", -5, 5) == -3
    assert query.text("text") == "5"
    assert query.items("sel") == ["a", "b"]
    query.end()


@pytest.mark.parametrize("number", ["", "1.0", "1e3", " 1", "٣", "0x1", "1" * 19, "+1", "--1"])
def test_a_query_takes_plain_whole_numbers_only(number: str) -> None:
    with pytest.raises(UsageError, match="n must be a whole number, not '"):
        Query([("n", number)]).whole("n", 0)


def test_whole_numbers_with_commas() -> None:
    assert Query([("n", "2")]).wholes("n", 3) == [2]
    assert Query([("n", "2,0,2")]).wholes("n", 3) == [2, 0, 2]


@pytest.mark.parametrize("numbers", ["", ",", "1,", "1,,2", "-1", "1.0", " 1", "٣", "1" * 10, "2:3"])
def test_what_is_no_list_of_whole_numbers_is_refused(numbers: str) -> None:
    with pytest.raises(UsageError, match="n must be whole numbers such as 2,3, not '"):
        Query([("n", numbers)]).wholes("n", 3)


def test_too_many_whole_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="^n can be 3 at a time, not 4$"):
        Query([("n", "1,2,3,4")]).wholes("n", 3)


def test_an_argument_stands_once_in_a_query() -> None:
    with pytest.raises(UsageError, match="'n' is given 2 times"):
        Query([("n", "1"), ("n", "1"), ("sel", "a")], repeated=["sel"])
