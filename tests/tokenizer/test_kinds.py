"""No tokenizer is taken for another: what is not read is named in one line."""

import json
from pathlib import Path

import pytest

from cutaway.errors import CheckpointError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.kinds import find_kind
from tests.tokenizer.other_kinds import unigram, write_bert, write_json

GPT2_CLASSES = (None, "GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast")
READ = "what is read: any tokenizer.json, vocab.json with merges.txt, and BERT's vocab.txt$"


@pytest.mark.parametrize("name", GPT2_CLASSES)
def test_gpt2s_classes_are_read(tmp_path: Path, name: str | None) -> None:
    Tokenizer.gpt2().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name} if name else {}))
    assert find_kind(tmp_path) == "gpt2"
    assert Tokenizer.from_files(tmp_path).encode("A robot") == [32, 9379]


@pytest.mark.parametrize("name", ["BertTokenizer", "BertTokenizerFast", "XLNetTokenizer", "CTRLTokenizer", 7])
def test_classes_without_their_files_are_rejected_whoever_names_them(tmp_path: Path, name: object) -> None:
    Tokenizer.gpt2().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    with pytest.raises(CheckpointError, match=rf"has a '?{name}'? without a tokenizer\.json; {READ}"):
        Tokenizer.from_files(tmp_path, "GPT2Tokenizer")
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match=READ):
        find_kind(tmp_path, str(name))


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"])
def test_vocabularies_that_are_not_read_are_rejected_by_their_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[PAD]")
    with pytest.raises(CheckpointError, match=rf"{name}: is a vocabulary of SentencePiece without .*; {READ}"):
        find_kind(tmp_path)
    Tokenizer.gpt2().save(tmp_path)
    assert Tokenizer.from_files(tmp_path).encode("A robot") == [32, 9379]


def test_berts_vocabulary_is_told_by_its_file_or_its_class(tmp_path: Path) -> None:
    write_bert()(tmp_path)
    assert find_kind(tmp_path) == "bert"
    (tmp_path / "tokenizer_config.json").unlink()
    assert find_kind(tmp_path) == "bert"
    with pytest.raises(CheckpointError, match="has BERT's WordPiece, not GPT-2's byte-level BPE$"):
        Tokenizer.from_files(tmp_path)


def test_a_tokenizer_json_says_what_it_is(tmp_path: Path) -> None:
    write_json(unigram, tokenizer_class="XLNetTokenizer")(tmp_path)
    assert find_kind(tmp_path) == "library"
    (tmp_path / "tokenizer_config.json").unlink()
    assert find_kind(tmp_path, "GPT2Tokenizer") == "library"
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: is a 'Unigram' tokenizer; GPT-2's is byte-level BPE$"):
        Tokenizer.from_files(tmp_path)
