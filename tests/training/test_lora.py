import numpy as np
import pytest
import torch

from cutaway.checkpoints.adapter import TARGETS, Adapter, MergedWeights
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import UsageError
from cutaway.training.lora import LoRALinear, add_lora, lora_layers, read_lora
from tests.tiny import random_ids, tiny_weights

BASE = tiny_weights()
IDS = torch.tensor([random_ids(BASE.config, 12)])


def adapted_model(dropout: float = 0.0, targets: tuple[str, ...] = TARGETS, seed: int = 1) -> GPT2:
    model = GPT2(BASE.config)
    model.load(BASE)
    add_lora(model, r=4, alpha=8, dropout=dropout, targets=targets, seed=seed)
    return model.eval()


def train_a_little(model: GPT2) -> None:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        model.loss(IDS[:, :-1], IDS[:, 1:]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def test_before_the_first_step_the_model_is_the_base() -> None:
    base = GPT2(BASE.config)
    base.load(BASE)
    assert torch.equal(adapted_model()(IDS), base.eval()(IDS))


def test_merged_equals_unmerged() -> None:
    model = adapted_model()
    train_a_little(model)
    adapter = read_lora(model, base="base", r=4, alpha=8, dropout=0, targets=TARGETS)
    merged = GPT2(BASE.config)
    merged.load(MergedWeights(BASE, adapter))
    base = GPT2(BASE.config)
    base.load(BASE)
    with torch.no_grad():
        unmerged = model(IDS)
        assert float((unmerged - merged.eval()(IDS)).abs().max()) < 1e-5
        assert float((unmerged - base.eval()(IDS)).abs().max()) > 0.01


def test_an_adapter_that_was_read_does_not_change_with_the_model() -> None:
    model = adapted_model()
    adapter = read_lora(model, base="base", r=4, alpha=8, dropout=0.1, targets=TARGETS)
    assert adapter == Adapter("base", 4, 8, TARGETS, adapter.pairs, 0.1)
    train_a_little(model)
    assert not any(pair.b.any() for pair in adapter.pairs.values())


def test_every_target_of_every_block_is_adapted_and_nothing_else_is_trained() -> None:
    model = adapted_model()
    assert len(list(lora_layers(model))) == 4 * BASE.config.n_layer
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"h.{layer}.{target}.lora_{s}" for layer in range(2) for target in TARGETS for s in "AB"}
    before = model.export()
    train_a_little(model)
    after = model.export()
    assert before.keys() == set(BASE.config.tensors)
    for name, tensor in before.items():
        np.testing.assert_array_equal(after[name], tensor)


def test_targets_are_named_as_in_peft() -> None:
    names = [name for name, _ in lora_layers(adapted_model(targets=("c_proj",)))]
    assert names == ["h.0.attn.c_proj", "h.0.mlp.c_proj", "h.1.attn.c_proj", "h.1.mlp.c_proj"]
    with pytest.raises(UsageError, match="did you mean"):
        adapted_model(targets=("query",))


def test_first_values_depend_on_the_seed_and_the_name_alone() -> None:
    one, other = (dict(lora_layers(adapted_model(targets=targets))) for targets in (("c_fc",), TARGETS))
    assert torch.equal(one["h.1.mlp.c_fc"].lora_A, other["h.1.mlp.c_fc"].lora_A)
    assert not torch.equal(other["h.0.mlp.c_fc"].lora_A, other["h.1.mlp.c_fc"].lora_A)
    seeded = dict(lora_layers(adapted_model(seed=2)))
    assert not torch.equal(seeded["h.1.mlp.c_fc"].lora_A, other["h.1.mlp.c_fc"].lora_A)


def test_first_values_have_the_range_of_pefts() -> None:
    """PEFT draws A by `kaiming_uniform_(a=sqrt(5))`: uniform between -1 and 1 over the root of the inputs."""
    for _, layer in lora_layers(adapted_model()):
        bound = layer.in_features**-0.5
        assert 0.9 * bound < float(layer.lora_A.detach().abs().max()) <= bound
        assert float(layer.lora_A.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.2)


def test_dropout_acts_in_training_only() -> None:
    layer = next(layer for _, layer in lora_layers(adapted_model(dropout=0.5)))
    assert isinstance(layer, LoRALinear)
    torch.nn.init.ones_(layer.lora_B)
    x = torch.ones(1, 24)
    with torch.no_grad():
        assert torch.equal(layer(x), layer(x))
        layer.train()
        assert not torch.equal(layer(x), layer(x))


@torch.no_grad()
def test_factors_in_float32_are_multiplied_in_the_dtype_of_the_activations() -> None:
    layer = next(layer for _, layer in lora_layers(adapted_model()))
    torch.nn.init.ones_(layer.lora_B)
    x = torch.ones(1, 24)
    out = layer(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x), rtol=0.02, atol=0.02)
