"""Checkpoints of nanoGPT, minGPT and transformers: written as they write them, then compared with transformers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cutaway
from cutaway.checkpoints import ArrayWeights, open_checkpoint
from cutaway.checkpoints.config_json import config_json
from cutaway.checkpoints.foreign import ForeignWeights, Overrides, foreign_weights
from cutaway.checkpoints.safetensors import TensorFile, write_tensors
from cutaway.config import GPT2Config
from cutaway.errors import CheckpointError, UsageError
from cutaway.formats import FLOAT32
from cutaway.numerics import FloatArray
from tests.cli.invoke import invoke
from tests.tiny import assert_logits_close, peer_logits, peer_model, random_ids, tiny_weights

MODEL_ARGS = {"n_layer": 2, "n_head": 3, "n_embd": 24, "block_size": 48, "bias": True, "vocab_size": 61, "dropout": 0.0}


def linear_state(weights: ArrayWeights, prefix: str = "transformer.", *, masks: bool = False) -> dict[str, FloatArray]:
    """The tensors as nanoGPT and minGPT have them: linear layers (out, in), a head, and masks if asked for."""
    config = weights.config
    state = {}
    for name, spec in config.tensors.items():
        array = weights.read(name)
        state[name if name == "lm_head.weight" else f"transformer.{name}"] = (
            array.T.copy() if spec.transposed else array
        )
    state.setdefault("lm_head.weight", state["transformer.wte.weight"])
    if masks:
        mask = np.tril(np.ones((1, 1, config.n_ctx, config.n_ctx), np.float32))
        state |= {f"transformer.h.{layer}.attn.bias": mask for layer in range(config.n_layer)}
    return {prefix.removesuffix("transformer.") + name: array for name, array in state.items()}


def as_torch(state: dict[str, FloatArray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in state.items()}


def without_biases(weights: ArrayWeights) -> ArrayWeights:
    zeros = {name: array * (weights.config.tensors[name].kind != "bias") for name, array in weights.arrays.items()}
    return ArrayWeights(weights.config, zeros)


def found(
    tmp_path: Path, state: dict[str, FloatArray], settings: dict[str, int] | None = None, **more: Any
) -> ForeignWeights:
    """Read a state through a file, without the process that unpickles."""
    path = tmp_path / "tensors"
    write_tensors(path, {name: ("F32", array.shape) for name, array in state.items()}, state.items())
    settings = {"n_head": 3} if settings is None else settings
    return foreign_weights(Path("ckpt.pt"), TensorFile(path), settings, **more)


def assert_equals_transformers(directory: Path, weights: ArrayWeights) -> None:
    ids = random_ids(weights.config, 20)
    model = cutaway.load(directory, engine="reference")
    assert_logits_close(model.logits(ids), peer_logits(peer_model(weights), ids))


@pytest.mark.slow
def test_a_checkpoint_of_nanogpt(tmp_path: Path) -> None:
    weights = tiny_weights(activation_function="gelu")
    state = as_torch(linear_state(weights, "_orig_mod.transformer.", masks=True))
    optimizer = {"state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 6e-4}]}
    checkpoint = {
        "model": state,
        "optimizer": optimizer,
        "model_args": MODEL_ARGS,
        "iter_num": 5,
        "config": {"out_dir": "out"},
    }
    torch.save(checkpoint | {"best_val_loss": torch.tensor(3.0)}, tmp_path / "ckpt.pt")
    result = invoke("convert", str(tmp_path / "ckpt.pt"), str(tmp_path / "out"), "--allow-pickle")
    assert result.code == 0
    assert result.err.splitlines() == [
        "cutaway: dropped 2 attention masks, h.0.attn.bias the first of them",
        "cutaway: nanoGPT computes GELU exactly, unlike GPT-2: activation_function is gelu",
    ]
    assert open_checkpoint(tmp_path / "out").config == weights.config
    assert_equals_transformers(tmp_path / "out", weights)


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_a_state_dict_of_mingpt(tmp_path: Path) -> None:
    weights = tiny_weights(tie_word_embeddings=False)
    torch.save(as_torch(linear_state(weights)), tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    arguments = ("convert", str(tmp_path / "model.pt"), str(tmp_path / "out"), "--allow-pickle")
    assert "does not tell its number of heads: state it as --n-head" in invoke(*arguments).error
    document = invoke(*arguments, "--n-head", "3", "--dtype", "float32", "--json").document
    assert "notes" not in document
    assert not open_checkpoint(tmp_path / "out").config.tie_word_embeddings
    assert_equals_transformers(tmp_path / "out", weights)


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_a_directory_of_transformers_with_a_pickle(tmp_path: Path) -> None:
    weights = tiny_weights()
    peer = peer_model(weights)
    peer.config.save_pretrained(tmp_path)
    torch.save({name: value.half() for name, value in peer.state_dict().items()}, tmp_path / "pytorch_model.bin")
    result = invoke("convert", str(tmp_path), str(tmp_path / "out"), "--allow-pickle")
    assert (result.code, result.err) == (0, "")
    written = open_checkpoint(tmp_path / "out")
    assert (written.config, written.dtype) == (weights.config, "float16")
    np.testing.assert_allclose(written.read("h.1.mlp.c_fc.weight"), weights.read("h.1.mlp.c_fc.weight"), atol=1e-3)


def test_the_padding_of_a_vocabulary_is_cut_on_request_only(tmp_path: Path) -> None:
    weights = tiny_weights()
    state = linear_state(weights)
    kept = found(tmp_path, state)
    assert kept.config.n_vocab == 61
    (tmp_path / "tensors").unlink()
    cut = found(tmp_path, state, overrides=Overrides(n_vocab=60))
    assert cut.config.n_vocab == 60
    np.testing.assert_array_equal(cut.read("wte.weight"), weights.read("wte.weight")[:60])
    (tmp_path / "tensors").unlink()
    with pytest.raises(UsageError, match="n_vocab must be from 1 to the 61 tokens that are there, not 62"):
        found(tmp_path, state, overrides=Overrides(n_vocab=62))


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_padded_vocabulary_comes_with_the_way_to_gpt2s_tokenizer(tmp_path: Path) -> None:
    weights = tiny_weights(n_vocab=50304, n_embd=4, n_head=1, n_layer=1)
    torch.save(as_torch(linear_state(weights)), tmp_path / "model.pt")
    convert = ("convert", str(tmp_path / "model.pt"), "--allow-pickle", "--n-head", "1")
    assert (
        "; --n-vocab 50257 drops the padding, and GPT-2's tokenizer then fits"
        in invoke(*convert, str(tmp_path / "out")).err
    )
    assert open_checkpoint(tmp_path / "out").tokenizer() is None
    invoke(*convert, str(tmp_path / "cut"), "--n-vocab", "50257")
    assert open_checkpoint(tmp_path / "cut").tokenizer() is not None


def test_a_model_without_biases_has_zeros(tmp_path: Path) -> None:
    weights = without_biases(tiny_weights())
    state = {name: array for name, array in linear_state(weights).items() if not name.endswith(".bias")}
    read = found(tmp_path, state)
    for name in weights.config.tensors:
        np.testing.assert_array_equal(read.read(name), weights.read(name))


def test_float16_stays_float16(tmp_path: Path) -> None:
    state = linear_state(tiny_weights())
    write_tensors(tmp_path / "t", {name: ("F16", array.shape) for name, array in state.items()}, state.items())
    assert foreign_weights(Path("x.pt"), TensorFile(tmp_path / "t"), {"n_head": 3}).dtype == "float16"


def rename(state: dict[str, FloatArray], old: str, new: str) -> dict[str, FloatArray]:
    return {new if name == old else name: array for name, array in state.items()}


STATE = linear_state(tiny_weights())
C_FC = "transformer.h.1.mlp.c_fc.weight"


@pytest.mark.parametrize(
    ("state", "settings", "message"),
    [
        (
            {"a.weight": np.ones((2, 2), np.float32)},
            {},
            "is not a GPT-2 of nanoGPT, minGPT or transformers: no wte.weight",
        ),
        (
            rename(STATE, C_FC, "transformer.h.1.mlp.c_fx.weight"),
            {},
            "h.1.mlp.c_fx.weight is not a tensor of a GPT-2; did you",
        ),
        ({n: a for n, a in STATE.items() if n != C_FC}, {}, "h.1.mlp.c_fc.weight is missing"),
        ({n: a for n, a in STATE.items() if n != "transformer.ln_f.bias"}, {}, "ln_f.bias is missing"),
        (
            STATE | {C_FC: np.ones((96, 25), np.float32)},
            {},
            r"h.1.mlp.c_fc.weight has the shape \(96, 25\), where \(96, 24\)",
        ),
        (
            STATE | {"lm_head.weight": np.ones((60, 24), np.float32)},
            {},
            r"lm_head.weight has the shape \(60, 24\), unlike wte",
        ),
        (STATE | {"wte.weight": STATE["transformer.wte.weight"]}, {}, "wte.weight is there twice, under two prefixes"),
        (
            STATE | {"transformer.wpe.weight": np.ones(4, np.float32)},
            {},
            r"wpe.weight has the shape \(4,\), but must be a matrix",
        ),
        (STATE, {"n_layer": 3}, "model_args says n_layer is 3, but the tensors have 2"),
        (STATE, {"block_size": 1024}, "model_args says n_ctx is 1024, but the tensors have 48"),
        (STATE, {"n_head": 5}, r"n_embd \(24\) must be a multiple of n_head \(5\)"),
    ],
)
def test_what_is_not_a_gpt2_is_one_line(
    tmp_path: Path, state: dict[str, FloatArray], settings: dict[str, int], message: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"^ckpt.pt: {message}"):
        found(tmp_path, state, {"n_head": 3} | settings)


def test_a_config_beside_the_tensors_must_agree(tmp_path: Path) -> None:
    stated = GPT2Config(n_vocab=61, n_ctx=48, n_embd=24, n_head=3, n_layer=4)
    with pytest.raises(CheckpointError, match=r"config.json says n_layer is 4, but the tensors have 2"):
        found(tmp_path, STATE, {}, stated=stated)


@pytest.mark.parametrize("n_inner", [12, 24, 50, 72])
def test_an_mlp_of_another_width(tmp_path: Path, n_inner: int) -> None:
    weights = tiny_weights(n_inner=n_inner)
    read = found(tmp_path, linear_state(weights))
    assert read.config.n_inner == n_inner
    for name in weights.config.tensors:
        np.testing.assert_array_equal(read.read(name), weights.read(name))


@pytest.mark.parametrize("settings", [{}, {"n_head": 3}])
def test_a_config_beside_the_tensors_says_what_is_computed(tmp_path: Path, settings: dict[str, int]) -> None:
    stated = tiny_weights(activation_function="silu", scale_attn_weights=False, layer_norm_epsilon=1e-3).config
    assert found(tmp_path, STATE, settings, stated=stated).config == stated


def test_all_who_state_the_heads_must_agree(tmp_path: Path) -> None:
    stated = GPT2Config(n_vocab=61, n_ctx=48, n_embd=24, n_head=3, n_layer=2)
    with pytest.raises(CheckpointError, match=r"^ckpt.pt: config.json says n_head is 3, but model_args says 4$"):
        found(tmp_path, STATE, {"n_head": 4}, stated=stated)
    (tmp_path / "tensors").unlink()
    with pytest.raises(CheckpointError, match=r"^ckpt.pt: model_args says n_head is 3, but --n-head says 2$"):
        found(tmp_path, STATE, {"n_head": 3}, overrides=Overrides(n_head=2))
    (tmp_path / "tensors").unlink()
    assert found(tmp_path, STATE, {"n_head": 3}, stated=stated, overrides=Overrides(n_head=3)).config.n_head == 3


@pytest.mark.parametrize("n_head", [0, -1])
def test_a_number_of_heads_is_never_ignored(tmp_path: Path, n_head: int) -> None:
    with pytest.raises(UsageError, match=f"^n_head must be a positive integer, not {n_head}$"):
        found(tmp_path, STATE, {"n_head": 3}, overrides=Overrides(n_head=n_head))


def test_a_head_of_its_own_must_not_be_denied_by_the_config(tmp_path: Path) -> None:
    stated = GPT2Config(n_vocab=61, n_ctx=48, n_embd=24, n_head=3, n_layer=2)
    state = STATE | {"lm_head.weight": STATE["transformer.wte.weight"] * np.float32(2)}
    with pytest.raises(
        CheckpointError, match=r"^ckpt.pt: lm_head.weight differs from wte.weight, but config.json says tie_word_emb"
    ):
        found(tmp_path, state, {}, stated=stated)
    (tmp_path / "tensors").unlink()
    assert not found(tmp_path, state, {}, stated=replace(stated, tie_word_embeddings=False)).config.tie_word_embeddings


def test_other_heads_are_left_out_and_named(tmp_path: Path) -> None:
    read = found(tmp_path, STATE | {"module.v_head.summary.weight": np.ones((1, 24), np.float32)})
    assert read.left_out == ("v_head.summary.weight",)
    assert set(read.names) == set(read.config.tensors)
    (tmp_path / "tensors").unlink()
    with pytest.raises(CheckpointError, match=r"^ckpt.pt: v_head.weight is not a tensor of a GPT-2"):
        found(tmp_path, STATE | {"transformer.v_head.weight": np.ones((1, 24), np.float32)})


def test_tensors_that_hold_no_floats_are_masks_or_named(tmp_path: Path) -> None:
    read = found(tmp_path, STATE, skipped=["transformer.h.1.attn.bias", "transformer.position_ids"])
    assert read.dropped == ("h.1.attn.bias",)
    (tmp_path / "tensors").unlink()
    with pytest.raises(CheckpointError, match=r"^ckpt.pt: h.1.mlp.c_fc.weight does not hold floats of 16, 32 or 64"):
        found(tmp_path, {n: a for n, a in STATE.items() if n != C_FC}, skipped=[C_FC])


BESIDE = {
    "generation_config.json": '{\n  "temperature": 0.5\n}\n',
    "chat_template.jinja": "{{ messages }}",
    "task.toml": 'name = "x"\n',
    "vocab.txt": "[PAD]\n[UNK]\nrobot\n",
}


@pytest.mark.usefixtures("forked")
def test_what_is_beside_a_pickle_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    peer = peer_model(tiny_weights())
    peer.config.tokenizer_class = "BertTokenizerFast"
    peer.config.save_pretrained(source)
    state = peer.state_dict() | {
        "transformer.h.0.attn.bias": torch.ones(1, 1, 48, 48, dtype=torch.bool),
        "v_head.summary.weight": torch.ones(1, 24),
    }
    torch.save(state, source / "pytorch_model.bin")
    for name, text in BESIDE.items():
        (source / name).write_text(text)
    (source / "other.safetensors").touch()  # which does not hide transformers' pickle
    result = invoke("convert", str(source), str(tmp_path / "out"), "--allow-pickle")
    assert result.code == 0
    assert f"{source / 'pytorch_model.bin'}: v_head.summary.weight left out: only the language model" in result.err
    assert "dropped 1 attention masks, h.0.attn.bias the first of them" in result.err
    assert {name: (tmp_path / "out" / name).read_text() for name in BESIDE} == BESIDE
    assert open_checkpoint(tmp_path / "out").tokenizer_class == "BertTokenizerFast"


@pytest.mark.usefixtures("forked")
def test_a_config_and_a_template_beside_a_pickle_of_nanogpt(tmp_path: Path) -> None:
    """The activation is that of the config, and the template cannot be read."""
    config = config_json(tiny_weights().config, FLOAT32, {})
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "chat_template.jinja").write_bytes(b"Caf\xe9")
    torch.save({"model": as_torch(STATE), "model_args": MODEL_ARGS}, tmp_path / "ckpt.pt")
    result = invoke("convert", str(tmp_path / "ckpt.pt"), str(tmp_path / "out"), "--allow-pickle")
    assert (result.code, result.err.count("\n")) == (0, 1)
    assert "chat_template.jinja: not UTF-8 at byte 3; it is left out" in result.err
    assert open_checkpoint(tmp_path / "out").config.activation_function == "gelu_new"


@pytest.mark.usefixtures("forked")
def test_precision_size_and_overwriting_are_chosen_for_a_pickle_too(tmp_path: Path) -> None:
    torch.save(as_torch(STATE), tmp_path / "model.pt")
    convert = ("convert", str(tmp_path / "model.pt"), str(tmp_path / "out"), "--allow-pickle", "--n-head", "3")
    document = invoke(*convert, "--dtype", "float16", "--max-shard-size", "10KB", "--json").document
    assert document["dtype"] == "float16"
    assert len(open_checkpoint(tmp_path / "out").files) > 1
    refused = invoke(*convert)
    assert (refused.code, "holds config.json already" in refused.error) == (3, True)
    assert invoke(*convert, "--overwrite", "--json").document["files"] == ["model.safetensors"]


@pytest.mark.usefixtures("forked")
def test_gpt2s_own_tokenizer_is_never_taken_for_that_of_a_pickle(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    peer = peer_model(tiny_weights(n_vocab=50257, n_embd=4, n_head=1, n_layer=1))
    peer.config.tokenizer_class = "T5Tokenizer"
    peer.config.save_pretrained(source)
    torch.save(peer.state_dict(), source / "pytorch_model.bin")
    assert invoke("convert", str(source), str(tmp_path / "out"), "--allow-pickle").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.usefixtures("forked")
def test_the_home_directory_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(as_torch(STATE), tmp_path / "model.pt")
    convert = ("convert", "--allow-pickle", "--n-head", "3")
    assert invoke(*convert, "~/model.pt", "~/file").code == 0
    assert invoke(*convert, "~", "~/directory").code == 0


def test_flags_for_pickles_are_refused_elsewhere(tmp_path: Path) -> None:
    result = invoke("convert", "builtin", str(tmp_path / "out"), "--n-vocab", "5")
    assert (result.code, "--n-head and --n-vocab are for pickles" in result.error) == (2, True)
