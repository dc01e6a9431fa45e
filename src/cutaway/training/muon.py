"""Muon: momentum whose every matrix is made orthogonal before it is applied (Keller Jordan, 2024).

PyTorch has the same optimizer, but orthogonalises in bfloat16, which on a CPU without bfloat16 arithmetic takes four
fifths of a step.
"""

from collections.abc import Iterable
from itertools import groupby

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest orthogonal matrix to each of (n, rows, columns), roughly: singular values end between 0.7 and 1.2."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = x if wide else x.mT
    return orthogonal


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for matrices; steps are scaled so that AdamW's rates and decays fit."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        by_shape = sorted(params, key=lambda p: p.shape)
        super().__init__(by_shape, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for _, same_shape in groupby((p for p in group["params"] if p.grad is not None), key=lambda p: p.shape):
                self._step_together(list(same_shape), group["lr"], group["momentum"], group["weight_decay"])

    def _step_together(self, parameters: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        directions = []
        for p in parameters:
            assert p.grad is not None
            velocity = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
            velocity.lerp_(p.grad, 1 - momentum)
            directions.append(p.grad.lerp(velocity, momentum))
        like_adamw = 0.2 * max(parameters[0].shape) ** 0.5  # Moonlight, 2025: the root mean square of an AdamW step
        for p, update in zip(parameters, orthogonalise(torch.stack(directions)), strict=True):
            p.mul_(1 - lr * weight_decay).add_(update, alpha=-lr * like_adamw)
