"""Reading an opened checkpoint: every dtype, int8 as floats and as it is, and the tokenizer beside the weights."""

import gc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

import cutaway
from cutaway.checkpoints import Checkpoint, save_checkpoint
from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE, TASK
from cutaway.config import GPT2Config
from cutaway.errors import CheckpointError, UsageError
from cutaway.formats import FLOAT32, FORMATS, quantise
from cutaway.tasks import open_task
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.files import TokenizerFiles
from tests.tiny import tiny_weights

OPEN_FILES = Path("/proc/self/fd")
WEIGHTS = tiny_weights(n_vocab=40, n_ctx=8, n_embd=36, n_head=3, n_layer=2, tie_word_embeddings=False)


def saved(directory: Path, dtype: str) -> Checkpoint:
    save_checkpoint(directory, WEIGHTS, dtype)
    return Checkpoint(directory, "tiny")


def test_a_checkpoint_has_its_name_dtype_and_size(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, "float16")
    assert checkpoint.config == WEIGHTS.config
    assert checkpoint.dtype == "float16"
    assert (checkpoint.name, checkpoint.path) == ("tiny", tmp_path)
    assert checkpoint.n_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert checkpoint.special_tokens == {"bos_token_id": None, "eos_token_id": None}


@pytest.mark.parametrize(("dtype", "relative"), [("float32", 0), ("float16", 2**-11), ("bfloat16", 2**-8)])
def test_floats_survive_a_round_trip_within_their_precision(tmp_path: Path, dtype: str, relative: float) -> None:
    checkpoint = saved(tmp_path, dtype)
    for name, tensor in WEIGHTS.arrays.items():
        back = checkpoint.read(name)
        assert back.dtype == np.float32
        assert back.shape == tensor.shape
        assert (np.abs(back - tensor) <= relative * np.abs(tensor) + (relative > 0) * 1e-7).all()
        assert checkpoint.stored(name).format is FLOAT32


def test_stored_int8_equals_quantise(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, "int8")
    assert checkpoint.dtype == "int8"
    specs = WEIGHTS.config.tensors
    matrices = [name for name in specs if specs[name].quantisable]
    for name in matrices:
        matrix = WEIGHTS.arrays[name].T if specs[name].transposed else WEIGHTS.arrays[name]
        expected = quantise(matrix)
        read = checkpoint.stored(name)
        assert read.format is FORMATS["int8"]
        assert all(array.flags.c_contiguous for array in read.arrays.values())
        for ours, theirs in zip(read.pack(), vars(expected).values(), strict=True):
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)
        restored = expected.dequantise()
        assert np.array_equal(checkpoint.read(name), restored.T if specs[name].transposed else restored)
    for name in set(WEIGHTS.arrays) - set(matrices):
        assert checkpoint.stored(name).format is FLOAT32
        assert np.array_equal(checkpoint.read(name), WEIGHTS.arrays[name])


@pytest.mark.parametrize(
    ("part", "value", "complaint"),
    [
        ("", -128, "wte.weight holds -128"),
        (".scales", -1.0, "wte.weight.scales holds a negative number, NaN or infinity"),
        (".scales", np.inf, "wte.weight.scales holds a negative number, NaN or infinity"),
        (".input_scales", 0.0, "wte.weight.input_scales holds a number that is not positive or not finite"),
        (".input_scales", np.inf, "wte.weight.input_scales holds a number that is not positive or not finite"),
        (".input_scales", np.nan, "wte.weight.input_scales holds a number that is not positive or not finite"),
    ],
)
def test_invalid_int8_is_rejected(tmp_path: Path, part: str, value: float, complaint: str) -> None:
    saved(tmp_path, "int8")
    stored = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    stored["transformer.wte.weight" + part].reshape(-1)[3] = value
    safetensors.numpy.save_file(stored, tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path, "x")
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: {complaint}$"):
        checkpoint.read("wte.weight")


def test_reads_the_former_name_of_input_scales(tmp_path: Path) -> None:
    saved(tmp_path, "int8")
    stored = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    former = {name.replace(".input_scales", ".columns"): tensor for name, tensor in stored.items()}
    assert former.keys() != stored.keys()
    expected = Checkpoint(tmp_path, "x")
    safetensors.numpy.save_file(former, tmp_path / "model.safetensors")
    for name in WEIGHTS.config.tensors:
        assert np.array_equal(Checkpoint(tmp_path, "x").read(name), expected.read(name))


