"""Finds the first tensor of a forward pass that is not finite."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.engines.pytorch.model import GPT2
from cutaway.training.sharding import whole


@torch.no_grad()
def first_not_finite(model: GPT2, forward: Callable[[], object]) -> str | None:
    """Return the name of the first parameter that holds NaN or infinity, or else of the first module whose output does;
    None if all are finite.

    >>> from cutaway.config import GPT2Config
    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    >>> _ = model.ln_f.bias.data.fill_(float("nan"))
    >>> first_not_finite(model, lambda: model(torch.tensor([[0, 1]])))
    'ln_f.bias'
    """
    found = [name for name, p in model.named_parameters() if not whole(p).isfinite().all()]
    if not found:
        hooks = [module.register_forward_hook(_recorder(name, found)) for name, module in model.named_modules() if name]
        is_fused = model.is_fused
        model.is_fused = False  # the fused path calls no modules, so hooks would not run
        with torch.compiler.set_stance("force_eager"):
            forward()
        model.is_fused = is_fused
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _recorder(name: str, found: list[str]) -> Callable[[nn.Module, Any, Tensor], None]:
    def record(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if not output.isfinite().all():
            found.append(f"the output of {name}")

    return record
