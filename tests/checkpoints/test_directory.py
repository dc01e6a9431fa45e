"""Finding a model's tensors in foreign directories: shards, prefixes, stored masks and heads, and what is refused."""

import gc
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

import cutaway
from cutaway.checkpoints import Checkpoint, save_checkpoint
from cutaway.errors import CheckpointError
from tests.tiny import tiny_weights

Tensors = dict[str, NDArray[np.generic]]

WEIGHTS = tiny_weights(n_vocab=5, n_ctx=3, n_embd=4, n_head=2, n_layer=2)
UNTIED = tiny_weights(n_vocab=5, n_ctx=3, n_embd=4, n_head=2, n_layer=2, tie_word_embeddings=False)


def tensors() -> Tensors:
    return dict(WEIGHTS.arrays)


def directory_of(directory: Path, stored: Mapping[str, NDArray[np.generic]]) -> Path:
    """A checkpoint whose weights are exactly these tensors."""
    save_checkpoint(directory, WEIGHTS, overwrite=True)
    safetensors.numpy.save_file(dict(stored), directory / "model.safetensors")
    return directory


def assert_equal(checkpoint: Checkpoint, weights: Mapping[str, NDArray[np.generic]]) -> None:
    for name in checkpoint.config.tensor_shapes():
        assert np.array_equal(checkpoint.read(name), weights[name]), name