def test_reads_floats_of_several_dtypes(tmp_path: Path) -> None:
    saved(tmp_path, "float32")
    stored: dict[str, NDArray[np.generic]] = dict(safetensors.numpy.load_file(tmp_path / "model.safetensors"))
    stored["transformer.wte.weight"] = stored["transformer.wte.weight"].astype(np.float16)
    safetensors.numpy.save_file(stored, tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path, "x")
    assert checkpoint.dtype == "float32"
    assert np.array_equal(checkpoint.read("wte.weight"), stored["transformer.wte.weight"].astype(np.float32))


def test_an_unknown_name_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^h\.7\.ln_1\.bias is not a tensor of this GPT-2$"):
        saved(tmp_path, "float32").read("h.7.ln_1.bias")


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="looks at open files in Linux's /proc")
def test_files_are_closed_when_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, "float32")
    weights = tmp_path / "model.safetensors"
    assert weights in [path.resolve() for path in OPEN_FILES.iterdir()]
    del checkpoint
    gc.collect()
    assert weights not in [path.resolve() for path in OPEN_FILES.iterdir()]


def test_reads_the_tokenizer_beside_the_weights(tmp_path: Path) -> None:
    weights = tiny_weights(n_vocab=50300, n_embd=2, n_head=1, n_layer=1)
    save_checkpoint(tmp_path / "padded", weights, tokenizer=Tokenizer.gpt2())
    checkpoint = Checkpoint(tmp_path / "padded", "x")
    tokenizer = checkpoint.tokenizer()
    assert tokenizer is not None
    assert tokenizer.encode(" robot") == Tokenizer.gpt2().encode(" robot")
    assert checkpoint.special_tokens == {"bos_token_id": 50256, "eos_token_id": 50256}


def test_without_tokenizer_files_only_the_size_of_gpt2_has_a_tokenizer(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "gpt2", tiny_weights(n_vocab=50257, n_embd=2, n_head=1, n_layer=1))
    assert Checkpoint(tmp_path / "gpt2", "x").tokenizer() is Tokenizer.gpt2()
    assert saved(tmp_path / "other", "float32").tokenizer() is None


def test_a_tokenizer_may_have_more_tokens_than_the_model(tmp_path: Path) -> None:
    saved(tmp_path, "float32")
    TokenizerFiles.of(Tokenizer.gpt2().vocabulary).write(tmp_path)
    model = cutaway.load(tmp_path)
    assert model.encode("!") == [0]
    assert model.settings().eos_token_id == ()
    with pytest.raises(UsageError, match=r"^the token '␣robot' has the id 9379, but .* knows ids from 0 to 39 only$"):
        model.encode("! robot")


def test_every_published_shape_is_found_by_name(tmp_path: Path) -> None:
    config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=48)
    save_checkpoint(tmp_path, tiny_weights(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=48))
    assert Checkpoint(tmp_path, "x").config == config


def break_template(directory: Path, damage: str) -> str:
    """Make the chat template of a checkpoint unreadable, and return how an error names that."""
    path = directory / CHAT_TEMPLATE_FILE
    if damage == "a folder":
        path.mkdir()
        return "chat_template.jinja: is not a file"
    path.write_bytes(b"Caf\xe9")
    return "chat_template.jinja: not UTF-8 at byte 3"


@pytest.mark.parametrize("damage", ["Latin-1", "a folder"])
def test_a_chat_template_that_cannot_be_read_leaves_a_model_that_can(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path / "tiny", WEIGHTS, side_files={TASK: open_task("translation").toml})
    reason = break_template(tmp_path / "tiny", damage)
    model = cutaway.load(str(tmp_path / "tiny"), engine="reference")
    assert model.metadata.chat_template.error == f"{tmp_path / 'tiny'}/{reason}"
    model.save(tmp_path / "again")
    assert not (tmp_path / "again" / CHAT_TEMPLATE_FILE).exists()
    assert list(Checkpoint(tmp_path / "again", "again").side_files()) == [TASK]


def test_a_task_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, "float32")
    (tmp_path / TASK).write_bytes(b"Caf\xe9")
    with pytest.raises(CheckpointError, match="task.toml: not UTF-8 at byte 3"):
        checkpoint.metadata()
