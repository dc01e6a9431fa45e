"""Low-rank adaptation (LoRA): each adapted matrix is frozen, and the product of two small matrices is added to it.

A (r, in) is random and B (out, r) is zero, so before the first step the model equals the base model exactly.
Source: Hu et al. 2021, "LoRA", arXiv:2106.09685; names, scale and initialisation follow huggingface/peft.
"""

import math
import zlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cutaway.checkpoints.adapter import Adapter, Pair, find_targets
from cutaway.engines.pytorch.model import GPT2, Linear
from cutaway.engines.pytorch.products import linear


class LoRALinear(Linear):
    """A linear layer x W^T + b with scale * (x A^T) B^T added. Only A (r, in) and B (out, r) are trained.

    It shares the parameters of the layer that it replaces, under the same names.
    """

    def __init__(self, linear: nn.Linear, r: int, alpha: float, dropout: float, generator: torch.Generator) -> None:
        nn.Module.__init__(self)  # Linear's own __init__ would allocate weights
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.weight = linear.weight
        self.bias = linear.bias
        self.scale = alpha / r
        self.dropout = dropout
        bound = 1 / math.sqrt(self.in_features)
        first = torch.empty(r, self.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(first.to(linear.weight.device))
        self.lora_B = nn.Parameter(linear.weight.new_zeros(self.out_features, r))

    def forward(self, x: Tensor) -> Tensor:
        inner = linear(F.dropout(x, self.dropout, self.training), self.lora_A.to(x.dtype))
        return super().forward(x) + self.scale * linear(inner, self.lora_B.to(x.dtype))


def add_lora(
    model: GPT2, *, r: int, alpha: float, dropout: float = 0.0, targets: Sequence[str], seed: int
) -> list[str]:
    """Add LoRA to the target matrices of every block, freeze all other parameters, and return the matrices' names.

    `targets` are names such as "c_attn" or "mlp.c_proj"; raises UsageError for an unknown one.

    >>> from cutaway.config import GPT2Config
    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    >>> add_lora(model, r=1, alpha=2, targets=["c_attn"], seed=1)
    ['h.0.attn.c_attn']
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['h.0.attn.c_attn.lora_A', 'h.0.attn.c_attn.lora_B']
    """
    names = [f"h.{layer}.{target}" for layer in range(model.config.n_layer) for target in find_targets(targets)]
    model.requires_grad_(False)
    for name in names:
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear), name
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))  # a seed of 32 bits
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, LoRALinear(linear, r, alpha, dropout, generator))
    return names


def lora_layers(model: GPT2) -> Iterator[tuple[str, LoRALinear]]:
    """Yield the adapted matrices by name.

    >>> from cutaway.config import GPT2Config
    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    >>> _ = add_lora(model, r=1, alpha=2, targets=["c_attn"], seed=1)
    >>> [(name, tuple(layer.lora_B.shape)) for name, layer in lora_layers(model)]
    [('h.0.attn.c_attn', (6, 1))]
    """
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoRALinear))


def read_lora(model: GPT2, *, base: str, r: int, alpha: float, dropout: float, targets: Sequence[str]) -> Adapter:
    """Return a copy of the adapter that a model has learned; `base` is the name of the base model.

    >>> from cutaway.config import GPT2Config
    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    >>> _ = add_lora(model, r=1, alpha=2, targets=["c_attn"], seed=1)
    >>> adapter = read_lora(model, base="gpt2", r=1, alpha=2, dropout=0.0, targets=["c_attn"])
    >>> adapter.pairs["h.0.attn.c_attn"].b.any()  # zero before the first step
    np.False_
    """
    pairs = {
        name: Pair(*(factor.detach().to("cpu", torch.float32, copy=True).numpy() for factor in (a.lora_A, a.lora_B)))
        for name, a in lora_layers(model)
    }
    return Adapter(base, r, alpha, tuple(targets), pairs, dropout)