def refuse(directory: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as error:
        Checkpoint(directory, "x")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_names_with_and_without_prefix(tmp_path: Path, prefix: str) -> None:
    stored = {prefix + name: tensor for name, tensor in tensors().items()}
    assert_equal(Checkpoint(directory_of(tmp_path, stored), "x"), WEIGHTS.arrays)


def test_the_masks_of_the_published_files_are_skipped(tmp_path: Path) -> None:
    mask = np.tril(np.ones((1, 1, 3, 3), np.float32))
    masks: Tensors = {f"h.{layer}.attn.bias": mask for layer in range(2)}
    masks |= {f"h.{layer}.attn.masked_bias": np.full((), -1e4, np.float32) for layer in range(2)}
    assert_equal(Checkpoint(directory_of(tmp_path, tensors() | masks), "x"), WEIGHTS.arrays)
    masks = {f"transformer.{name}": tensor.astype(np.uint8) for name, tensor in masks.items()}
    prefixed = {f"transformer.{name}": tensor for name, tensor in tensors().items()}
    assert_equal(Checkpoint(directory_of(tmp_path, prefixed | masks), "x"), WEIGHTS.arrays)


def test_a_stored_tied_head_must_equal_the_embedding(tmp_path: Path) -> None:
    head = WEIGHTS.arrays["wte.weight"].copy()
    checkpoint = Checkpoint(directory_of(tmp_path, tensors() | {"lm_head.weight": head}), "x")
    assert "lm_head.weight" not in checkpoint.config.tensor_shapes()
    head[4, 3] += 1
    refuse(
        directory_of(tmp_path, tensors() | {"lm_head.weight": head}),
        "lm_head.weight differs from wte.weight, but config.json says tie_word_embeddings$",
    )
    refuse(
        directory_of(tmp_path, tensors() | {"lm_head.weight": head[:4]}),
        r"lm_head.weight has the shape \(4, 4\), but config.json asks for \(5, 4\)$",
    )


def test_an_untied_head(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, UNTIED)
    assert_equal(Checkpoint(tmp_path, "x"), UNTIED.arrays)
    safetensors.numpy.save_file(tensors(), tmp_path / "model.safetensors")
    refuse(tmp_path, r"model\.safetensors: lm_head\.weight is missing$")


def test_unknown_tensors_are_reported_with_the_nearest_known_name(tmp_path: Path) -> None:
    stored = tensors()
    stored["h.0.attn.c_atn.weight"] = stored.pop("h.0.attn.c_attn.weight")
    refuse(
        directory_of(tmp_path, stored),
        r"model\.safetensors: h\.0\.attn\.c_atn\.weight is not a tensor .* did you mean h\.0\.attn\.c_attn\.weight\?$",
    )
    refuse(
        directory_of(tmp_path, tensors() | {"h.2.ln_1.bias": np.zeros(4, np.float32)}), "h.2.ln_1.bias is not a tensor"
    )
    refuse(directory_of(tmp_path, tensors() | {"x\n" * 500: np.zeros(4)}), r"'x\\nx\\n.*\.\.\..*' is not a tensor")


def test_rejects_missing_duplicate_misshapen_and_non_float_tensors(tmp_path: Path) -> None:
    stored = tensors()
    bias = stored.pop("h.1.ln_2.bias")
    refuse(directory_of(tmp_path, stored), r"model\.safetensors: h\.1\.ln_2\.bias is missing$")
    refuse(directory_of(tmp_path, tensors() | {"transformer.h.1.ln_2.bias": bias}), "h.1.ln_2.bias is stored twice")
    stored["h.1.ln_2.bias"] = np.zeros((4, 1), np.float32)
    refuse(directory_of(tmp_path, stored), r"h.1.ln_2.bias has the shape \(4, 1\), but config.json asks for \(4,\)$")
    stored["h.1.ln_2.bias"] = bias.astype(np.float64)
    refuse(directory_of(tmp_path, stored), "h.1.ln_2.bias is stored as F64, and not as F32 or F16 or BF16$")


def test_a_hostile_number_of_layers_allocates_no_names(tmp_path: Path) -> None:
    directory_of(tmp_path, tensors())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_layer": 2**31 - 1}))
    refuse(tmp_path, r"config\.json: n_layer is 2147483647, but the files hold only 28 tensors$")


@pytest.mark.parametrize(("max_shard_bytes", "stay_open"), [(1200, True), (100, False)])
def test_of_many_shards_none_stays_open(tmp_path: Path, max_shard_bytes: int, stay_open: bool) -> None:
    save_checkpoint(tmp_path, WEIGHTS, max_shard_bytes=max_shard_bytes)
    shards = len(list(tmp_path.glob("model-*.safetensors")))
    gc.collect()  # what other tests left open would be closed at any moment
    before = len(list(Path("/dev/fd").iterdir()))
    checkpoint = Checkpoint(tmp_path, "x")
    assert len(list(Path("/dev/fd").iterdir())) - before == shards * stay_open
    assert (shards <= 8) == stay_open
    assert_equal(checkpoint, WEIGHTS.arrays)


@pytest.mark.parametrize(
    ("shard", "reason"),
    [
        ("../model.safetensors", "must be in a .safetensors file of this directory, not in '../model.safetensors'"),
        ("/etc/passwd", "not in '/etc/passwd'"),
        ("a/b.safetensors", "not in 'a/b.safetensors'"),
        ("a\\b.safetensors", "not in"),
        ("..safetensors", "not in '..safetensors'"),
        ("model.safetensors\0", "not in"),
        ("pytorch_model-00001-of-00002.bin", "not in 'pytorch_model-00001-of-00002.bin'"),
        ("https://example.org/x.safetensors", "not in"),
        (7, "not in 7"),
        (None, "not in None"),
        ("model-00009-of-00002.safetensors", "cannot be read: No such file"),
    ],
)
def test_an_index_may_name_only_files_of_its_directory(tmp_path: Path, shard: object, reason: str) -> None:
    save_checkpoint(tmp_path, WEIGHTS, max_shard_bytes=1200)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["transformer.wte.weight"] = shard
    path.write_text(json.dumps(index))
    refuse(tmp_path, reason)


def test_an_index_says_which_files_there_are_and_the_files_what_they_hold(tmp_path: Path) -> None:
    """As for transformers: a tied head that no file stores, a tensor that is not listed, one that is elsewhere."""
    save_checkpoint(tmp_path, WEIGHTS, max_shard_bytes=1200)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    listed = dict(index["weight_map"])
    file = listed.pop("transformer.wpe.weight")
    other = next(name for name in listed.values() if name != file)
    for changed in (
        listed,
        listed | {"transformer.wpe.weight": file, "lm_head.weight": file},
        listed | {"transformer.wpe.weight": other},
        listed | {"transformer.wpe.weight": file, "more": file},
    ):
        path.write_text(json.dumps(index | {"weight_map": changed}))
        assert Checkpoint(tmp_path, "x").read("wpe.weight").shape == WEIGHTS.config.tensors["wpe.weight"].shape
    only_one = {name: shard for name, shard in index["weight_map"].items() if shard != file}
    path.write_text(json.dumps(index | {"weight_map": only_one}))
    refuse(tmp_path, r"wpe\.weight is missing$|is missing$")
    nothing: tuple[object, ...] = ({}, [], None)
    for empty in nothing:
        path.write_text(json.dumps({"weight_map": empty}))
        refuse(tmp_path, "weight_map must say which file each tensor is in")


def test_a_single_file_takes_precedence_over_an_index(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, WEIGHTS, max_shard_bytes=1200)
    safetensors.numpy.save_file(tensors(), tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text("not read")
    assert_equal(Checkpoint(tmp_path, "x"), WEIGHTS.arrays)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, WEIGHTS)
    (tmp_path / "model.safetensors").unlink()
    refuse(tmp_path, r"holds no model\.safetensors$")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
    refuse(tmp_path, r"pytorch_model\.bin: is a pickle, which can run code, and is never loaded; `cutaway convert")
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "model.safetensors")
    refuse(tmp_path, r"model\.safetensors: is cut short or not safetensors")


@pytest.mark.parametrize(
    "extra",
    [
        "v_head.summary.weight",
        "multiple_choice_head.summary.bias",
        "score.weight",
        "classifier.weight",
        "summary.0.bias",
    ],
)
def test_heads_beside_the_language_model_are_left_out_and_named(tmp_path: Path, extra: str) -> None:
    directory = directory_of(tmp_path, tensors() | {extra: np.zeros((2, 4), np.float32)})
    checkpoint = Checkpoint(directory, "x")
    assert checkpoint.left_out == (extra,)
    with pytest.warns(RuntimeWarning, match=f"{extra} left out: only the language model is read$"):
        model = cutaway.load(directory, engine="reference")
    assert model.logits([1, 2]).shape == (2, WEIGHTS.config.n_vocab)
    model.save(tmp_path / "saved")
    assert Checkpoint(tmp_path / "saved", "x").left_out == ()


@pytest.mark.parametrize("extra", ["lm_head.bias", "h.0.crossattention.c_attn.weight", "transformer.x.weight", "wtf"])
def test_unknown_tensors_of_the_language_model_are_rejected(tmp_path: Path, extra: str) -> None:
    refuse(directory_of(tmp_path, tensors() | {extra: np.zeros(4, np.float32)}), "is not a tensor of the GPT-2")
