"""GPT-2's own vocabulary: what is encoded without the fast tokenizer, and which files are recognised."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.tokenizer.bpe import byte_symbols
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.files import holds_gpt2
from cutaway.tokenizer.gpt2 import MAX_CHARACTERS, N_VOCAB, MergeRanks, ShortTexts
from cutaway.tokenizer.vocabulary import gpt2_vocabulary

SHORT = ShortTexts()
FULL = Tokenizer(gpt2_vocabulary())
WORDS = st.sampled_from(["a", " robot", "'s", "'ll", " 12", "  ", "\n", "\t", "!?", "http://", "ing", "The", "\x00"])
ASCII = st.text(st.characters(max_codepoint=127), max_size=40) | st.lists(WORDS, max_size=30).map("".join)


def published_json() -> str:
    """The `tokenizer.json` that OpenAI's models have on the hub."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": 50256,
                "special": True,
                "content": "<|endoftext|>",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"add_prefix_space": False},
        "post_processor": byte_level | {"trim_offsets": False},
        "decoder": byte_level,
        "model": {
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": {**gpt2_vocabulary().ids, "<|endoftext|>": 50256},
            "merges": [f"{left} {right}" for left, right in gpt2_vocabulary().merges],
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    FULL.save(tmp_path)
    return tmp_path


@given(ASCII)
def test_short_texts_have_the_ids_of_the_fast_tokenizer(text: str) -> None:
    assert SHORT.encode(text) == FULL.encode(text)


def test_every_token_has_its_bytes() -> None:
    assert [SHORT.token_bytes(i) for i in range(N_VOCAB)] == [FULL.token_bytes(i) for i in range(N_VOCAB)]
    assert len(byte_symbols()) + len(gpt2_vocabulary().merges) + 1 == N_VOCAB == FULL.n_vocab


def test_ranks_are_those_of_the_vocabulary() -> None:
    assert dict(MergeRanks(["Ġ t", "Ġ a"])) == {("Ġ", "t"): 0, ("Ġ", "a"): 1}
    assert len(MergeRanks(["Ġ t", "Ġ a"])) == 2


def test_long_texts_and_other_alphabets_are_for_the_fast_tokenizer() -> None:
    short = ShortTexts()
    assert short.takes("a" * (MAX_CHARACTERS - 2))
    assert not short.takes("é")
    assert short.takes("b")
    assert not short.takes("c")
    assert not short.takes("")


def test_control_tokens_are_found_only_if_allowed() -> None:
    text = "a<|endoftext|>b"
    assert Tokenizer.gpt2().encode(text, allow_special=True) == [64, 50256, 65]
    assert Tokenizer.gpt2().encode(text) == FULL.encode(text)
    assert Tokenizer.gpt2().decode([64, 50256]) == "a<|endoftext|>"


@pytest.mark.slow
def test_the_published_files_are_recognised(directory: Path) -> None:
    assert type(Tokenizer.from_files(directory)) is type(Tokenizer.gpt2())
    (directory / "tokenizer_config.json").unlink()
    assert type(Tokenizer.from_files(directory)) is type(Tokenizer.gpt2())
    (directory / "vocab.json").unlink()
    (directory / "tokenizer.json").write_bytes(published_json().encode())
    assert type(Tokenizer.from_files(directory)) is type(Tokenizer.gpt2())


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
def test_modified_published_files_are_parsed(directory: Path) -> None:
    change(directory / "vocab.json", '"!": 0, "\\"": 1', '"!": 1, "\\"": 0')
    assert not holds_gpt2(directory)
    assert Tokenizer.from_files(directory).encode("!") == [1]
    (directory / "tokenizer.json").write_text(published_json().replace('"!":0,"\\"":1', '"!":1,"\\"":0'), "utf-8")
    assert not holds_gpt2(directory)
    assert Tokenizer.from_files(directory).encode("!") == [1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"eos_token": "<|endoftext|>"', '"eos_token": "!"'),
        ('"50256": {\n      "content": "<|endoftext|>"', '"50257": {\n      "content": "<|pad|>"'),
        ('"50256": {', '"50257": {'),
        ('"add_prefix_space": false', '"add_prefix_space": true'),
    ],
)
def test_other_settings_are_read(directory: Path, old: str, new: str) -> None:
    change(directory / "tokenizer_config.json", old, new)
    assert not holds_gpt2(directory)
