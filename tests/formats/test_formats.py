"""Each parameter's stored arrays, in memory and on the disk."""

from pathlib import Path

import pytest
import safetensors.numpy

from cutaway.checkpoints import save_checkpoint
from cutaway.checkpoints.names import stored_as
from cutaway.config import PUBLISHED, GPT2Config
from cutaway.formats import FORMATS
from tests.tiny import tiny_weights

UNTIED = {"n_vocab": 40, "n_ctx": 8, "n_embd": 36, "n_head": 3, "n_layer": 2, "tie_word_embeddings": False}


@pytest.mark.parametrize(("dtype", "code"), [("float32", "F32"), ("float16", "F16"), ("bfloat16", "BF16")])
def test_a_parameter_as_floats_is_one_tensor(dtype: str, code: str) -> None:
    kinds = stored_as(PUBLISHED[0].config, FORMATS[dtype])
    shapes = PUBLISHED[0].config.tensor_shapes()
    assert kinds == {name: {name: (code, shape)} for name, shape in shapes.items()}


def test_an_int8_matrix_is_stored_as_three_arrays() -> None:
    kinds = stored_as(GPT2Config(), FORMATS["int8"])
    assert kinds["h.3.mlp.c_proj.weight"] == {
        "h.3.mlp.c_proj.weight": ("I8", (3072, 768)),
        "h.3.mlp.c_proj.weight.scales": ("F16", (96, 768)),
        "h.3.mlp.c_proj.weight.input_scales": ("F32", (3072,)),
    }
    assert kinds["wpe.weight"] == {"wpe.weight": ("F32", (1024, 768))}
    assert sum(len(tensors) for tensors in kinds.values()) == 148 + 2 * (1 + 4 * 12)


def test_int8_on_disk(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tiny_weights(**UNTIED), "int8")
    stored = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    shapes = {name.removeprefix("transformer."): (str(tensor.dtype), tensor.shape) for name, tensor in stored.items()}
    assert shapes["wte.weight"] == ("int8", (40, 36))
    assert shapes["wte.weight.scales"] == ("float16", (40, 2))
    assert shapes["wte.weight.input_scales"] == ("float32", (36,))
    assert shapes["h.1.mlp.c_proj.weight"] == ("int8", (144, 36))
    assert shapes["h.1.mlp.c_proj.weight.scales"] == ("float16", (5, 36))
    assert shapes["h.1.mlp.c_proj.weight.input_scales"] == ("float32", (144,))
    assert shapes["wpe.weight"] == ("float32", (8, 36))
    assert "lm_head.weight.scales" in stored
