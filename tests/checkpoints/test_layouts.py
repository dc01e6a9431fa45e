"""Small random models in the files that some well-known repositories have: loaded, and compared with transformers.

Keys, names of tensors and files are those of the repositories, as `docs/models.md` says; sizes are smaller, and
vocabularies trained on the spot where they are not OpenAI's.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2LMHeadModel, GPT2TokenizerFast

import cutaway
from cutaway.model import Model
from cutaway.tokenizer.fast import Tokenizer
from tests.cli.invoke import invoke
from tests.tiny import assert_logits_close, peer_logits, random_ids, tiny_weights
from tests.tokenizer.other_kinds import BERT_ROLES, CHINESE, GERMAN, bert_vocabulary

# What all of these files have, as the first GPT-2s on the hub do.
COMMON: Mapping[str, object] = {
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "resid_pdrop": 0.1,
}
OPENAI_ENDS = {"bos_token_id": 50256, "eos_token_id": 50256}
SUMMARY = {
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
}
MISTRAL = {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True}


def write_bert_files(directory: Path, **settings: object) -> None:
    (directory / "vocab.txt").write_text(bert_vocabulary(), encoding="utf-8")
    (directory / "special_tokens_map.json").write_text(json.dumps(BERT_ROLES))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def write_chinese_cluecorpussmall(directory: Path) -> None:
    write_bert_files(directory, do_lower_case=False, tokenize_chinese_chars=True, strip_accents=None, **BERT_ROLES)


def write_ckip(directory: Path) -> None:
    write_bert_files(
        directory,
        do_lower_case=False,
        strip_accents=False,
        tokenize_chinese_chars=True,
        tokenizer_class="BertTokenizerFast",
    )


def write_gpt2_pair(directory: Path) -> None:
    """OpenAI's vocabulary as the two files that it was published in."""
    Tokenizer.gpt2().save(directory)
    (directory / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1024}))


def write_gpt2_whole(directory: Path) -> None:
    """The same as transformers' fast tokenizer saves it, with the pair beside it."""
    write_gpt2_pair(directory)
    pair = GPT2TokenizerFast(vocab=str(directory / "vocab.json"), merges=str(directory / "merges.txt"))
    pair.backend_tokenizer.save(str(directory / "tokenizer.json"))
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    (directory / "special_tokens_map.json").write_text(json.dumps(roles))
    settings = {"add_prefix_space": False, "model_max_length": 1024, "tokenizer_class": "GPT2Tokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings | roles))


def trained(text: str, special: list[str], n_vocab: int) -> Library:
    tokenizer = Library(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text] * 5, trainer)
    return tokenizer


def write_german(directory: Path) -> None:
    """Five control tokens before the bytes, as the library that it was trained with puts them; none has a role."""
    tokenizer = trained(GERMAN, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], 320)
    tokenizer.model.save(str(directory))
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1024}))


