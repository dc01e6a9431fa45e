"""GPT-2's forward pass for training: parameters by their checkpoint names, matrices multiplied in a chosen dtype.

Parameters and the residual stream stay float32; what enters a matrix product is cast to `dtype` first. `bfloat16` makes
a step several times faster where the processor multiplies it (AVX-512 BF16, AMX, CUDA), and slower where it does not.
Shapes: B sequences, T tokens, d = n_embd, H heads of dh = d / H.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.config import GPT2Config

Parameters = dict[str, Tensor]

QUERIES = 64  # rows of attention that are computed at a time on a CPU


def initial_parameters(config: GPT2Config, seed: int) -> Parameters:
    """Draw weights as GPT-2 does: normal(0, 0.02), smaller by sqrt(2 n_layer) into the residual stream."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for name, shape in config.tensor_shapes().items():
        if name.endswith("bias"):
            parameters[name] = torch.zeros(shape)
        elif "ln_" in name:
            parameters[name] = torch.ones(shape)
        else:
            parameters[name] = torch.empty(shape).normal_(0.0, _std(name, config), generator=generator)
    return parameters


def _std(name: str, config: GPT2Config) -> float:
    if name == "wpe.weight":
        return 0.01
    return 0.02 / math.sqrt(2 * config.n_layer) if name.endswith("c_proj.weight") else 0.02


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Masked attention (B, H, T, dh).

    On a CPU some queries at a time, so that most of the masked half is never computed: twice as fast as PyTorch's own
    there once it is compiled.
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    q = q * q.shape[-1] ** -0.5
    parts = []
    for start in range(0, q.shape[2], QUERIES):
        end = min(start + QUERIES, q.shape[2])
        scores = (q[:, :, start:end] @ k[:, :, :end].transpose(-1, -2)).float()
        later = torch.arange(end)[None, :] > torch.arange(start, end)[:, None]
        weights = scores.masked_fill(later, -math.inf).softmax(-1).to(q.dtype)
        parts.append(weights @ v[:, :, :end])
    return torch.cat(parts, 2)


def block(x: Tensor, p: Parameters, n_head: int, epsilon: float, dtype: torch.dtype) -> Tensor:
    """One decoder block on the residual stream (B, T, d); `p` holds its parameters, named without "h.N."."""
    y = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"], epsilon).to(dtype)
    q, k, v = (_split_heads(part, n_head) for part in _linear(y, p, "attn.c_attn").chunk(3, -1))
    z = attention(q, k, v).transpose(1, 2).reshape(x.shape)
    x = x + _linear(z, p, "attn.c_proj")
    y = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"], epsilon).to(dtype)
    y = F.gelu(_linear(y, p, "mlp.c_fc"), approximate="tanh")
    return x + _linear(y, p, "mlp.c_proj")


def _linear(x: Tensor, p: Parameters, name: str) -> Tensor:
    return F.linear(x, p[f"{name}.weight"].to(x.dtype).t(), p[f"{name}.bias"].to(x.dtype))


def _split_heads(x: Tensor, n_head: int) -> Tensor:
    return x.view(*x.shape[:2], n_head, -1).transpose(1, 2)


class Forward:
    """The pass from token ids to the last LayerNorm, over parameters that require gradients.

    `compiled` fuses each block with torch.compile: one block is compiled for each length, and all layers share it.
    """

    def __init__(self, config: GPT2Config, parameters: Parameters, dtype: torch.dtype, *, compiled: bool) -> None:
        self.config = config
        self.parameters = parameters
        self.dtype = dtype
        self.layers = [self._layer(f"h.{layer}.") for layer in range(config.n_layer)]
        self.block = torch.compile(block, dynamic=False) if compiled else block

    def _layer(self, prefix: str) -> Parameters:
        named = self.parameters.items()
        return {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}

    def hidden(self, ids: Tensor) -> Tensor:
        """Return what leaves ln_f for ids (B, T), one row a token: (B * T, d) in `dtype`."""
        p = self.parameters
        epsilon = self.config.layer_norm_epsilon
        x = F.embedding(ids, p["wte.weight"]) + p["wpe.weight"][: ids.shape[1]]
        for layer in self.layers:
            x = self.block(x, layer, self.config.n_head, epsilon, self.dtype)
        x = F.layer_norm(x, x.shape[-1:], p["ln_f.weight"], p["ln_f.bias"], epsilon)
        return x.flatten(0, 1).to(self.dtype)
