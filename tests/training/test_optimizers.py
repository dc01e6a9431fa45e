"""The optimizers of a run, beside PyTorch's and beside steps written out."""

from dataclasses import replace

import pytest
import torch

from cutaway.errors import CheckpointError
from cutaway.training.config import TrainingConfig
from cutaway.training.muon import NorMuon
from cutaway.training.optimizers import VECTOR_LR, make_optimizer

CONFIG = TrainingConfig(optimizer="adamw", lr=0.01, matrix_lr=0.02, weight_decay=0.3, beta2=0.95)
SHAPES = {
    "wte.weight": (7, 4),
    "h.0.attn.relative.weight": (2, 5, 2),
    "h.0.mlp.c_fc.weight": (8, 4),
    "h.0.mlp.c_fc.bias": (8,),
    "ln_f.weight": (4,),
}


def parameters() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()}


def set_gradients(named: dict[str, torch.Tensor], step: int) -> None:
    generator = torch.Generator().manual_seed(step + 10)
    for p in named.values():
        p.grad = torch.randn(p.shape, generator=generator)


def test_adamw_decays_matrices_and_tables_only() -> None:
    ours = parameters()
    theirs = parameters()
    groups = [
        {"params": [p for p in theirs.values() if p.ndim >= 2], "weight_decay": 0.3},
        {"params": [p for p in theirs.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    expected = torch.optim.AdamW(groups, lr=0.005, betas=(0.9, 0.95), eps=1e-8)
    optimizer = make_optimizer(CONFIG, ours)
    for step in range(3):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        optimizer.step(rate=0.5, momentum=0.9)
        expected.step()
    torch.testing.assert_close(ours, theirs)


def test_muon_is_for_matrices_of_blocks_and_adamw_without_decay_for_the_rest() -> None:
    ours = parameters()
    optimizer = make_optimizer(replace(CONFIG, optimizer="muon"), ours)
    theirs = parameters()
    matrix = {"h.0.mlp.c_fc.weight": theirs["h.0.mlp.c_fc.weight"]}
    muon = NorMuon(matrix, torch.float32)
    rest = [theirs[name] for name in theirs if name not in matrix]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "lr": 0.005},
        {"params": [p for p in rest if p.ndim == 1], "lr": 0.005 * VECTOR_LR},
    ]
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
    for step in range(3):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        optimizer.step(rate=0.5, momentum=0.9)
        muon.step(0.01, 0.9, 0.3)
        adamw.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_state_continues_where_it_was(kind: str) -> None:
    config = replace(CONFIG, optimizer=kind)
    straight = parameters()
    optimizer = make_optimizer(config, straight)
    set_gradients(straight, 0)
    optimizer.step(1.0, 0.9)
    resumed: dict[str, torch.Tensor] = {name: torch.nn.Parameter(p.detach().clone()) for name, p in straight.items()}
    again = make_optimizer(config, resumed)
    again.restore({name: value.clone() for name, value in optimizer.state().items()})
    for named, each in ((straight, optimizer), (resumed, again)):
        set_gradients(named, 1)
        each.step(1.0, 0.9)
    assert {name: p.tolist() for name, p in resumed.items()} == {name: p.tolist() for name, p in straight.items()}


@pytest.mark.parametrize(
    "name", ["muon.second.h.0.mlp.c_fc.weight", "adamw.exp_avg.wte.weight", "adamw.step.ln_f.weight"]
)
def test_a_state_of_another_shape_is_refused(name: str) -> None:
    named = parameters()
    optimizer = make_optimizer(replace(CONFIG, optimizer="muon"), named)
    set_gradients(named, 0)
    optimizer.step(1.0, 0.9)
    state = {key: value.clone() for key, value in optimizer.state().items()}
    state[name] = torch.zeros(3, 3)
    with pytest.raises(CheckpointError, match=f"{name}, or it has another shape"):
        optimizer.restore(state)


@pytest.mark.parametrize(("kind", "share"), [("adamw", 0.5), ("muon", 1 / 1.01)])
def test_epsilon_is_smaller_beside_muon(kind: str, share: float) -> None:
    """A first step of AdamW goes `lr * |g| / (|g| + epsilon)` far: the gradient here is 1e-8."""
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    optimizer = make_optimizer(replace(CONFIG, optimizer=kind), {"wte.weight": weight})
    weight.grad = torch.full((2, 3), 1e-8)
    optimizer.step(1.0, 0.9)
    assert weight.detach().numpy() == pytest.approx(-0.01 * share, rel=1e-3)