def write_codeparrot(directory: Path) -> None:
    """GPT-2's tokenizer trained anew on Python: `<|endoftext|>` is the first token."""
    tokenizer = trained("def main():\n    return [i for i in range(10)]\n", ["<|endoftext|>"], 300)
    tokenizer.model.save(str(directory))
    tokenizer.save(str(directory / "tokenizer.json"))
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    (directory / "special_tokens_map.json").write_text(json.dumps(roles))
    settings = {"add_prefix_space": False, "name_or_path": "gpt2", "tokenizer_class": "GPT2Tokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings | roles))


@dataclass(frozen=True)
class Layout:
    """A repository: the keys of its config.json beside COMMON and the sizes, its tokenizer files, and its weights."""

    tokenizer: Callable[[Path], None]
    keys: Mapping[str, object]
    n_vocab: int
    text: str
    prefix: str = "transformer."
    head: bool = True  # lm_head.weight is stored beside the embedding that it is
    masks: bool = True
    pickled: bool = True
    dtype: torch.dtype = torch.float32
    more: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # other JSON files


GENERATION = {
    "generation_config.json": {"_from_model_config": True, "transformers_version": "4.27.0.dev0", **OPENAI_ENDS}
}
LAYOUTS = {
    "uer/gpt2-chinese-cluecorpussmall": Layout(
        write_chinese_cluecorpussmall,
        {
            "activation_function": "gelu_new",
            "gradient_checkpointing": False,
            "n_inner": None,
            "output_past": True,
            "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 320}},
            "tokenizer_class": "BertTokenizer",
        },
        170,
        CHINESE,
        masks=False,
    ),
    "ckiplab/gpt2-base-chinese": Layout(
        write_ckip,
        {
            "activation_function": "gelu_new",
            "bos_token_id": 2,
            "eos_token_id": 3,
            "gradient_checkpointing": False,
            "n_inner": None,
            "tokenizer_class": "BertTokenizerFast",
            **SUMMARY,
        },
        170,
        CHINESE,
    ),
    "dbmdz/german-gpt2": Layout(
        write_german,
        {"activation_function": "gelu_new", "gradient_checkpointing": False, **OPENAI_ENDS, **SUMMARY},
        328,
        GERMAN,
    ),
    "cerebras/Cerebras-GPT-111M": Layout(
        write_gpt2_whole,
        {"activation_function": "gelu", "n_inner": 96, "scale_attn_weights": True, "use_cache": True, **OPENAI_ENDS},
        50257,
        "Generative AI is ",
        masks=False,
    ),
    "stanford-crfm/alias-gpt2-small-x21": Layout(
        write_gpt2_whole,
        {"activation_function": "gelu_new", "n_inner": None, "scale_attn_weights": True, **MISTRAL, **OPENAI_ENDS},
        50257,
        "Hello, my name is",
    ),
    "microsoft/DialoGPT-small": Layout(
        write_gpt2_pair,
        {
            "activation_function": "gelu_new",
            "task_specific_params": {"conversational": {"max_length": 1000}},
            **OPENAI_ENDS,
            **SUMMARY,
        },
        50257,
        "Does money buy happiness?<|endoftext|>",
        dtype=torch.float16,
        more=GENERATION,
    ),
    "codeparrot/codeparrot-small": Layout(
        write_codeparrot,
        {"activation_function": "gelu_new", "n_inner": None, "torch_dtype": "float32", **MISTRAL, **OPENAI_ENDS},
        300,
        "def main():\n    return",
    ),
    "distilgpt2": Layout(
        write_gpt2_whole,
        {
            "_num_labels": 1,
            "activation_function": "gelu_new",
            "id2label": {"0": "LABEL_0"},
            "label2id": {"LABEL_0": 0},
            "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
            **OPENAI_ENDS,
            **SUMMARY,
        },
        50257,
        "A robot must obey",
        head=False,
        pickled=False,
        more=GENERATION,
    ),
}
SIZES = {"n_ctx": 48, "n_embd": 24, "n_head": 3, "n_layer": 3}
MATHEMATICS = ("activation_function", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn")


def write(directory: Path, layout: Layout) -> None:
    """Write the files of a repository."""
    directory.mkdir()
    mathematics: dict[str, Any] = {key: layout.keys[key] for key in MATHEMATICS if key in layout.keys}
    weights = tiny_weights(n_vocab=layout.n_vocab, **SIZES, **mathematics)
    config = {**COMMON, **layout.keys, **SIZES, "n_positions": SIZES["n_ctx"], "vocab_size": layout.n_vocab}
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    layout.tokenizer(directory)
    for name, document in layout.more.items():
        (directory / name).write_text(json.dumps(document))
    tensors = {
        f"{layout.prefix}{name}": torch.from_numpy(array).to(layout.dtype) for name, array in weights.arrays.items()
    }
    if layout.masks:
        for block in range(SIZES["n_layer"]):
            square = torch.ones(SIZES["n_ctx"], SIZES["n_ctx"], dtype=torch.uint8).tril()[None, None].contiguous()
            tensors[f"{layout.prefix}h.{block}.attn.bias"] = square
            if layout.pickled:
                tensors[f"{layout.prefix}h.{block}.attn.masked_bias"] = torch.tensor(-1e4)
    if layout.head:
        tensors["lm_head.weight"] = tensors[f"{layout.prefix}wte.weight"]
    if layout.pickled:
        torch.save(tensors, directory / "pytorch_model.bin")
    else:
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})


