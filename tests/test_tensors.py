"""The specs of a model's tensors, and that they are computed once."""

import pytest

import cutaway.config
from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.engines.cpu.engine import CpuEngine
from cutaway.tensors import TensorSpec, gpt2_tensors
from tests.tiny import tiny_weights

UNTIED = GPT2Config(n_vocab=100, n_ctx=8, n_embd=4, n_head=1, n_layer=2, tie_word_embeddings=False)


def test_matrices_that_multiply_activations_are_quantisable() -> None:
    names = [spec.name for spec in UNTIED.tensors.values() if spec.quantisable]
    assert names[:3] == ["wte.weight", "h.0.attn.c_attn.weight", "h.0.attn.c_proj.weight"]
    assert names[-1] == "lm_head.weight"
    assert len(names) == 10


def test_linear_layers_are_stored_as_in_out() -> None:
    transposed = {spec.name.split(".", 2)[-1] for spec in UNTIED.tensors.values() if spec.transposed}
    assert transposed == {"attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"}
    specs = GPT2Config().tensors
    assert (specs["h.0.mlp.c_fc.weight"].inputs, specs["wte.weight"].inputs) == (768, 768)
    assert specs["h.0.mlp.c_proj.weight"].inputs == 3072


def test_shapes_and_parameters_follow_from_the_specs() -> None:
    assert list(UNTIED.tensor_shapes()) == list(UNTIED.tensors)
    assert UNTIED.tensor_shapes()["h.1.mlp.c_fc.weight"] == (4, 16)
    assert UNTIED.n_params == sum(spec.size for spec in UNTIED.tensors.values())


def test_relative_positions_add_a_table_to_each_block_that_stays_float32() -> None:
    config = GPT2Config(n_embd=12, n_head=3, n_layer=2, relative_positions=5)
    added = [spec for name, spec in config.tensors.items() if name not in GPT2Config(n_layer=2).tensors]
    assert added == [TensorSpec(f"h.{layer}.attn.relative.weight", (3, 5, 4), "relative") for layer in (0, 1)]
    assert not any(spec.quantisable or spec.transposed for spec in added)


@pytest.mark.parametrize("n_layer", [1, 6])
def test_loading_computes_the_specs_once_however_many_layers(n_layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(**sizes: int) -> dict[str, TensorSpec]:
        nonlocal calls
        calls += 1
        return gpt2_tensors(**sizes)  # type: ignore[arg-type]

    monkeypatch.setattr(cutaway.config, "gpt2_tensors", counted)
    arrays = tiny_weights(n_layer=n_layer).arrays
    config = GPT2Config(n_vocab=61, n_ctx=48, n_embd=24, n_head=3, n_layer=n_layer)
    calls = 0
    CpuEngine(ArrayWeights(config, arrays), "int8", threads=1)
    assert calls == 1
