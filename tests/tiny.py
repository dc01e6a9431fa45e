"""Small random GPT-2s, and transformers' own GPT-2 with the same weights to compare with."""

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutaway.checkpoints import ArrayWeights, Weights
from cutaway.config import ACTIVATIONS, GPT2Config
from cutaway.numerics import FloatArray
from tests.random_weights import random_weights

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

# Every mathematics that transformers' GPT-2 has a setting for, but OpenAI's.
MATHEMATICS: dict[str, dict[str, Any]] = {
    " ".join(map(str, values)): dict(
        zip(
            ("activation_function", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"),
            values,
            strict=True,
        )
    )
    for values in product(ACTIVATIONS, (True, False), (False, True), (False, True))
    if values != ("gelu_new", True, False, False)
}


def tiny_weights(seed: int = 0, **shape: Any) -> ArrayWeights:
    """A random model whose logits differ clearly between tokens, with biases and gains off their first values."""
    sizes = {"n_vocab": 61, "n_ctx": 48, "n_embd": 24, "n_head": 3, "n_layer": 2} | shape
    return random_weights(GPT2Config(**sizes), seed, std=0.25, spread=0.2)


def peer_model(weights: Weights) -> "GPT2LMHeadModel":
    """transformers' GPT-2 with these weights."""
    import torch  # here, because many a process needs a small model and no peer
    from transformers import GPT2Config as PeerConfig
    from transformers import GPT2LMHeadModel

    config = weights.config
    model = GPT2LMHeadModel(
        PeerConfig(
            vocab_size=config.n_vocab,
            n_positions=config.n_ctx,
            n_embd=config.n_embd,
            n_head=config.n_head,
            n_layer=config.n_layer,
            n_inner=config.n_inner,
            layer_norm_epsilon=config.layer_norm_epsilon,
            tie_word_embeddings=config.tie_word_embeddings,
            activation_function=config.activation_function,
            scale_attn_weights=config.scale_attn_weights,
            scale_attn_by_inverse_layer_idx=config.scale_attn_by_inverse_layer_idx,
            reorder_and_upcast_attn=config.reorder_and_upcast_attn,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights.read(name.removeprefix("transformer."))))
    return model.eval()


def peer_logits(peer: "GPT2LMHeadModel", ids: list[int]) -> FloatArray:
    """(T, V) from the peer."""
    import torch

    with torch.no_grad():
        logits: NDArray[np.float32] = peer(torch.tensor([ids])).logits[0].numpy()
    return logits


def random_ids(config: GPT2Config, length: int, seed: int = 0) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(0, config.n_vocab, length)]


def assert_logits_close(ours: FloatArray, theirs: FloatArray) -> None:
    """The project's bar for float32 engines."""
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * max(1.0, float(np.abs(theirs).max())))
