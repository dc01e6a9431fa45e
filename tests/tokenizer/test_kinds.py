"""No tokenizer is taken for another: what is not GPT-2's kind is named in one line."""

import json
from pathlib import Path

import pytest

from cutaway.errors import CheckpointError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.kinds import check_kind

GPT2_CLASSES = (None, "GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast")


@pytest.mark.parametrize("name", GPT2_CLASSES)
def test_gpt2s_classes_are_read(tmp_path: Path, name: str | None) -> None:
    Tokenizer.gpt2().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name} if name else {}))
    assert Tokenizer.from_files(tmp_path).encode("A robot") == [32, 9379]


@pytest.mark.parametrize("name", ["BertTokenizer", "BertTokenizerFast", "XLNetTokenizer", "CTRLTokenizer", 7])
def test_other_classes_are_rejected_whoever_names_them(tmp_path: Path, name: object) -> None:
    Tokenizer.gpt2().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    with pytest.raises(CheckpointError, match=rf"has a '?{name}'?; only GPT-2's byte-level BPE is read$"):
        Tokenizer.from_files(tmp_path, "GPT2Tokenizer")
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match="only GPT-2's byte-level BPE is read$"):
        check_kind(tmp_path, str(name))


@pytest.mark.parametrize("name", ["vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"])
def test_other_vocabularies_are_rejected_by_their_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[PAD]")
    with pytest.raises(CheckpointError, match=f"{name}: is the vocabulary of another tokenizer"):
        Tokenizer.from_files(tmp_path)
    Tokenizer.gpt2().save(tmp_path)
    assert Tokenizer.from_files(tmp_path).encode("A robot") == [32, 9379]
