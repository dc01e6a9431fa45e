"""The training pass computes GPT-2: equal to the module that the PyTorch engine runs."""

import pytest
import torch
from torch.nn import functional as F

from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.engines.pytorch.model import GPT2
from cutaway.training.forward import QUERIES, Forward, attention, initial_parameters

CONFIG = GPT2Config(n_vocab=90, n_ctx=150, n_embd=24, n_head=3, n_layer=2)


def test_hidden_states_equal_the_modules() -> None:
    parameters = initial_parameters(CONFIG, 1)
    parameters = {name: value + 0.1 * torch.randn(value.shape) for name, value in parameters.items()}
    module = GPT2(CONFIG)
    module.load(ArrayWeights(CONFIG, {name: value.numpy() for name, value in parameters.items()}))
    ids = torch.randint(0, 90, (2, 140))
    ours = Forward(CONFIG, parameters, torch.float32, compiled=False).hidden(ids)
    torch.testing.assert_close(ours, module.hidden(ids).flatten(0, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_tokens", [1, QUERIES - 1, QUERIES, QUERIES + 1, 3 * QUERIES])
def test_attention_equals_pytorchs_with_its_gradients(n_tokens: int) -> None:
    generator = torch.Generator().manual_seed(n_tokens)
    q, k, v = (torch.randn(2, 3, n_tokens, 8, generator=generator).requires_grad_() for _ in range(3))
    ours = attention(q, k, v)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn(ours.shape, generator=generator)
    grads = torch.autograd.grad((ours * weight).sum(), (q, k, v))
    torch.testing.assert_close(grads, torch.autograd.grad((expected * weight).sum(), (q, k, v)))


def test_initial_parameters_are_gpt2s() -> None:
    config = GPT2Config(n_vocab=2000, n_ctx=300, n_embd=64, n_head=2, n_layer=8)
    parameters = initial_parameters(config, 0)
    assert {name: tuple(p.shape) for name, p in parameters.items()} == config.tensor_shapes()
    spread = {name: float(p.std(correction=0)) for name, p in parameters.items()}
    assert spread["wte.weight"] == pytest.approx(0.02, rel=0.02)
    assert spread["wpe.weight"] == pytest.approx(0.01, rel=0.02)
    assert spread["h.3.attn.c_attn.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["h.3.mlp.c_proj.weight"] == pytest.approx(0.005, rel=0.05)
    assert parameters["ln_f.weight"].eq(1).all()
    assert parameters["h.0.mlp.c_fc.bias"].eq(0).all()
