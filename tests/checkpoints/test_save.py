"""Round trips through disk, in every dtype and layout, and with transformers in both directions."""

import errno
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from cutaway.checkpoints import ArrayWeights, Checkpoint, Weights, save_checkpoint
from cutaway.checkpoints import save as save_module
from cutaway.config import GPT2Config
from cutaway.errors import CheckpointError, UsageError
from cutaway.tokenizer.fast import Tokenizer
from tests.random_weights import RandomWeights
from tests.tiny import peer_logits, peer_model, random_ids, tiny_weights

SHAPES: list[dict[str, Any]] = [
    {"n_vocab": 50257, "n_embd": 6, "n_head": 3, "n_layer": 1},
    {"n_vocab": 7, "n_ctx": 5, "n_embd": 4, "n_head": 1, "n_layer": 3, "tie_word_embeddings": False},
    {"n_vocab": 33, "n_embd": 36, "n_head": 12, "n_inner": 50},
    {"activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    {"activation_function": "silu", "scale_attn_weights": False},
]


def assert_same(ours: Weights, theirs: Weights) -> None:
    assert ours.config == theirs.config
    for name in theirs.config.tensor_shapes():
        assert np.array_equal(ours.read(name), theirs.read(name)), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_shard_bytes", [None, 3000])
def test_transformers_loads_what_we_save(tmp_path: Path, shape: dict[str, Any], max_shard_bytes: int) -> None:
    weights = tiny_weights(**shape)
    save_checkpoint(tmp_path, weights, max_shard_bytes=max_shard_bytes)
    model, report = GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    ids = random_ids(weights.config, 5)
    assert np.array_equal(peer_logits(model.eval(), ids), peer_logits(peer_model(weights), ids))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_shard_size", ["1GB", "3KB"])
def test_we_load_what_transformers_saves(tmp_path: Path, shape: dict[str, Any], max_shard_size: str) -> None:
    weights = tiny_weights(**shape)
    peer_model(weights).save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert_same(Checkpoint(tmp_path, "x"), weights)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_relative_positions_come_back_and_transformers_refuses_them(tmp_path: Path, dtype: str) -> None:
    weights = tiny_weights(relative_positions=9)
    save_checkpoint(tmp_path, weights, dtype)
    loaded = Checkpoint(tmp_path, "x")
    assert loaded.config == weights.config
    name = "h.1.attn.relative.weight"
    assert loaded.stored(name).format.name == "float32"
    rounded = weights.read(name).astype(np.float16) if dtype == "float16" else weights.read(name)
    np.testing.assert_array_equal(loaded.read(name), rounded)
    save_checkpoint(tmp_path / "again", loaded)
    assert_same(Checkpoint(tmp_path / "again", "x"), loaded)
    with pytest.raises(ValueError, match="cutaway-gpt2-relative"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(("dtype", "theirs"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_16_bit_floats_equal_transformers(tmp_path: Path, dtype: str, theirs: torch.dtype) -> None:
    weights = tiny_weights()
    save_checkpoint(tmp_path / "ours", weights, dtype)
    peer_model(weights).to(theirs).save_pretrained(tmp_path / "theirs")
    ours = Checkpoint(tmp_path / "ours", "x")
    assert ours.dtype == dtype
    assert_same(ours, Checkpoint(tmp_path / "theirs", "x"))
    assert GPT2LMHeadModel.from_pretrained(tmp_path / "ours").dtype == theirs


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("max_shard_bytes", [None, 1, 20_000])
def test_saving_a_checkpoint_again_is_bit_identical(tmp_path: Path, dtype: str, max_shard_bytes: int | None) -> None:
    save_checkpoint(tmp_path / "one", tiny_weights(), dtype)
    first = Checkpoint(tmp_path / "one", "x")
    save_checkpoint(tmp_path / "two", first, max_shard_bytes=max_shard_bytes)
    second = Checkpoint(tmp_path / "two", "x")
    assert second.dtype == dtype
    assert_same(second, first)
    if max_shard_bytes is None:
        assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    else:
        shards = [path.stat().st_size for path in (tmp_path / "two").glob("model-*")]
        assert len(shards) == (28 if max_shard_bytes == 1 else second.n_bytes // 20_000 + 1)


def test_int8_to_floats_is_what_the_engines_compute_with(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "int8", tiny_weights(), "int8")
    int8 = Checkpoint(tmp_path / "int8", "x")
    save_checkpoint(tmp_path / "float32", int8, "float32")
    assert_same(Checkpoint(tmp_path / "float32", "x"), int8)


def test_config_and_tokenizer_files(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tiny_weights(n_vocab=50257, n_embd=2, n_head=1), tokenizer=Tokenizer.gpt2())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer_config.json"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["GPT2LMHeadModel"]
    assert (config["bos_token_id"], config["eos_token_id"], config["n_inner"]) == (50256, 50256, None)


@pytest.mark.parametrize(("n_vocab", "token"), [(50257, 50256), (50256, None)])
def test_without_a_tokenizer_the_special_tokens_are_gpt2s_where_the_vocabulary_has_its_size(
    tmp_path: Path, n_vocab: int, token: int | None
) -> None:
    save_checkpoint(tmp_path / "x", tiny_weights(n_vocab=n_vocab, n_embd=4, n_head=1, n_layer=1))
    written = json.loads((tmp_path / "x" / "config.json").read_text())
    assert (written["bos_token_id"], written["eos_token_id"]) == (token, token)


def test_a_checkpoint_is_overwritten_only_on_request(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", tiny_weights(0))
    with pytest.raises(
        CheckpointError, match=r"x: holds config\.json already: choose another directory, or --overwrite"
    ):
        save_checkpoint(tmp_path / "x", tiny_weights(1))
    assert_same(Checkpoint(tmp_path / "x", "x"), tiny_weights(0))
    save_checkpoint(tmp_path / "x", tiny_weights(1), overwrite=True)
    assert_same(Checkpoint(tmp_path / "x", "x"), tiny_weights(1))


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "generation_config.json", "model.safetensors"])
def test_existing_checkpoint_files_are_overwritten_only_on_request(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match=f"holds {name} already"):
        save_checkpoint(tmp_path, tiny_weights())
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("place", ["", ".", "..", "../../up/here"])
def test_the_current_directory_and_those_above_it_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "up" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "up" / "here")
    with pytest.raises(UsageError, match="is the current directory or above it: choose a directory of its own"):
        save_checkpoint(place, tiny_weights(), overwrite=True)
    save_checkpoint("sub", tiny_weights())
    assert Path("sub").is_dir()


def test_a_checkpoint_that_another_process_wrote_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = save_module.write_checkpoint

    def write_slowly(directory: Path, *arguments: Any) -> None:
        write(directory, *arguments)
        write(tmp_path / "x", tiny_weights(1), *arguments[1:])

    (tmp_path / "x").mkdir()
    monkeypatch.setattr(save_module, "write_checkpoint", write_slowly)
    with pytest.raises(CheckpointError, match=r"x: holds config\.json already"):
        save_checkpoint(tmp_path / "x", tiny_weights(0))
    assert_same(Checkpoint(tmp_path / "x", "x"), tiny_weights(1))
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_overwriting_leaves_no_file_of_the_old_and_every_other_file(tmp_path: Path) -> None:
    target = tmp_path / "x"
    old = tiny_weights(n_vocab=50257, n_embd=2, n_head=1)
    save_checkpoint(target, old, tokenizer=Tokenizer.gpt2(), max_shard_bytes=9000)
    (target / "notes.md").write_text("mine")
    (target / "logs").mkdir()
    (target / "logs" / "a").write_text("mine too")
    save_checkpoint(target, tiny_weights(), overwrite=True)
    assert {path.name for path in target.iterdir()} == {"config.json", "model.safetensors", "notes.md", "logs"}
    assert (target / "logs" / "a").read_text() == "mine too"
    assert list(tmp_path.iterdir()) == [target]


def test_files_that_a_killed_save_left_are_replaced_too(tmp_path: Path) -> None:
    for name in ("vocab.json.part", "notes.txt.part"):
        (tmp_path / name).write_text("half")
    save_checkpoint(tmp_path, tiny_weights(), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "notes.txt.part"]


def test_files_of_other_names_stay(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    save_checkpoint(tmp_path, tiny_weights())
    assert (tmp_path / "README.md").read_text() == "mine"
    assert_same(Checkpoint(tmp_path, "x"), tiny_weights())


def test_converting_in_place(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", tiny_weights())
    save_checkpoint(tmp_path / "x", Checkpoint(tmp_path / "x", "x"), "bfloat16", overwrite=True)
    assert Checkpoint(tmp_path / "x", "x").dtype == "bfloat16"


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_one_tensor_in_memory_at_a_time(tmp_path: Path, dtype: str) -> None:
    config = GPT2Config(n_vocab=8000, n_ctx=8, n_embd=128, n_head=1, n_layer=8)  # 2.6 M parameters, of them 1 M in wte
    tracemalloc.start()
    save_checkpoint(tmp_path / "x", RandomWeights(config), dtype)
    checkpoint = Checkpoint(tmp_path / "x", "x")
    for name in config.tensor_shapes():
        checkpoint.read(name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 4 * 8000 * 128


def test_rejects_numbers_that_the_dtype_cannot_hold(tmp_path: Path) -> None:
    arrays = dict(tiny_weights().arrays)
    arrays["h.1.mlp.c_fc.weight"] = arrays["h.1.mlp.c_fc.weight"] * np.float32(1e6)
    large = ArrayWeights(tiny_weights().config, arrays)
    with pytest.raises(
        CheckpointError,
        match=r"^transformer\.h\.1\.mlp\.c_fc\.weight holds a number too large for float16; use float32",
    ):
        save_checkpoint(tmp_path / "x", large, "float16")
    arrays["h.1.mlp.c_fc.weight"] = arrays["h.1.mlp.c_fc.weight"] * np.float32(np.nan)
    for dtype, name in [("float32", "transformer.h"), ("bfloat16", "transformer.h"), ("int8", "h")]:
        with pytest.raises(CheckpointError, match=rf"^{name}\.1\.mlp\.c_fc\.weight.* NaN or infinity$"):
            save_checkpoint(tmp_path / "x", large, dtype)
    assert list(tmp_path.iterdir()) == []


def test_rejects_arguments_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^dtype must be one of float32, float16, bfloat16, int8, not 'int4'$"):
        save_checkpoint(tmp_path, tiny_weights(), "int4")
    with pytest.raises(UsageError, match=r"^max_shard_bytes must be positive, not 0$"):
        save_checkpoint(tmp_path, tiny_weights(), max_shard_bytes=0)


def test_rejects_an_unwritable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match=r"file: is not a directory$"):
        save_checkpoint(tmp_path / "file" / "sub", tiny_weights())
    with pytest.raises(CheckpointError, match=r"file: is not a directory$"):
        save_checkpoint(tmp_path / "file", tiny_weights(), overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    for name, reason in (
        (tmp_path / ("a" * 300), "File name too long"),
        ("~no-such-user/x", "Could not determine home"),
    ):
        with pytest.raises(CheckpointError, match=f"cannot be saved: {reason}"):
            save_checkpoint(name, tiny_weights())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_said_with_the_bytes_needed(tmp_path: Path, code: int) -> None:
    failure = save_module.save_failure(OSError(code, "No room"), tmp_path / "new", needed=100)
    assert re.fullmatch(r"No room \(100 bytes needed, \d+ free\)", failure)


@pytest.mark.parametrize(
    ("max_bytes", "files"),
    [(12, ["a", "b", "c", "d"]), (23, ["a", "b", "c", "d"]), (24, ["ab", "c", "d"]), (999, ["abcd"]), (None, ["abcd"])],
)
def test_files_are_as_few_as_their_size_allows(max_bytes: int | None, files: list[str]) -> None:
    parameters = {name: {name: ("F32", (size,))} for name, size in {"a": 3, "b": 3, "c": 4, "d": 3}.items()}
    assert save_module._split(parameters, max_bytes) == [list(names) for names in files]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    save_checkpoint(tmp_path / "x", tiny_weights(0))

    def refuse(*_: object) -> None:
        raise OSError(code, "No room")

    monkeypatch.setattr(save_module, "_write_json", refuse)
    reason = r"x: cannot be saved: No room" + (r" \(\d+ bytes needed, \d+ free\)$" if code == errno.ENOSPC else "$")
    with pytest.raises(CheckpointError, match=reason):
        save_checkpoint(tmp_path / "x", tiny_weights(1), overwrite=True)
    assert_same(Checkpoint(tmp_path / "x", "x"), tiny_weights(0))
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]
