"""The tokenizer against tiktoken, transformers, its readable twin and published vectors; and what it must never do."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import tiktoken
import tiktoken.load
from hypothesis import given
from hypothesis import strategies as st
from tiktoken_ext import openai_public  # type: ignore[import-untyped]
from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer
from transformers import GPT2Tokenizer

from cutaway.errors import UsageError
from cutaway.tokenizer.chunked import WINDOW
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training.control_tokens import add_controls

TOKENIZER = Tokenizer.gpt2()
END = "<|endoftext|>"
VECTORS = Path(__file__).parent / "r50k-vectors.txt"

# Any text; text of the stuff that splitting and merging turn on; and text in which characters are cut in half.
WORDS = [
    "a",
    "the",
    " robot",
    "'s",
    "'",
    "Ing",
    "0",
    "12",
    "½",
    "é",
    "e\u0301",
    "東",
    "🌍",
    "👩\u200d🚀",
    "!",
    "_",
    "Ġ",
]
GAPS = [" ", "  ", "\n", "\t", "\u3000", "\x1c", "\x85", "\x00", "\ufeff", "\ufffd"]
SNIPPETS = st.sampled_from([*WORDS, *GAPS, END, "<|", "endoftext"])
TEXTS = st.text(max_size=40) | st.lists(SNIPPETS, max_size=20).map("".join)
UNPAIRED = st.text(st.sampled_from("a \ud83c\udf0d\ud800é"), max_size=8)
KNOWN = st.characters(exclude_categories=["Cs", "Cn"])  # what all versions of Unicode agree on


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("saved")
    TOKENIZER.save(directory)
    return directory


@pytest.fixture(scope="module")
def peer(saved: Path) -> Iterator[tiktoken.Encoding]:
    """tiktoken's own "gpt2", which checks the hashes of the two files that it would download and here gets from us."""
    files = {"vocab.bpe": saved / "merges.txt", "encoder.json": saved / "vocab.json"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        patch.setattr(tiktoken.load, "read_file", lambda url: files[url.rsplit("/", 1)[1]].read_bytes())
        yield tiktoken.Encoding(**openai_public.gpt2())


def test_the_articles_claim_about_its_prompt() -> None:
    ids = TOKENIZER.encode("A robot must obey the orders given it")
    assert ids == [32, 9379, 1276, 22389, 262, 6266, 1813, 340]
    assert [TOKENIZER.token_bytes(index) for index in ids][:3] == [b"A", b" robot", b" must"]


def test_published_vectors() -> None:
    blocks = VECTORS.read_text(encoding="utf-8").strip().split("\n\n")
    assert len(blocks) == 64
    for block in blocks:
        _, sample, encoded = block.split("\n")
        text = sample.removeprefix("Sample: ")
        ids = json.loads(encoded.removeprefix("Encoded: "))
        assert TOKENIZER.encode(text) == ids
        assert TOKENIZER.decode(ids) == text
        assert [index for piece in TOKENIZER.explain(text) for index in piece.ids] == ids


@given(TEXTS)
def test_ids_equal_tiktokens_and_decode_to_the_text(peer: tiktoken.Encoding, text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids == peer.encode_ordinary(text)
    assert TOKENIZER.decode(ids) == text


@given(TEXTS)
def test_control_tokens_on_request(peer: tiktoken.Encoding, text: str) -> None:
    ids = TOKENIZER.encode(text, allow_special=True)
    assert ids == peer.encode(text, allowed_special="all")
    assert TOKENIZER.decode(ids) == text
    assert ids.count(TOKENIZER.n_vocab - 1) == text.count(END)


@given(st.text(KNOWN, max_size=40) | st.lists(SNIPPETS, max_size=20).map("".join), st.booleans())
def test_the_readable_tokenizer_has_the_same_ids(text: str, allow_special: bool) -> None:
    pieces = TOKENIZER.explain(text, allow_special=allow_special)
    assert [index for piece in pieces for index in piece.ids] == TOKENIZER.encode(text, allow_special=allow_special)
    assert "".join(piece.text for piece in pieces) == text


@given(UNPAIRED)
def test_lone_surrogates_are_replaced_as_tiktoken_does(peer: tiktoken.Encoding, text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids == peer.encode_ordinary(text)
    assert TOKENIZER.decode(ids) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert [index for piece in TOKENIZER.explain(text) for index in piece.ids] == ids


def test_special_text_is_plain_text_unless_asked() -> None:
    assert TOKENIZER.encode(END) == [27, 91, 437, 1659, 5239, 91, 29]
    assert TOKENIZER.encode(f"a{END}b", allow_special=True) == [64, 50256, 65]
    assert TOKENIZER.decode([64, 50256, 65]) == f"a{END}b"
    (piece,) = TOKENIZER.explain(END, allow_special=True)
    assert (piece.ids, piece.text, list(piece.states())) == ((50256,), END, [(END,)])


def test_the_longest_of_overlapping_added_tokens_is_found() -> None:
    added = {"<a>": 50257, "<a><b>": 50258, "<a": 50259}
    tokenizer = Tokenizer(replace(TOKENIZER.vocabulary, added=added))
    assert tokenizer.encode("<a><b><a><a") == [50258, 50257, 50259]


def test_token_bytes_equal_tiktokens(peer: tiktoken.Encoding) -> None:
    for index in range(TOKENIZER.n_vocab):
        data = TOKENIZER.token_bytes(index)
        assert data is not None
        assert data == peer.decode_single_token_bytes(index)
        assert TOKENIZER.decode([index]) == data.decode(errors="replace")


@pytest.mark.parametrize("index", [-1, 50257, 10**30])
def test_decode_rejects_an_id_outside_the_vocabulary(index: int) -> None:
    with pytest.raises(UsageError, match=f"^a token id must be from 0 to 50256, not {index}$"):
        TOKENIZER.decode([64, index])


@pytest.mark.parametrize("index", [50257, 10**30])
def test_an_id_without_a_token_has_no_bytes_and_no_text(index: int) -> None:
    assert TOKENIZER.token_bytes(index) is None
    assert TOKENIZER.label(index) == f"#{index}"
    stream = TOKENIZER.stream()
    assert [stream.push(447), stream.push(index), stream.push(247)] == ["", "", "\u2019"]


@given(st.lists(st.integers(0, 50256) | st.integers(94, 255), max_size=30))
def test_a_stream_equals_decode(ids: list[int]) -> None:
    """Of any tokens at all; 94 to 255 are the bytes that make up, and break up, characters."""
    stream = TOKENIZER.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == TOKENIZER.decode(ids)


@given(TEXTS)
def test_a_stream_never_shows_half_a_character(text: str) -> None:
    stream = TOKENIZER.stream()
    shown = ""
    for index in TOKENIZER.encode(text):
        shown += stream.push(index)
        assert text.startswith(shown)
    assert shown == text
    assert stream.finish() == ""


def test_a_stream_marks_an_incomplete_character() -> None:
    stream = TOKENIZER.stream()
    half = TOKENIZER.encode("🌍")[:-1]
    assert [stream.push(index) for index in half] == ["", ""]
    assert stream.finish() == "\ufffd" == TOKENIZER.decode(half)
    assert stream.push(64) == "a"


def test_transformers_reads_what_is_saved(saved: Path) -> None:
    theirs = GPT2Tokenizer.from_pretrained(saved)
    assert len(theirs) == 50257
    assert theirs.eos_token_id == 50256
    for text in ["Hello world, it's 12½ robots\n\n  in 東京 🌍", " a", ""]:
        assert theirs(text).input_ids == TOKENIZER.encode(text)
        assert theirs.decode(TOKENIZER.encode(text), clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("layout", ["pair", pytest.param("tokenizer.json", marks=pytest.mark.slow)])
def test_we_read_what_transformers_saves(saved: Path, tmp_path: Path, layout: str) -> None:
    if layout == "tokenizer.json":
        GPT2Tokenizer.from_pretrained(saved).save_pretrained(tmp_path)
        assert (tmp_path / "tokenizer.json").is_file()
    ours = Tokenizer.from_files(saved if layout == "pair" else tmp_path)
    assert ours.vocabulary == TOKENIZER.vocabulary
    assert ours.encode(f"robots {END}") == TOKENIZER.encode(f"robots {END}")


def letters(n: int, alphabet: str = "abcdefghijklmnopqrstuvwxyz") -> str:
    return "".join(random.Random(n).choices(alphabet, k=n))


LONG: dict[str, Callable[[int], str]] = {
    "spaces": lambda n: " " * n,
    "spaces and a word": lambda n: " " * n + "word",
    "newlines": lambda n: "\n" * n,
    "one letter": lambda n: "a" * n,
    "letters": letters,
    "digits": lambda n: letters(n, "0123456789"),
    "punctuation": lambda n: letters(n, "!'\".,-="),
    "combining marks": lambda n: "e" + "\u0301" * n,
    "ideographs": lambda n: letters(n, "".join(map(chr, range(0x4E00, 0x9000)))),
    "emoji": lambda n: "🌍" * n,
    "words": lambda n: letters(n, "etaoin  "),
    "control tokens": lambda n: END * (n // 13),
}


class Counted:
    """The fast tokenizer, with the lengths of the texts that it encodes."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def encode(self, text: str) -> Encoding:
        self.lengths.append(len(text))
        return TOKENIZER._fast.encode(text)

    def __getattr__(self, name: str) -> object:
        return getattr(TOKENIZER._fast, name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LONG)
def test_encoding_takes_linear_work(kind: str) -> None:
    """No character is encoded more than a few times, and never more than a window, also within one pre-token."""
    text = LONG[kind](100_000)
    counted = Counted()
    tokenizer = Tokenizer(TOKENIZER.vocabulary)
    tokenizer._fast = cast(FastTokenizer, counted)
    assert tokenizer.decode(tokenizer.encode(text, allow_special=True)) == text
    assert sum(counted.lengths) <= 2 * len(text)
    assert max(counted.lengths, default=0) <= WINDOW


def test_a_forked_process_encodes_without_a_warning() -> None:
    """`tokenizers` warns, and may hang, in a child forked after it used threads; we never make it use them."""
    code = """if True:
        import os
        from cutaway.tokenizer.fast import Tokenizer
        tokenizer = Tokenizer.gpt2()
        tokenizer.encode("robots and robots " * 10000)
        child = os.fork()
        if child == 0:
            os._exit(0 if tokenizer.encode("a robot") == [64, 9379] else 1)
        raise SystemExit(os.waitpid(child, 0)[1])
    """
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("wrong", [None, b"bytes", 5])
def test_encode_rejects_anything_but_text(wrong: str) -> None:
    with pytest.raises(UsageError, match="text must be a str"):
        TOKENIZER.encode(wrong)


@pytest.mark.parametrize("wrong", [None, 5, [1.0], [True], ["1"], [None], "12"])
def test_decode_rejects_invalid_ids(wrong: list[int]) -> None:
    TOKENIZER.decode([1])  # what is known already is no other question
    with pytest.raises(UsageError, match="token id"):
        TOKENIZER.decode(wrong)


def test_the_longest_token_may_be_one_that_was_added() -> None:
    name = f"<|{'é' * 80}|>"
    assert add_controls(Tokenizer.gpt2(), [name], first=50257).max_token_bytes == len(name.encode())
