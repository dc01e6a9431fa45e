"""Naming the first tensor that is not finite."""

import torch

from cutaway.engines.pytorch.model import GPT2
from cutaway.training.finite import first_not_finite
from tests.tiny import random_ids, tiny_weights


def loaded() -> tuple[GPT2, torch.Tensor]:
    weights = tiny_weights()
    model = GPT2(weights.config)
    model.load(weights)
    return model, torch.tensor([random_ids(weights.config, 6)])


def test_a_finite_model_has_none_and_keeps_no_hooks() -> None:
    model, ids = loaded()
    assert first_not_finite(model, lambda: model(ids)) is None
    assert not any(module._forward_hooks for module in model.modules())


def test_the_first_output_is_named() -> None:
    model, ids = loaded()
    with torch.no_grad():
        model.get_parameter("h.0.attn.c_proj.weight").fill_(3e38)
    assert first_not_finite(model, lambda: model(ids)) == "the output of h.0.attn.c_proj"
