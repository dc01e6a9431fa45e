"""Training a tokenizer, whose ids are the same in every library."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, GPT2TokenizerFast

from cutaway.errors import UsageError
from cutaway.tokenizer.bpe import byte_symbols, from_symbols
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.files import read_vocabulary
from cutaway.tokenizer.train import train_vocabulary, write_trained

SOURCE = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))) + "机器人" * 9
N_VOCAB = 700
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
WORDS = st.sampled_from([*SOURCE.split()[:300], "机器人", "é", "🤖", "'re", "\x85"])
TEXTS = st.text(max_size=60) | st.lists(WORDS | st.sampled_from([" ", "\n", "  "]), max_size=30).map("".join)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "mine"
    write_trained(train_vocabulary([SOURCE], N_VOCAB), path)
    return path


@pytest.fixture(scope="module")
def peers(directory: Path) -> dict[str, object]:
    vocabulary = read_vocabulary(directory)
    ranks = {from_symbols(token): index for token, index in vocabulary.ids.items()}
    special = {"<|endoftext|>": N_VOCAB - 1}
    return {
        "tokenizers": tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json")),
        "transformers": GPT2TokenizerFast.from_pretrained(directory),
        "auto": AutoTokenizer.from_pretrained(directory),
        "tiktoken": tiktoken.Encoding("mine", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special),
    }


@given(text=TEXTS)
def test_all_libraries_give_the_same_ids(text: str, directory: Path, peers: dict[str, object]) -> None:
    ours = Tokenizer.from_files(directory)
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert peers["tokenizers"].encode(text).ids == ids  # type: ignore[attr-defined]
    assert peers["transformers"](text)["input_ids"] == ids  # type: ignore[operator]
    assert peers["auto"](text)["input_ids"] == ids  # type: ignore[operator]
    assert peers["tiktoken"].encode(text, disallowed_special=()) == ids  # type: ignore[attr-defined]


def test_the_end_of_text_is_the_last_token_of_all(directory: Path, peers: dict[str, object]) -> None:
    ours = Tokenizer.from_files(directory)
    assert (ours.eos, ours.bos, ours.n_vocab) == (N_VOCAB - 1, N_VOCAB - 1, N_VOCAB)
    assert ours.encode("a<|endoftext|>", allow_special=True) == [ours.encode("a")[0], N_VOCAB - 1]
    assert peers["tokenizers"].encode("<|endoftext|>").ids == [N_VOCAB - 1]  # type: ignore[attr-defined]
    for name in ("transformers", "auto"):
        assert peers[name].eos_token_id == N_VOCAB - 1  # type: ignore[attr-defined]
        assert len(peers[name]) == N_VOCAB  # type: ignore[arg-type]
    assert peers["tiktoken"].n_vocab == N_VOCAB  # type: ignore[attr-defined]


def test_the_pair_of_files_holds_the_same(directory: Path, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    assert read_vocabulary(tmp_path) == read_vocabulary(directory)


def test_bytes_come_first_then_merges_as_in_gpt2(directory: Path) -> None:
    vocabulary = read_vocabulary(directory)
    assert [vocabulary.tokens[index] for index in range(256)] == list(byte_symbols().values())
    assert [vocabulary.tokens[256 + n] for n in range(N_VOCAB - 257)] == [a + b for a, b in vocabulary.merges]


def test_training_again_gives_the_same() -> None:
    assert train_vocabulary([SOURCE], N_VOCAB) == train_vocabulary([SOURCE], N_VOCAB)


@given(size=st.integers(1, 400))
@pytest.mark.slow
def test_pieces_cut_before_white_space_train_the_same(size: int) -> None:
    words = re.split(r"(?<=\S)(?= )", SOURCE[:4000])
    pieces = ["".join(words[start : start + size]) for start in range(0, len(words), size)]
    assert train_vocabulary(pieces, 300) == train_vocabulary([SOURCE[:4000]], 300)


def test_too_little_text_is_refused_with_the_number_that_fits() -> None:
    with pytest.raises(UsageError, match=r"the text gives only 258 tokens, not 300: .* --vocab-size 258"):
        train_vocabulary(["ab ab"], 300)
    assert train_vocabulary(["ab ab"], 258).merges == [("a", "b")]
    assert train_vocabulary([], 257).merges == []
    with pytest.raises(UsageError, match="vocab_size must be at least 257"):
        train_vocabulary([SOURCE], 256)


def test_an_error_of_the_texts_is_kept() -> None:
    def texts() -> Iterator[str]:
        yield "fine"
        raise UsageError("a.txt:3: not UTF-8")

    with pytest.raises(UsageError, match="a.txt:3: not UTF-8"):
        train_vocabulary(texts(), 300)


def test_the_end_of_text_has_every_role(directory: Path) -> None:
    end = "<|endoftext|>"
    special = json.loads((directory / "special_tokens_map.json").read_text())
    assert special == {"bos_token": end, "eos_token": end, "unk_token": end}