def opened(directory: Path, layout: Layout) -> Model:
    """Load a repository; what is pickled is converted first, by the command that says so."""
    if not layout.pickled:
        return cutaway.load(directory, engine="cpu")
    target = directory.with_name("converted")
    assert "--allow-pickle" in invoke("convert", str(directory), str(target)).error
    assert invoke("convert", str(directory), str(target), "--allow-pickle").code == 0
    return cutaway.load(target, engine="cpu")


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_repository_is_loaded_and_computes_as_transformers_does(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name]
    write(tmp_path / "repository", layout)
    peer = GPT2LMHeadModel.from_pretrained(tmp_path / "repository", dtype=torch.float32).eval()
    model = opened(tmp_path / "repository", layout)
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path / "repository")
    for key in MATHEMATICS:
        assert getattr(model.config, key) == layout.keys.get(key, getattr(cutaway.GPT2Config(), key))
    for text in (layout.text, "A robot", "“机器人” café 123", "a  b\n\tc"):
        assert model.encode(text, allow_special=True) == theirs(text, add_special_tokens=False).input_ids
    ids = random_ids(model.config, 20)
    assert_logits_close(model.logits(ids), peer_logits(peer, ids))
    ids = model.encode(layout.text)[:20]
    expected = list(ids)
    for _ in range(12):
        expected.append(int(peer_logits(peer, expected)[-1].argmax()))
    assert [*ids, *model.generate(ids, max_new_tokens=12, temperature=0, ignore_eos=True).ids] == expected


@pytest.mark.slow
def test_start_and_end_tokens_are_those_of_the_files(tmp_path: Path) -> None:
    """As config.json says, but for ids that the vocabulary has not: then as the tokenizer says, or none."""
    expected = {
        "uer/gpt2-chinese-cluecorpussmall": (None, ()),
        "ckiplab/gpt2-base-chinese": (2, (3,)),
        "dbmdz/german-gpt2": (None, ()),
        "codeparrot/codeparrot-small": (0, (0,)),
        "distilgpt2": (50256, (50256,)),
    }
    for number, (name, ends) in enumerate(expected.items()):
        layout = LAYOUTS[name]
        write(tmp_path / f"{number}", layout)
        plain = Layout(**{**vars(layout), "pickled": False, "head": False})
        write(tmp_path / f"plain {number}", plain)
        model = cutaway.load(tmp_path / f"plain {number}", engine="reference")
        assert (model.bos, model.settings().eos_token_id) == ends, name


def test_chinese_is_written_without_spaces_and_shown_as_characters(tmp_path: Path) -> None:
    layout = Layout(**{**vars(LAYOUTS["uer/gpt2-chinese-cluecorpussmall"]), "pickled": False, "head": False})
    write(tmp_path / "zh", layout)
    model = cutaway.load(tmp_path / "zh", engine="reference")
    text = "这是很久之前的事情了"
    assert model.decode(model.encode(text)) == text
    shown = invoke("next", "--model", str(tmp_path / "zh"), text, "--engine", "reference", "-k", "170").out
    assert "机" in shown
    assert "\\x" not in shown
    explained = invoke("tokenizer", "explain", "--tokenizer", str(tmp_path / "zh"), "机器人").out.split()
    assert [word for word in explained if word in "机器人"] == ["机", "机", "器", "器", "人", "人"]
    written = model.generate(text, max_new_tokens=30, seed=1, top_k=0)
    assert written.text == model.decode(written.ids)
    assert not re.search("[\u4e00-\u9fff] [\u4e00-\u9fff]", written.text)
    assert re.search("[\u4e00-\u9fff]{2}", written.text)
