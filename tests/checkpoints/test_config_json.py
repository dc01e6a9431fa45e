"""Which configurations are GPT-2's, and what we write for transformers."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from cutaway.checkpoints.config_json import StoredConfig, config_json, known_ids, read_config
from cutaway.config import PUBLISHED, GPT2Config
from cutaway.errors import CheckpointError
from cutaway.formats import FLOAT32, FORMATS

# The published file of the smallest model.
GPT2 = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 50256,
    "embd_pdrop": 0.1,
    "eos_token_id": 50256,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 50257,
}

OTHER = GPT2Config(
    activation_function="silu",
    scale_attn_weights=False,
    scale_attn_by_inverse_layer_idx=True,
    reorder_and_upcast_attn=True,
)


def read(directory: Path, changes: dict[str, object], *, without: str = "") -> StoredConfig:
    path = directory / "config.json"
    path.write_text(json.dumps({key: value for key, value in (GPT2 | changes).items() if key != without}))
    return read_config(path)


def test_reads_the_published_file(tmp_path: Path) -> None:
    assert read(tmp_path, {}) == StoredConfig(GPT2Config(), FLOAT32, {"bos_token_id": 50256, "eos_token_id": 50256})


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"n_positions": 2048}, GPT2Config(n_ctx=2048)),  # transformers looks at n_ctx no more
        ({"n_inner": None}, GPT2Config()),
        ({"n_inner": 100}, GPT2Config(n_inner=100)),
        ({"layer_norm_epsilon": 1e-6}, GPT2Config(layer_norm_epsilon=1e-6)),
        ({"tie_word_embeddings": False}, GPT2Config(tie_word_embeddings=False)),
        ({"activation_function": "gelu_pytorch_tanh"}, GPT2Config()),
        ({"activation_function": "gelu_fast"}, GPT2Config()),
        ({"activation_function": "gelu"}, GPT2Config(activation_function="gelu")),
        ({"activation_function": "swish"}, GPT2Config(activation_function="silu")),
        ({"scale_attn_weights": False}, GPT2Config(scale_attn_weights=False)),
        ({"scale_attn_by_inverse_layer_idx": True}, GPT2Config(scale_attn_by_inverse_layer_idx=True)),
        ({"reorder_and_upcast_attn": True}, GPT2Config(reorder_and_upcast_attn=True)),
        ({"use_cache": False, "dtype": "float16", "anything": [1]}, GPT2Config()),
        ({"scale_attn_weights": True, "quantization_config": None, "pruned_heads": {}}, GPT2Config()),
    ],
)
def test_accepts_other_gpt2_shapes(tmp_path: Path, changes: dict[str, object], config: GPT2Config) -> None:
    assert read(tmp_path, changes).config == config


def test_other_names_of_the_sizes(tmp_path: Path) -> None:
    assert read(tmp_path, {"hidden_size": 96}, without="n_embd").config == GPT2Config(n_embd=96)
    assert read(tmp_path, {"n_ctx": 77}, without="n_positions").config == GPT2Config(n_ctx=77)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "gpt_neo"}, "model_type is 'gpt_neo'; only 'gpt2' or 'cutaway-gpt2-relative' is supported"),
        ({"activation_function": "mish"}, "activation_function is 'mish'; gelu_new, gelu, relu, silu, tanh and their"),
        ({"activation_function": ["gelu"]}, r"activation_function is \['gelu'\]"),
        ({"scale_attn_weights": 0}, "scale_attn_weights must be true or false, not 0"),
        ({"scale_attn_by_inverse_layer_idx": "yes"}, "scale_attn_by_inverse_layer_idx must be true or false"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"pruned_heads": {"0": [1]}}, r"pruned_heads is \{'0': \[1\]\}"),
        ({"auto_map": {"AutoModel": "evil--code.Model"}}, "auto_map is"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "of another kind, 'gptq'; convert from"),
        ({"quantization_config": 7}, "of another kind, 7"),
        ({"n_layer": 10**9 * 3}, "n_layer must be a positive integer below 2"),
        ({"n_layer": -1}, "n_layer must be a positive integer below 2.*, not -1"),
        ({"n_layer": True}, "not True"),
        ({"n_layer": "12"}, "not '12'"),
        ({"n_layer": 12.0}, "not 12.0"),
        ({"n_head": 7}, r"n_embd \(768\) must be a multiple of n_head \(7\)"),
        ({"n_inner": 0}, "n_inner must be a positive integer"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon must be a small positive number, not 0.0"),
        ({"layer_norm_epsilon": None}, "layer_norm_epsilon must be a small positive number, not None"),
        ({"relative_positions": -1}, "relative_positions must be a positive integer"),
        ({"relative_positions": None}, "relative_positions must be a positive integer"),
        ({"model_type": "cutaway-gpt2-relative"}, "relative_positions is missing, which a cutaway-gpt2-relative has"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false, not 1"),
    ],
)
def test_rejects_other_models_naming_key_and_value(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{reason}"):
        read(tmp_path, changes)


@pytest.mark.parametrize("key", ["vocab_size", "n_embd", "n_head", "n_layer"])
def test_sizes_are_required(tmp_path: Path, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"{key} is missing"):
        read(tmp_path, {}, without=key)


@pytest.mark.parametrize(
    ("value", "known"),
    [(None, ()), (5, (5,)), ([7, 8], (7, 8)), ([], ()), (50257, ()), ([50257, 3], (3,)), (-1, ())],
)
def test_ids_of_special_tokens_are_kept_as_written(tmp_path: Path, value: object, known: tuple[int, ...]) -> None:
    stored = read(tmp_path, {"eos_token_id": value, "pad_token_id": 3})
    assert stored.special_tokens == {"bos_token_id": 50256, "eos_token_id": value, "pad_token_id": 3}
    assert known_ids(stored.special_tokens["eos_token_id"], stored.config.n_vocab) == known


@pytest.mark.parametrize("value", ["x", 1.5, True, {"id": 3}, [1, "x"]])
def test_ids_of_special_tokens_that_are_no_ids_are_ignored(tmp_path: Path, value: object) -> None:
    assert read(tmp_path, {"eos_token_id": value}).special_tokens == {"bos_token_id": 50256}


def test_our_own_quantisation_scheme_must_match_exactly(tmp_path: Path) -> None:
    scheme: dict[str, object] = {"quant_method": "cutaway", "bits": 8, "block_size": 32}
    assert read(tmp_path, {"quantization_config": scheme}).format is FORMATS["int8"]
    with pytest.raises(CheckpointError, match=r"bits is 4; this version reads 8$"):
        read(tmp_path, {"quantization_config": scheme | {"bits": 4}})
    with pytest.raises(CheckpointError, match=r"bits is \[8\]; this version reads 8$"):
        read(tmp_path, {"quantization_config": scheme | {"bits": [8]}})
    with pytest.raises(CheckpointError, match="unknown key 'block'; did you mean block_size"):
        read(tmp_path, {"quantization_config": scheme | {"block": 32}})
    with pytest.raises(CheckpointError, match=r"block_size is missing"):
        read(tmp_path, {"quantization_config": {"quant_method": "cutaway", "bits": 8}})


@pytest.mark.parametrize("config", [*(model.config for model in PUBLISHED), GPT2Config(n_vocab=99, n_inner=5), OTHER])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_we_read_what_we_write(tmp_path: Path, config: GPT2Config, dtype: str) -> None:
    special = {"bos_token_id": None, "eos_token_id": [7, 8], "pad_token_id": 0}
    (tmp_path / "config.json").write_text(json.dumps(config_json(config, FORMATS[dtype], special)))
    assert read_config(tmp_path / "config.json") == StoredConfig(
        config, FORMATS["int8"] if dtype == "int8" else FLOAT32, special
    )


def test_the_class_of_the_tokenizer_is_kept_as_written(tmp_path: Path) -> None:
    stored = read(tmp_path, {"tokenizer_class": "BertTokenizerFast"})
    assert stored.tokenizer_class == "BertTokenizerFast"
    assert config_json(stored.config, FLOAT32, stored.special_tokens)["tokenizer_class"] == "BertTokenizerFast"
    assert read(tmp_path, {"tokenizer_class": 5}).tokenizer_class is None


def test_ids_that_are_not_written_stay_so(tmp_path: Path) -> None:
    """transformers takes null for no token, and a missing key for GPT-2's."""
    stored = read(tmp_path, {}, without="eos_token_id")
    written = config_json(stored.config, FLOAT32, stored.special_tokens)
    assert (written["bos_token_id"], "eos_token_id" in written) == (50256, False)


def test_every_setting_is_written(tmp_path: Path) -> None:
    config = GPT2Config(
        n_vocab=9,
        n_ctx=8,
        n_embd=12,
        n_head=2,
        n_layer=3,
        n_inner=7,
        layer_norm_epsilon=1e-6,
        tie_word_embeddings=False,
        activation_function="silu",
        scale_attn_weights=False,
        scale_attn_by_inverse_layer_idx=True,
        reorder_and_upcast_attn=True,
        relative_positions=5,
    )
    (tmp_path / "config.json").write_text(json.dumps(config_json(config, FLOAT32, {})))
    assert read_config(tmp_path / "config.json").config == config
    plain = GPT2Config()
    assert all(getattr(config, field.name) != getattr(plain, field.name) for field in fields(config))


@pytest.mark.parametrize(("stored", "dtype"), [("float16", "float16"), ("int8", "float32")])
def test_transformers_gets_a_dtype_that_it_knows(stored: str, dtype: str) -> None:
    assert config_json(GPT2Config(), FORMATS[stored], {})["dtype"] == dtype
