"""The readable twin: its alphabet, its pieces and its merges, each against an independent definition."""

import dataclasses
import json
import sys
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from cutaway.tokenizer import bpe
from cutaway.tokenizer.vocabulary import gpt2_vocabulary

VOCABULARY = gpt2_vocabulary()
FAST_SPLITTER = pre_tokenizers.ByteLevel(add_prefix_space=False)
# Ideographs, syllables and private use: blocks whose characters are all of one kind, so that their ends are enough.
UNIFORM = [
    *[(0x3400, 0x4DBF), (0x4E00, 0x9FFC), (0xAC00, 0xD7A3), (0x17000, 0x187F7), (0x20000, 0x323AF)],
    *[(0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)],
]
WORDS = st.text(st.sampled_from("abehilnorst'"), min_size=1, max_size=20)


def fast_split(text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in FAST_SPLITTER.pre_tokenize_str(text)]


def test_every_byte_has_a_printable_symbol_of_its_own() -> None:
    symbols = bpe.byte_symbols()
    assert len(symbols) == len(set(symbols.values())) == 256
    assert all(symbol.isprintable() and not symbol.isspace() for symbol in symbols.values())
    assert [symbols[byte] for byte in b"Az~ \n\x00\xff"] == ["A", "z", "~", "Ġ", "Ċ", "Ā", "ÿ"]
    assert list(symbols)[:3] == [33, 34, 35]  # "!" is token 0


@given(st.binary(max_size=40))
def test_symbols_stand_for_the_bytes(data: bytes) -> None:
    assert bpe.from_symbols(bpe.to_symbols(data)) == data
    assert bpe.is_symbols(bpe.to_symbols(data))


def test_a_space_is_not_a_symbol() -> None:
    assert not bpe.is_symbols("a b")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello world", ["Hello", " world"]),
        ("it's we'll I'M", ["it", "'s", " we", "'ll", " I", "'", "M"]),
        ("abc123 45", ["abc", "123", " 45"]),
        ("wait... what?!", ["wait", "...", " what", "?!"]),
        ("a  b", ["a", " ", " b"]),
        ("a \n\n b", ["a", " \n\n", " b"]),
        ("tail  \n", ["tail", "  \n"]),
        ("naïve Ⅷ½ 東京", ["naïve", " Ⅷ½", " 東京"]),
        ("a_b", ["a", "_", "b"]),
        ("x\u3000y\u00a0z", ["x", "\u3000", "y", "\u00a0", "z"]),
        ("e\u0301", ["e", "\u0301"]),
        ("", []),
    ],
)
def test_pre_tokens(text: str, pieces: list[str]) -> None:
    assert bpe.split(text) == fast_split(text) == pieces


@pytest.mark.slow
def test_every_character_is_of_the_same_kind_for_both_splitters() -> None:
    """Letters, numbers, white space and the rest, for every character that this Python's Unicode tables know."""
    uniform = {chr(code) for first, last in UNIFORM for code in range(first + 1, last)}
    chars = [chr(code) for code in range(sys.maxunicode + 1)]
    chars = [char for char in chars if char not in uniform and unicodedata.category(char) not in ("Cn", "Cs")]
    for start in range(0, len(chars), 4096):
        text = "".join(f"a{char}1{char}!{char}\n" for char in chars[start : start + 4096])
        assert bpe.split(text) == fast_split(text)


def openai_merge(symbols: str) -> list[str]:
    """The loop of OpenAI's encoder.py: all occurrences of the earliest learnt pair at once, from the left."""
    word = list(symbols)
    while len(word) > 1:
        first, second = min(pairwise(word), key=lambda pair: VOCABULARY.ranks.get(pair, sys.maxsize))
        if (first, second) not in VOCABULARY.ranks:
            break
        merged: list[str] = []
        while word:
            taken = 2 if word[:2] == [first, second] else 1
            merged.append("".join(word[:taken]))
            word = word[taken:]
        word = merged
    return word


@given(WORDS | st.text(max_size=20))
def test_merges_equal_openais(text: str) -> None:
    symbols = bpe.to_symbols(text.encode(errors="replace"))
    assert bpe.merge(symbols, VOCABULARY.ranks)[0] == openai_merge(symbols)


def test_merges_come_in_the_order_of_their_ranks() -> None:
    (piece,) = bpe.explain(" robots", VOCABULARY.ids, VOCABULARY.ranks)
    assert [" ".join(state) for state in piece.states()] == [
        "Ġ r o b o t s",
        "Ġ ro b o t s",
        "Ġ ro b ot s",
        "Ġro b ot s",
        "Ġro b ots",
        "Ġrob ots",
        "Ġrobots",
    ]
    assert [step.rank for step in piece.steps] == [49, 57, 430, 1491, 3601, 13937]
    assert (piece.text, piece.bytes[0], piece.tokens, piece.ids) == (" robots", 0x20, ("Ġrobots",), (14193,))


@given(st.text(max_size=30))
def test_an_explanation_is_consistent(text: str) -> None:
    text = text.encode(errors="replace").decode()
    pieces = bpe.explain(text, VOCABULARY.ids, VOCABULARY.ranks)
    assert "".join(piece.text for piece in pieces) == text
    for piece in pieces:
        states = list(piece.states())
        assert len(states) == len(piece.steps) + 1
        for (before, after), step in zip(pairwise(states), piece.steps, strict=True):
            assert VOCABULARY.ranks[step.left, step.right] == step.rank
            assert len(after) == len(before) - 1
            assert step.left + step.right in after
        assert states[-1] == piece.tokens
        assert bpe.from_symbols("".join(piece.tokens)) == bytes(piece.bytes) == piece.text.encode()
    as_json = json.loads(json.dumps([dataclasses.asdict(piece) for piece in pieces]))
    assert [piece["ids"] for piece in as_json] == [list(piece.ids) for piece in pieces]


def test_merging_a_long_pre_token_takes_n_log_n_steps() -> None:
    """A loop like OpenAI's would take minutes here: its time grows with the square of the length."""
    tokens, steps = bpe.merge("a" * 50_000, VOCABULARY.ranks)
    assert "".join(tokens) == "a" * 50_000
    assert len(steps) == 50_000 - len(tokens)
