"""The PyTorch module: its weights in and out, its loss and its first weights. Logits: test_engines.py."""

import math

import numpy as np
import pytest
import torch

from cutaway.checkpoints import ArrayWeights
from cutaway.engines.pytorch.model import GPT2
from tests.tiny import peer_model, random_ids, tiny_weights


@pytest.mark.parametrize("tied", [True, False])
def test_export_gives_back_what_was_loaded(tied: bool) -> None:
    weights = tiny_weights(tie_word_embeddings=tied)
    model = GPT2(weights.config)
    model.load(weights)
    exported = ArrayWeights(weights.config, model.export())
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(exported.arrays[name], array)


def test_loss_and_gradients_equal_the_peers() -> None:
    weights = tiny_weights()
    model = GPT2(weights.config)
    peer = peer_model(weights)
    model.load(weights)
    ids = torch.tensor([random_ids(weights.config, 21, seed) for seed in (1, 2)])
    loss = model.loss(ids[:, :-1], ids[:, 1:])
    peer_loss = peer(ids, labels=ids).loss
    assert loss.item() == pytest.approx(peer_loss.item(), abs=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    peer_loss.backward()
    gradient = model.h[0].attn.c_attn.weight.grad  # type: ignore[union-attr]
    peers = peer.transformer.h[0].attn.c_attn.weight.grad
    assert isinstance(gradient, torch.Tensor)
    torch.testing.assert_close(gradient, peers.T, atol=1e-5, rtol=1e-4)


def test_first_weights_are_gpt2s() -> None:
    config = tiny_weights(n_embd=96, n_layer=8, n_vocab=500).config
    model = GPT2(config)
    model.initialise(seed=1)
    spread = {name: float(array.std()) for name, array in model.export().items()}
    assert spread["wte.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["wpe.weight"] == pytest.approx(0.01, rel=0.05)
    assert spread["h.3.mlp.c_fc.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["h.3.mlp.c_proj.weight"] == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
    assert spread["h.3.attn.c_attn.bias"] == 0
    again = GPT2(config)
    again.initialise(seed=1)
    np.testing.assert_array_equal(again.export()["wte.weight"], model.export()["wte.weight"])
