"""GPT-2's own vocabulary: that the packaged merges are OpenAI's, and that the ids derived from them are too."""

import hashlib
from pathlib import Path

import pytest

import cutaway.tokenizer.vocabulary
from cutaway.tokenizer.bpe import byte_symbols, from_symbols, merge
from cutaway.tokenizer.files import TokenizerFiles
from cutaway.tokenizer.vocabulary import END_OF_TEXT, gpt2_vocabulary

# Of OpenAI's published vocab.bpe and encoder.json, as in tiktoken's openai_public.py.
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
IDS_SHA256 = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_packaged_file_is_openais() -> None:
    assert sha256(Path(cutaway.tokenizer.vocabulary.__file__).parent / "vocab.bpe") == MERGES_SHA256


def test_derived_vocabulary_equals_openais_byte_for_byte(tmp_path: Path) -> None:
    TokenizerFiles.of(gpt2_vocabulary()).write(tmp_path)
    assert sha256(tmp_path / "merges.txt") == MERGES_SHA256
    assert sha256(tmp_path / "vocab.json") == IDS_SHA256


def test_the_shape_of_gpt2s_vocabulary() -> None:
    vocabulary = gpt2_vocabulary()
    assert vocabulary.n_vocab == 50257
    assert len(vocabulary.merges) == 50000
    assert list(vocabulary.ids)[:256] == list(byte_symbols().values())
    assert sorted(vocabulary.tokens) == list(range(50256))
    assert vocabulary.control == {END_OF_TEXT: 50256} == {END_OF_TEXT: vocabulary.end_of_text}
    assert not vocabulary.added
    assert gpt2_vocabulary() is vocabulary


@pytest.mark.slow
def test_encoding_a_tokens_bytes_gives_the_token() -> None:
    vocabulary = gpt2_vocabulary()
    for token in vocabulary.ids:
        assert merge(token, vocabulary.ranks)[0] == [token]
    assert len({from_symbols(token) for token in vocabulary.ids}) == 50256
