import re

import pytest

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.web.params import Params, QueryParams


def test_reads_values_and_defaults() -> None:
    given = Params({"n": 3, "x": 1, "text": "a", "flag": True, "items": [1], "word": "b", "ids": [0, 4]})
    assert given.integer("n", 0, 3) == 3
    assert given.integer("m", 0, 3, default=2) == 2
    assert given.number("x", 0, 1) == 1.0
    assert given.number("y", 0, 1, default=0.5) == 0.5
    assert given.text("text") == "a"
    assert given.flag("flag")
    assert not given.flag("other")
    assert given.array("items") == [1]
    assert given.choice("word", ("a", "b"), "a") == "b"
    assert given.choice("another", ("a", "b"), "a") == "a"
    assert given.token_ids("ids", GPT2Config(n_vocab=5)) == [0, 4]
    assert "text" in given
    given.end()


def test_null_counts_as_missing() -> None:
    given = Params({"n": None})
    assert "n" not in given
    assert given.integer("n", 0, 3, default=2) == 2
    given.end()


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda a: a.text("nothing"), "nothing is missing"),
        (lambda a: a.text("n"), "n must be text, not 3"),
        (lambda a: a.integer("n", 0, 2), "n must be from 0 to 2, not 3"),
        (lambda a: a.integer("text", 0, 2), "text must be a whole number, not '1'"),
        (lambda a: a.integer("flag", 0, 2), "flag must be a whole number, not True"),
        (lambda a: a.number("text", 0, 2), "text must be a number, not '1'"),
        (lambda a: a.flag("n"), "n must be true or false, not 3"),
        (lambda a: a.array("n"), "n must be a list, not 3"),
        (lambda a: a.choice("text", ("a", "b"), "a"), "text must be one of a, b, not '1'"),
        (lambda a: a.token_ids("ids", GPT2Config(n_vocab=5)), "a token id must be from 0 to 4, not 5"),
        (lambda a: a.token_ids("ids", GPT2Config(n_ctx=1)), "the text is 2 tokens long; the context holds 1"),
        (lambda a: (a.text("texts", ""), a.end()), "unknown parameter 'n'"),
        (lambda a: (a.text("texts", ""), a.integer("n", 0), a.end()), "unknown parameter 'text'; did you mean texts?"),
    ],
)
def test_rejects_invalid_values(take: object, message: str) -> None:
    given = Params({"n": 3, "text": "1", "flag": True, "ids": [0, 5]})
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        take(given)  # type: ignore[operator]


def test_queries_have_numbers_as_text() -> None:
    query = QueryParams([("n", "-3"), ("text", "5"), ("sel", "a"), ("sel", "b")], repeated=["sel"])
    assert query.integer("n", -5, 5) == -3
    assert query.text("text") == "5"
    assert query.array("sel") == ["a", "b"]
    query.end()


@pytest.mark.parametrize("number", ["", "1.0", "1e3", " 1", "٣", "0x1", "1" * 19, "+1", "--1"])
def test_queries_accept_plain_integers_only(number: str) -> None:
    with pytest.raises(UsageError, match="n must be a whole number, not '"):
        QueryParams([("n", number)]).integer("n", 0)


def test_reads_lists_of_integers() -> None:
    assert QueryParams([("n", "2")]).integers("n", 3) == [2]
    assert QueryParams([("n", "2,0,2")]).integers("n", 3) == [2, 0, 2]


@pytest.mark.parametrize("numbers", ["", ",", "1,", "1,,2", "-1", "1.0", " 1", "٣", "1" * 10, "2:3"])
def test_rejects_invalid_lists_of_integers(numbers: str) -> None:
    with pytest.raises(UsageError, match="n must be integers such as 2,3, not '"):
        QueryParams([("n", numbers)]).integers("n", 3)


def test_rejects_too_many_integers() -> None:
    with pytest.raises(UsageError, match="^n takes at most 3 integers, not 4$"):
        QueryParams([("n", "1,2,3,4")]).integers("n", 3)


def test_rejects_repeated_parameters() -> None:
    with pytest.raises(UsageError, match="'n' is given 2 times"):
        QueryParams([("n", "1"), ("n", "1"), ("sel", "a")], repeated=["sel"])
