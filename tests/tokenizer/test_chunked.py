"""Windows over a long text: the tokens are those of the whole text, wherever the windows happen to end."""

from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer, models, pre_tokenizers

from cutaway.tokenizer import chunked
from cutaway.tokenizer.bpe import byte_symbols
from cutaway.tokenizer.vocabulary import gpt2_vocabulary

PARTS = st.sampled_from(["a", "the", " robot", "'s", "'re", "'", "=", "-", " ", "\n", "1", "é", "e\u0301", "東", "🌍"])
RUNS = st.tuples(PARTS, st.integers(1, 60)).map(lambda run: run[0] * run[1])
TEXTS = st.lists(RUNS, max_size=8).map("".join) | st.text(st.sampled_from("abeinorst"), max_size=300)


def fast_tokenizer(ids: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    fast = Tokenizer(models.BPE(ids, merges))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return fast


GPT2 = fast_tokenizer(gpt2_vocabulary().ids, gpt2_vocabulary().merges)


@pytest.fixture(params=[32, 45], autouse=True)
def small_windows(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "WINDOW", request.param)
        yield


@given(TEXTS)
def test_tokens_are_those_of_the_whole_text(text: str) -> None:
    assert chunked.encode(GPT2, text) == GPT2.encode(text).ids


@st.composite
def vocabularies(draw: st.DrawFn) -> Tokenizer:
    """Merges of a few letters in any order, as training would never give them."""
    tokens = ["a", "b", "c"]
    merges = {}
    for _ in range(draw(st.integers(1, 25))):
        left = draw(st.sampled_from(tokens))
        right = draw(st.sampled_from(tokens))
        if len(left + right) < 9:
            merges[left, right] = True
            tokens.append(left + right)
    symbols = dict.fromkeys([*byte_symbols().values(), *tokens])
    return fast_tokenizer({token: index for index, token in enumerate(symbols)}, draw(st.permutations(list(merges))))


@given(vocabularies(), st.text(st.sampled_from("abc"), min_size=40, max_size=200))
@pytest.mark.slow
def test_the_order_of_the_merges_does_not_matter(fast: Tokenizer, text: str) -> None:
    assert chunked.encode(fast, text) == fast.encode(text).ids


def test_without_a_valid_cut_the_text_is_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "_stay_apart", lambda fast, left, right: False)
    text = "words and " + "o" * 200
    assert chunked.encode(GPT2, text) == GPT2.encode(text).ids


class Watched:
    """A tokenizer that remembers the longest text it was given."""

    def __init__(self) -> None:
        self.longest = 0

    def encode(self, text: str) -> Encoding:
        self.longest = max(self.longest, len(text))
        return GPT2.encode(text)

    def __getattr__(self, name: str) -> object:
        return getattr(GPT2, name)


@pytest.mark.parametrize("char", [" ", "\n", "a", "0", "!", "\u0301", "東", "🌍"])
def test_no_more_than_a_window_is_encoded_at_a_time(char: str) -> None:
    watched = Watched()
    assert chunked.encode(cast(Tokenizer, watched), char * 500) == GPT2.encode(char * 500).ids
    assert watched.longest == chunked.WINDOW
