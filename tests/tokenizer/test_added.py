"""Finding added words: the longest where several begin at one place, in time that does not grow with their number."""

import re
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from cutaway.tokenizer.added import WordFinder

WORDS = st.text("abc<", min_size=1, max_size=6)


@given(st.sets(WORDS, max_size=9), st.text("abc<", max_size=40))
def test_equals_a_regular_expression_of_all_words_longest_first(words: set[str], text: str) -> None:
    tokens = {word: 100 + index for index, word in enumerate(sorted(words))}
    pattern = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    parts = re.split(f"({pattern})", text) if pattern else [text]
    assert list(WordFinder(tokens).split(text)) == [(part, tokens.get(part)) for part in parts if part]


def test_thousands_of_words_are_looked_up_only_where_one_may_begin() -> None:
    finder = WordFinder({f"word_{index}_": index for index in range(5000)})
    text = "a robot must obey the orders given it " * 100 + "word_4999_word_49"
    with patch.object(finder, "_at", wraps=finder._at) as look_up:
        parts = list(finder.split(text))
    assert parts == [(text[:-17], None), ("word_4999_", 4999), ("word_49", None)]
    assert look_up.call_count == 2
