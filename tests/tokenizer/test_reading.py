"""Which files a tokenizer is read from, and that settings beside them are heeded."""

import json
from pathlib import Path

import pytest
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from cutaway.errors import CheckpointError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.library import LibraryTokenizer
from cutaway.tokenizer.reading import read_tokenizer
from tests.checkpoints.test_special_tokens import byte_level_bpe
from tests.tokenizer.other_kinds import bert_vocabulary, unigram, word_piece, write_bert, write_json


def test_gpt2s_files_are_read_by_gpt2s_tokenizer(tmp_path: Path) -> None:
    Tokenizer.gpt2().save(tmp_path)
    assert isinstance(read_tokenizer(tmp_path), Tokenizer)


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_berts_settings_prevail_over_tokenizer_json(tmp_path: Path, settings: dict[str, object]) -> None:
    """As in transformers, whose BertTokenizer takes only the vocabulary from it."""
    word_piece().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **settings}))
    ours = read_tokenizer(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("The Robot naïve Œuvre", "从前 ROBOT", "[CLS] x"):
        assert ours.encode(text, allow_special=True) == theirs(text, add_special_tokens=False).input_ids


def test_the_class_may_be_named_by_the_config_alone(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(bert_vocabulary(), encoding="utf-8")
    named = read_tokenizer(tmp_path, "BertTokenizerFast")
    assert named.encode("Robots") == read_tokenizer(tmp_path).encode("Robots") == named.encode("robots")


@pytest.mark.parametrize("files", ["pair", "whole", "whole with a space"])
@pytest.mark.parametrize("settings", [{}, {"add_prefix_space": False}, {"add_prefix_space": True}])
@pytest.mark.parametrize("name", [None, "GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast"])
def test_a_space_before_a_text_is_what_transformers_makes_of_the_files(
    tmp_path: Path, files: str, settings: dict[str, object], name: str | None
) -> None:
    """GPT-2's classes follow the settings, and the others the tokenizer.json."""
    tokenizer = byte_level_bpe()
    if files == "pair":
        if name == "PreTrainedTokenizerFast":
            return
        tokenizer.model.save(str(tmp_path))
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=files == "whole with a space")
        tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | ({"tokenizer_class": name} if name else {})))
    ours = read_tokenizer(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("robot x", " robot", "", "a\n b<s>c"):
        assert ours.encode(text) == theirs(text, add_special_tokens=False, split_special_tokens=True).input_ids
    ids = ours.encode("robot x")
    assert ours.decode(ids) == theirs.decode(ids)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_windows_are_no_part_of_a_token(tmp_path: Path, end: str) -> None:
    write_bert()(tmp_path)
    expected = read_tokenizer(tmp_path).encode("Robots 从前")
    (tmp_path / "vocab.txt").write_bytes(bert_vocabulary().replace("\n", end).encode())
    assert read_tokenizer(tmp_path).encode("Robots 从前") == expected


def test_tokens_beside_the_vocabulary_are_added(tmp_path: Path) -> None:
    write_bert(additional_special_tokens=["<user>"])(tmp_path)
    n = read_tokenizer(tmp_path).n_vocab
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<user>": n, "robotics": n + 1}))
    ours = read_tokenizer(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert (ours.n_vocab, ours.control["<user>"]) == (n + 2, n)
    for text in ("a robotics <user> x", "ROBOTICS", "xrobotics"):
        assert ours.encode(text, allow_special=True) == theirs(text, add_special_tokens=False).input_ids
    assert n not in ours.encode("<user>")
    assert n + 1 in ours.encode("robotics")


def test_start_and_end_tokens_are_those_with_the_roles(tmp_path: Path) -> None:
    write_json(unigram, bos_token={"content": "<s>"}, eos_token="</s>")(tmp_path)
    ours = read_tokenizer(tmp_path)
    assert (ours.bos, ours.eos) == (0, 1)
    write_json(unigram, eos_token="no such token")(tmp_path)
    ours = read_tokenizer(tmp_path)
    assert (ours.bos, ours.eos) == (None, None)


def test_files_are_written_as_they_were(tmp_path: Path) -> None:
    source = tmp_path / "source"
    target = tmp_path / "target"
    source.mkdir()
    target.mkdir()
    write_bert(do_lower_case=False)(source)
    read_tokenizer(source).write(target)
    assert {p.name: p.read_bytes() for p in source.iterdir()} == {p.name: p.read_bytes() for p in target.iterdir()}
    assert isinstance(read_tokenizer(target), LibraryTokenizer)


@pytest.mark.parametrize(
    ("settings", "vocabulary", "reason"),
    [
        ({}, "a\nb\n", r"vocab\.txt: has no '\[UNK\]', the token for everything unknown"),
        ({"unk_token": "<unk>"}, None, r"vocab\.txt: has no '<unk>'"),
        ({"do_lower_case": "no"}, None, r"tokenizer_config\.json: do_lower_case must be true or false, not 'no'"),
        ({"added_tokens_decoder": {"9999": {"content": "<x>"}}}, None, r"'<x>' cannot have the id 9999: the next one"),
    ],
)
def test_invalid_files_of_bert_are_errors_of_one_line(
    tmp_path: Path, settings: dict[str, object], vocabulary: str | None, reason: str
) -> None:
    write_bert(**settings)(tmp_path)
    if vocabulary is not None:
        (tmp_path / "vocab.txt").write_text(vocabulary)
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
