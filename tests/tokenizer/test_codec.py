"""The Codec protocol: what generation and `Model` need of it, with one that is not byte-level BPE."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.model import Model
from cutaway.tokenizer.codec import Codec, TextDecoder
from cutaway.tokenizer.fast import Tokenizer
from tests.tiny import tiny_weights


class Digits:
    """Ten characters; no token begins or ends a text, and none stands for bytes."""

    n_vocab = 10
    bos = None
    eos = None

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        return [int(char) for char in text]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(map(str, ids))

    def stream(self) -> TextDecoder:
        return DigitStream()

    def token_bytes(self, index: int) -> bytes | None:
        return None

    def label(self, index: int) -> str:
        return str(index) if index < self.n_vocab else f"#{index}"

    def write(self, directory: Path) -> None:
        (directory / "digits.txt").write_text("0123456789")


class DigitStream:
    def push(self, index: int) -> str:
        return str(index) if index < Digits.n_vocab else ""

    def finish(self) -> str:
        return ""


CODECS: list[Codec] = [Tokenizer.gpt2(), Digits()]
WEIGHTS = tiny_weights()  # with 61 ids, of which the digits are ten
MODEL = Model(ReferenceEngine(WEIGHTS), WEIGHTS, Digits(), "digits")


@pytest.mark.parametrize("codec", CODECS, ids=["byte-level BPE", "digits"])
def test_every_codec_gives_a_text_back(codec: Codec) -> None:
    ids = codec.encode("1918")
    assert codec.decode(ids) == "1918"
    stream = codec.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == "1918"
    assert max(ids) < codec.n_vocab
    assert codec.label(codec.n_vocab) == f"#{codec.n_vocab}"


def test_ids_without_a_token_have_no_text() -> None:
    completion = MODEL.generate("19", max_new_tokens=40, seed=1, top_k=0)
    assert min(completion.ids) < 10 <= max(completion.ids)
    assert completion.text == "".join(str(token) for token in completion.ids if token < 10)
    assert MODEL.decode([1, 33, 9]) == "19"
    assert completion.finish_reason == "length"


def test_a_stop_string_is_found_in_the_text_of_any_codec() -> None:
    text = MODEL.generate("19", max_new_tokens=40, seed=1, top_k=0).text
    assert MODEL.generate("19", max_new_tokens=40, seed=1, top_k=0, stop=text[1:3]).finish_reason == "stop"


def test_missing_features_of_a_codec_are_errors_of_one_line() -> None:
    with pytest.raises(UsageError, match="digits has no start token"):
        MODEL.generate("")
    assert len(MODEL.generate("", bos_token_id=3, max_new_tokens=2).ids) == 2
    assert MODEL.input_ids("19") == [1, 9]
    with pytest.raises(UsageError, match="digits has no start token"):
        MODEL.input_ids("19", prepend_bos=True)
    score = MODEL.score("19")
    assert (score.tokens, score.bytes, score.bits_per_byte) == (1, 0, None)


def test_a_model_saves_its_codecs_files(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "digits.txt").read_text() == "0123456789"
