"""Muon: the momentum of each matrix is orthogonalised before it is applied, with a second moment per output.

Sources: Keller Jordan 2024 (Muon); Amsel et al. 2025 (the coefficients, "Polar Express"); Li et al. 2025 (the second
moment, "NorMuon"). PyTorch's own Muon always orthogonalises in bfloat16. On a CPU without bfloat16 arithmetic that
takes four fifths of a step.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from cutaway.training.sharding import part_like, whole

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
SECOND_MOMENT = 0.95  # decay of an output's second moment
ADAMW_RMS = 0.2  # root mean square of an update at learning rate 1, close to AdamW's (Moonlight, 2025)


def orthogonalise(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Approximate the nearest orthogonal matrix to each of (n, rows, columns): the singular values get close to 1.

    >>> orthogonal = orthogonalise(torch.tensor([[[3.0, 0.0], [0.0, 0.5]]]))
    >>> bool(((torch.linalg.svdvals(orthogonal) - 1).abs() < 0.2).all())
    True
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).to(dtype)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = (x if wide else x.mT).float()
    return orthogonal


class NorMuon:
    """An optimizer for the matrices (out, in) of the blocks. Queries, keys and values are orthogonalised separately.

    `dtype` is the compute dtype of matrix products. Moments are stored by name, so that a run can save and restore
    them. Sharded gradients are gathered for orthogonalisation, and each process applies its part of the update.
    """

    def __init__(self, parameters: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self.parameters = parameters
        self.dtype = dtype
        self.momentum = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.second = {name: torch.zeros(len(p), device=p.device, dtype=p.dtype) for name, p in parameters.items()}

    @torch.no_grad()
    def step(self, lr: float, momentum: float, weight_decay: float) -> None:
        """Apply the gradients. Each update has root mean square `lr * ADAMW_RMS`, so moments need no correction."""
        for name, update in self._orthogonal(momentum).items():
            p = self.parameters[name]
            second = self.second[name].lerp_(update.square().mean(1), 1 - SECOND_MOMENT)
            update = update / second.sqrt().add(1e-8)[:, None]
            update *= ADAMW_RMS * math.sqrt(p.numel()) / update.norm().clamp_min(1e-12)
            p.mul_(1 - lr * weight_decay).add_(part_like(update, p), alpha=-lr)

    def _orthogonal(self, momentum: float) -> dict[str, Tensor]:
        """Return the orthogonal update of each matrix by name. Matrices of the same shape are computed in one batch."""
        by_shape: dict[torch.Size, list[tuple[str, Tensor]]] = {}
        for name, p in self.parameters.items():
            assert p.grad is not None
            velocity = self.momentum[name].lerp_(p.grad, 1 - momentum)
            direction = whole(p.grad.lerp(velocity, momentum))  # Nesterov momentum
            for part in direction.chunk(3, dim=0) if "c_attn" in name else (direction,):
                by_shape.setdefault(part.shape, []).append((name, part))
        parts: dict[str, list[Tensor]] = {name: [] for name in self.parameters}
        for entries in by_shape.values():
            orthogonal = orthogonalise(torch.stack([part for _, part in entries]), self.dtype)
            for (name, _), part in zip(entries, orthogonal, strict=True):
                parts[name].append(part)
        return {name: torch.cat(rows, dim=0) for name, rows in parts.items()}
