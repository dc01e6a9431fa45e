"""The optimizer of a run: AdamW for all parameters, or NorMuon for matrices of the blocks and AdamW for the rest."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from cutaway.errors import CheckpointError
from cutaway.training.config import TrainingConfig
from cutaway.training.muon import NorMuon
from cutaway.training.sharding import part_like

# With Muon, whose updates are large, gains and biases need a higher learning rate than embeddings.
VECTOR_LR = 2.5
ADAMW_EPSILON = 1e-8
EPSILON_BESIDE_MUON = 1e-10


class Optimizer(Protocol):
    """An optimizer whose state is named tensors."""

    def step(self, rate: float, momentum: float) -> None:
        """Apply the gradients at the share `rate` of the peak learning rates; `momentum` is Muon's."""

    def state(self) -> dict[str, Tensor]:
        """Return the state by name for `restore`. The tensors are not copied."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Copy in a state from `state`. Raises CheckpointError if a part is missing or has the wrong shape."""


def make_optimizer(config: TrainingConfig, parameters: Mapping[str, Tensor]) -> Optimizer:
    """Make the optimizer of a run for named parameters; linear layers are (out, in).

    >>> weight = torch.nn.Parameter(torch.ones(2, 2))
    >>> optimizer = make_optimizer(TrainingConfig(), {"h.0.mlp.c_fc.weight": weight})
    >>> sorted(optimizer.state())
    ['muon.momentum.h.0.mlp.c_fc.weight', 'muon.second.h.0.mlp.c_fc.weight']
    """
    if config.optimizer == "adamw":
        return AdamW(config, parameters)
    return MuonWithAdamW(config, parameters)


class AdamW:
    """PyTorch's fused AdamW, with weight decay on matrices and embedding tables only."""

    def __init__(
        self,
        config: TrainingConfig,
        parameters: Mapping[str, Tensor],
        *,
        epsilon: float = ADAMW_EPSILON,
        vector_lr: float = 1.0,
        decays: bool = True,
    ) -> None:
        self.parameters = parameters
        matrices = [p for p in parameters.values() if p.ndim >= 2]
        vectors = [p for p in parameters.values() if p.ndim < 2]
        decay = config.weight_decay if decays else 0.0
        groups = [
            {"params": matrices, "peak": config.lr, "weight_decay": decay},
            {"params": vectors, "peak": config.lr * vector_lr, "weight_decay": 0.0},
        ]
        betas = (config.beta1, config.beta2)
        self._adamw = torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=epsilon, fused=True)

    def step(self, rate: float, momentum: float) -> None:
        for group in self._adamw.param_groups:
            group["lr"] = group["peak"] * rate
        self._adamw.step()

    def state(self) -> dict[str, Tensor]:
        held = self._adamw.state
        return {
            f"adamw.{key}.{name}": value
            for name, p in self.parameters.items()
            for key, value in (held[p].items() if p in held else ())
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        if not any(name.startswith("adamw.") for name in state):  # before the first step
            return
        for name, p in self.parameters.items():
            there = {key: state.get(f"adamw.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            self._adamw.state[p] = {key: _fit(value, f"adamw.{key}.{name}", p, key) for key, value in there.items()}


def _fit(value: Tensor | None, name: str, parameter: Tensor, key: str) -> Tensor:
    shape = () if key == "step" else parameter.shape
    if value is None or value.shape != shape:
        raise CheckpointError(f"the optimizer's state is missing {name}, or it has another shape")
    value = value.to(parameter.device, torch.float32, copy=True)
    return value if key == "step" else part_like(value, parameter)


class MuonWithAdamW:
    """NorMuon for the blocks' matrices; AdamW without weight decay for embeddings (also of distances) and vectors."""

    def __init__(self, config: TrainingConfig, parameters: Mapping[str, Tensor]) -> None:
        self.config = config
        matrices = {name: p for name, p in parameters.items() if name.startswith("h.") and p.ndim == 2}
        rest = {name: p for name, p in parameters.items() if name not in matrices}
        self.muon = NorMuon(matrices, getattr(torch, config.dtype))
        self.adamw = AdamW(config, rest, epsilon=EPSILON_BESIDE_MUON, vector_lr=VECTOR_LR, decays=False)

    def step(self, rate: float, momentum: float) -> None:
        self.muon.step(self.config.matrix_lr * rate, momentum, self.config.weight_decay)
        self.adamw.step(rate, momentum)

    def state(self) -> dict[str, Tensor]:
        moments = {f"muon.momentum.{name}": value for name, value in self.muon.momentum.items()}
        moments |= {f"muon.second.{name}": value for name, value in self.muon.second.items()}
        return moments | self.adamw.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        stores = {"momentum": self.muon.momentum, "second": self.muon.second}
        for key, store in stores.items():
            for name, value in store.items():
                saved = state.get(f"muon.{key}.{name}")
                if saved is None or saved.shape != value.shape:
                    raise CheckpointError(
                        f"the optimizer's state is missing muon.{key}.{name}, or it has another shape"
                    )
                value.copy_(part_like(saved.to(value.device), value))
        self.adamw.restore(state)
