"""Weight averaging at the end of a run. After hundreds of steps the average is better than the last weights alone."""

from collections.abc import Mapping

import torch
from torch import Tensor

HORIZON = 150  # steps
SHARE = 0.6  # of the average in the blended weights


class TailAverage:
    """An exponential moving average of parameters, from its first update on."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Add the parameters after a step."""
        if not self.values:
            self.values = {name: p.detach().clone() for name, p in parameters.items()}
        for name, p in parameters.items():
            self.values[name].lerp_(p, 1 / HORIZON)

    def blend(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Blend the average with the current parameters; before the first update, return the parameters themselves."""
        if not self.values:
            return {name: p.detach() for name, p in parameters.items()}
        return {name: p.detach().lerp(self.values[name], SHARE) for name, p in parameters.items()}
