"""Checkpoints with the tokenizer files that people have, beside transformers: the same ids, start and end tokens, read,
generated and written back.
"""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, BertTokenizerFast, GPT2LMHeadModel

import cutaway
from cutaway.checkpoints import save_checkpoint
from cutaway.errors import CheckpointError, UsageError
from tests.cli.invoke import invoke
from tests.tiny import peer_model, tiny_weights

TEXT = "A robot may not injure a human being. The model is trained on the text, and the next token is chosen. " * 9
CONTROL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
ROLES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def byte_level_bpe() -> FastTokenizer:
    fast = FastTokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator([TEXT], trainer)
    return fast


def edit(path: Path, **changes: object) -> None:
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(held | changes))


def checkpoint(directory: Path, **config: object) -> Path:
    """A random model of 340 ids, some of which no token has, as transformers saves it."""
    peer_model(tiny_weights(n_vocab=340)).save_pretrained(directory)
    edit(directory / "config.json", **config)
    edit(directory / "generation_config.json", **config)
    return directory


@pytest.fixture
def russian(tmp_path: Path) -> Path:
    """OpenAI's pair of files with separate start and end tokens, as ruGPT-3 has them."""
    directory = checkpoint(tmp_path / "ru", bos_token_id=1, eos_token_id=2, pad_token_id=0)
    byte_level_bpe().model.save(str(directory))
    edit(directory / "special_tokens_map.json", **ROLES)
    edit(directory / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", **ROLES)
    return directory


def greedy(directory: Path, prompt: list[int] | None, length: int = 6) -> list[int]:
    """Generate with transformers; returns the prompt too."""
    peer = GPT2LMHeadModel.from_pretrained(directory)
    ids = None if prompt is None else torch.tensor([prompt])
    found: list[int] = peer.generate(ids, max_new_tokens=length, do_sample=False)[0].tolist()
    return found


def test_a_text_starts_from_the_start_token_and_not_from_the_end_token(russian: Path) -> None:
    model = cutaway.load(russian, engine="reference")
    assert (model.bos, model.settings().eos_token_id) == (1, (2,))
    ours = model.generate("", max_new_tokens=6, temperature=0)
    assert [1, *ours.ids] == [token for token in greedy(russian, None) if token != 2]
    assert model.input_ids("text")[0] == 1


@pytest.mark.parametrize("own", ["config.json", "generation_config.json"])
def test_any_of_several_end_tokens_stops_a_text_as_for_transformers(russian: Path, own: str) -> None:
    free = cutaway.load(russian, engine="reference").generate([5, 6], max_new_tokens=6, temperature=0, ignore_eos=True)
    (russian / "generation_config.json").unlink()
    edit(russian / "config.json", eos_token_id=2)
    edit(russian / own, eos_token_id=[2, free.ids[3]])
    ours = cutaway.load(russian, engine="reference").generate([5, 6], max_new_tokens=6, temperature=0)
    stopped = list(free.ids[: free.ids.index(free.ids[3])])
    assert (list(ours.ids), ours.finish_reason) == (stopped, "eos")
    assert greedy(russian, [5, 6]) == [5, 6, *stopped, free.ids[3]]


@pytest.mark.parametrize("save", ["convert", "Model.save"])
def test_what_is_written_transformers_reads_back_alike(russian: Path, tmp_path: Path, save: str) -> None:
    edit(russian / "tokenizer_config.json", added_tokens_decoder=added(("dignums", False), ("<user>", True)))
    target = tmp_path / "out"
    if save == "convert":
        assert invoke("convert", str(russian), str(target), "--dtype", "float16").code == 0
    else:
        cutaway.load(russian, engine="reference").save(target, "float16")
    for name in ("config.json", "generation_config.json"):
        before, after = (json.loads((each / name).read_text()) for each in (russian, target))
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            assert after[key] == before[key] or after[key] == [before[key]]
    theirs, ours = (AutoTokenizer.from_pretrained(each) for each in (russian, target))
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.get_vocab() == theirs.get_vocab()
    text = "A robot and dignums may <user> not"
    assert ours(text).input_ids == theirs(text).input_ids
    model = cutaway.load(target, engine="reference")
    assert model.encode(text, allow_special=True) == ours(text).input_ids


def added(*tokens: tuple[str, bool]) -> dict[str, object]:
    plain = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    listed = [(300 + index, text, special) for index, (text, special) in enumerate(tokens)]
    listed += [(index, text, True) for index, text in enumerate(CONTROL)]
    return {str(index): {"content": text, "special": special, **plain} for index, text, special in listed}


def test_a_tokenizer_that_is_built_here_is_written_with_the_ids_that_transformers_reads(tmp_path: Path) -> None:
    fast = byte_level_bpe()
    fast.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", added_tokens_decoder=added(("dignums", False), ("<end>", True)), **ROLES)
    read = cutaway.Tokenizer.from_files(tmp_path)
    cutaway.Tokenizer(read.vocabulary).save(tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "A robot and dignums <end>"
    assert theirs(text).input_ids == read.encode(text, allow_special=True)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (read.bos, read.eos) == (1, 2)


def test_added_words_of_old_files_are_found_in_every_text(russian: Path) -> None:
    edit(russian / "added_tokens.json", dignums=300, **{"<user>": 301})
    edit(russian / "special_tokens_map.json", additional_special_tokens=["<user>"])
    ours = cutaway.Tokenizer.from_files(russian)
    text = "the dignums robot"
    assert ours.encode(text) == AutoTokenizer.from_pretrained(russian)(text).input_ids
    assert 301 not in ours.encode("a <user>")
    assert 301 in ours.encode("a <user>", allow_special=True)


def test_an_id_given_twice_is_blamed_on_the_file_that_gives_it(russian: Path) -> None:
    edit(russian / "added_tokens.json", dignums=7)
    with pytest.raises(CheckpointError, match=r"added_tokens\.json: the id 7 has two tokens"):
        cutaway.Tokenizer.from_files(russian)


def test_without_a_named_end_token_text_and_ids_are_generated(tmp_path: Path) -> None:
    """German GPT-2's first files: control tokens in the vocabulary, none with a role."""
    directory = checkpoint(tmp_path / "de", bos_token_id=None, eos_token_id=None)
    byte_level_bpe().save(str(directory / "tokenizer.json"))
    edit(directory / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    model = cutaway.load(directory, engine="reference")
    assert (model.bos, model.settings().eos_token_id) == (None, ())
    assert model.generate("A robot", max_new_tokens=3).finish_reason == "length"
    with pytest.raises(UsageError, match="has no start token; give a prompt of at least one token id"):
        model.generate("")


@pytest.fixture
def chinese(tmp_path: Path) -> Path:
    """GPT-2 Chinese: BERT's WordPiece, as transformers saves it now."""
    directory = checkpoint(tmp_path / "zh")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(0x4E00 + i) for i in range(335))]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(directory)
    return directory


def test_a_chinese_gpt2_reads_and_writes_text(chinese: Path, tmp_path: Path) -> None:
    model = cutaway.load(chinese, engine="reference")
    assert model.encode("一丁") == [5, 6]
    assert model.next_tokens("一丁")[0].text
    assert invoke("next", "--model", str(chinese), "一", "--engine", "reference").code == 0
    assert invoke("convert", str(chinese), str(tmp_path / "out"), "--dtype", "float16").code == 0
    model.save(tmp_path / "saved")
    for written in ("out", "saved"):
        ids = AutoTokenizer.from_pretrained(tmp_path / written)("一丁").input_ids
        assert ids == AutoTokenizer.from_pretrained(chinese)("一丁").input_ids


@pytest.fixture
def japanese(tmp_path: Path) -> Path:
    """GPT-2 Japanese: SentencePiece's own file, and no tokenizer.json."""
    directory = checkpoint(tmp_path / "ja")
    (directory / "spiece.model").write_bytes(b"\n\x0e\n\x05<unk>")
    edit(directory / "tokenizer_config.json", tokenizer_class="T5Tokenizer")
    return directory


def test_ids_work_with_a_tokenizer_that_is_not_read_and_text_says_what_it_is(japanese: Path, tmp_path: Path) -> None:
    model = cutaway.load(japanese, engine="reference")
    assert len(model.generate([101, 22], max_new_tokens=3, ignore_eos=True).ids) == 3
    assert model.logits([101, 22]).shape == (2, 340)
    assert model.score([101, 22, 7]).bytes == 0
    reason = "has a 'T5Tokenizer' without a tokenizer.json"
    with pytest.raises(CheckpointError, match=rf"{reason}; .*; give token ids instead of text$"):
        model.encode("你好")
    assert invoke("next", "--model", str(japanese), "--ids", "101", "--engine", "reference").code == 0
    assert reason in invoke("next", "--model", str(japanese), "a", "--engine", "reference").error
    assert invoke("convert", str(japanese), str(tmp_path / "out"), "--dtype", "float16").code == 0
    model.save(tmp_path / "saved")
    for written in ("out", "saved"):
        assert (tmp_path / written / "spiece.model").read_bytes() == (japanese / "spiece.model").read_bytes()


@pytest.mark.parametrize("named_in", ["config.json", "tokenizer_config.json"])
def test_gpt2s_own_tokenizer_is_never_taken_for_another(tmp_path: Path, named_in: str) -> None:
    save_checkpoint(tmp_path, tiny_weights(n_vocab=50257, n_embd=6, n_layer=1, n_ctx=8))
    assert cutaway.load(tmp_path).encode("A robot") == [32, 9379]
    edit(tmp_path / named_in, tokenizer_class="T5Tokenizer")
    with pytest.raises(CheckpointError, match=r"has a 'T5Tokenizer' without a tokenizer\.json"):
        cutaway.load(tmp_path).encode("A robot")
    edit(tmp_path / named_in, tokenizer_class="BertTokenizer")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nrobot\n")
    assert cutaway.load(tmp_path).encode("A robot") == [1, 2]


@pytest.mark.parametrize("save", ["convert", "Model.save"])
def test_the_class_that_a_config_names_is_saved_with_or_without_files(tmp_path: Path, save: str) -> None:
    source = tmp_path / "source"
    save_checkpoint(source, tiny_weights(n_vocab=50257, n_embd=6, n_layer=1, n_ctx=8))
    edit(source / "config.json", tokenizer_class="T5Tokenizer")
    if save == "convert":
        assert invoke("convert", str(source), str(tmp_path / "saved")).code == 0
    else:
        cutaway.load(source).save(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["config.json", "model.safetensors"]
    with pytest.raises(CheckpointError, match=r"has a 'T5Tokenizer' without a tokenizer\.json"):
        cutaway.load(tmp_path / "saved").encode("A robot")


def test_a_prefix_space_that_the_settings_ask_for_is_not_ignored(russian: Path) -> None:
    byte_level_bpe().save(str(russian / "tokenizer.json"))
    edit(russian / "tokenizer_config.json", add_prefix_space=True)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: sets add_prefix_space"):
        cutaway.Tokenizer.from_files(russian)


def test_padded_ids_and_gaps_are_read_scored_and_shown(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "gap")
    byte_level_bpe().model.save(str(directory))
    edit(directory / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", **ROLES)
    edit(directory / "added_tokens.json", **{"<last>": 339})
    model = cutaway.load(directory, engine="reference")
    unknown = next(token for token in range(300, 339) if model.tokenizer and model.tokenizer.token_bytes(token) is None)
    assert [candidate.text for candidate in model.next_tokens([5], 340) if candidate.id == unknown] == [""]
    score = model.score([5, unknown, 60])
    assert (score.tokens, score.bytes) == (2, len(model.tokenizer.token_bytes(60) or b"") if model.tokenizer else 0)
    assert model.decode([unknown, 339]) == "<last>"
    shown = invoke(
        "next", "--model", str(directory), "--ids", "5", str(unknown), "-k", "340", "--engine", "reference"
    ).out
    assert f"#{unknown}" in shown
