"""The average of a run's last weights, which after hundreds of steps is better than the last weights alone."""

from collections.abc import Mapping

import torch
from torch import Tensor

HORIZON = 150  # steps
SHARE = 0.6  # of the average in the weights that are kept


class TailAverage:
    """An exponential moving average of parameters from the step at which it starts."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Add a step's parameters."""
        if not self.values:
            self.values = {name: p.detach().clone() for name, p in parameters.items()}
        for name, p in parameters.items():
            self.values[name].lerp_(p, 1 / HORIZON)

    def blend(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights to keep: the parameters themselves before the average has started."""
        if not self.values:
            return {name: p.detach() for name, p in parameters.items()}
        return {name: p.detach().lerp(self.values[name], SHARE) for name, p in parameters.items()}
