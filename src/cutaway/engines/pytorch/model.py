"""GPT-2 as a PyTorch module, in the order in which a token passes through it.

One path serves training, prefill and decode. Names are OpenAI's. OpenAI stores a linear layer's weight as (in, out),
`nn.Linear` as (out, in); `load` and `export` transpose it. Source: `src/model.py` of openai/gpt-2.
Shapes: B sequences, T tokens, d = n_embd, H heads of dh = d / H, S = n_ctx cache slots, V = n_vocab.

In training, parameters and the residual stream stay float32; inputs of matrix products are cast to `compute_dtype`.
`bfloat16` makes a step faster if the processor supports it (AVX-512 BF16, AMX, CUDA; docs/train.md).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from cutaway.checkpoints.weights import Weights
from cutaway.config import GPT2Config
from cutaway.engines.protocol import check_causal
from cutaway.engines.pytorch.attention import (
    at_least_float32,
    attention_despite_overflow,
    causal_attention,
    drop,
    gathered_scores,
    visible,
)
from cutaway.engines.pytorch.fused import HAS_TRITON, add_norm, gelu_of_sum, product, split_heads
from cutaway.engines.pytorch.products import is_transformed, linear
from cutaway.engines.pytorch.vml import choose_kernels

# OpenAI's GELU, x (1 + tanh(u)) / 2, is x / (1 + exp(-2u)), and 2u is GELU_A x + GELU_B x³.
GELU_A = 2 * math.sqrt(2 / math.pi)
GELU_B = 0.044715 * GELU_A

TRIAL = 150  # tokens per sequence in the comparison of kernels
NEAR = 0.03  # relative error, by norm, that bfloat16 in another order of operations may cause (docs/log.md)

# Maps q, k and v (B, H, 1, dh) of one new token to attention over all held slots; stores k and v in their slots.
AttendNext = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class LayerCache:
    """Keys and values of one layer."""

    k: Tensor  # (B, H, S, dh)
    v: Tensor  # (B, H, S, dh)
    lengths: Tensor  # (B,) tokens held
    kernel: AttendNext | None = None  # if the cache has a kernel, it needs no mask

    def write(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values (B, H, T, dh) in their slots; return all slots, (B, H, S, dh)."""
        batch = torch.arange(k.shape[0], device=k.device)[:, None]
        slots = next_positions(self.lengths, k.shape[2])
        self.k[batch, :, slots] = k.transpose(1, 2)
        self.v[batch, :, slots] = v.transpose(1, 2)
        return self.k, self.v


def next_positions(lengths: Tensor, n_new: int) -> Tensor:
    """Return the positions of the next `n_new` tokens of sequences that have `lengths` (B,) tokens: (B, T).

    >>> next_positions(torch.tensor([0, 3]), 2).tolist()
    [[0, 1], [3, 4]]
    """
    return lengths[:, None] + torch.arange(n_new, device=lengths.device)


@dataclass
class KVCache:
    """Keys and values of up to S tokens per sequence, in memory that is allocated once (a static cache)."""

    k: Tensor  # (L, B, H, S, dh)
    v: Tensor  # (L, B, H, S, dh)
    lengths: Tensor  # (B,) tokens held
    needs_mask = True  # there is no kernel that reads only the held slots

    @classmethod
    def empty(cls, config: GPT2Config, batch: int, like: Tensor) -> "KVCache":
        """Make a cache for `batch` sequences with the device and dtype of `like`."""
        shape = (config.n_layer, batch, config.n_head, config.n_ctx, config.d_head)
        return cls(
            like.new_zeros(shape), like.new_zeros(shape), torch.zeros(batch, dtype=torch.long, device=like.device)
        )

    def rows(self, rows: slice) -> "KVCache":
        """Select some sequences, in the same memory."""
        return KVCache(self.k[:, rows], self.v[:, rows], self.lengths[rows])

    def layer(self, number: int) -> LayerCache:
        """Select a layer, in the same memory, so that all layers share one compiled block."""
        return LayerCache(self.k[number], self.v[number], self.lengths)


class Linear(nn.Linear):
    """A linear layer that multiplies in the dtype of its input, whatever the dtype of its parameters."""

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None or self.weight.dtype == x.dtype:
            return linear(x, self.weight.to(x.dtype), self.bias)
        product = linear(x, self.weight.to(x.dtype))
        return (product + self.bias).to(x.dtype)  # a compiled block fuses this sum; oneDNN copies the bias to each row


class RelativePositions(nn.Module):
    """A table of each head's embeddings of the distances 0 to M - 1."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.n_head, config.relative_positions, config.d_head))


class Attention(nn.Module):
    """Masked multi-head self-attention."""

    number: Tensor | None  # number of the layer, from 1, if scores are divided by it

    def __init__(self, config: GPT2Config, layer: int, dropout: float) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = dropout
        self.is_scaled = config.scale_attn_weights
        # A tensor, so that compiled blocks share their code; an integer, so that 16-bit dtypes do not round it.
        number = torch.tensor(layer + 1) if config.scale_attn_by_inverse_layer_idx else None
        self.register_buffer("number", number, persistent=False)
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        self.relative = RelativePositions(config) if config.relative_positions else None

    def forward(
        self,
        x: Tensor,
        cache: LayerCache | None,
        mask: Tensor | None,
        n_prefix: Tensor | None,
        despite_overflow: bool,
    ) -> Tensor:
        """Attend with a mask; without one, attend causally, except that the first `n_prefix` tokens see each other.

        A cache needs a mask, unless it has a kernel, with which one new token sees all held tokens.
        """
        q, k, v = (self.split_heads(part) for part in self.c_attn(x).chunk(3, dim=-1))  # each (B, H, T, dh)
        q = self.rescale(q)
        if cache is not None and cache.kernel is not None:
            z = cache.kernel(q, k, v)
        elif mask is None:
            relative = None if self.relative is None else self.relative.weight
            z = causal_attention(q, k, v, self.dropout if self.training else 0.0, n_prefix, relative)  # (B, H, T, dh)
        else:
            if cache is not None:
                k, v = cache.write(k, v)  # (B, H, S, dh)
            z = self.attend_masked(q, k, v, cache, mask, despite_overflow)
        out: Tensor = self.c_proj(z.transpose(1, 2).reshape(x.shape))  # (B, T, d)
        return drop(out, self.dropout if self.training else 0.0)

    def attend_masked(
        self, q: Tensor, k: Tensor, v: Tensor, cache: LayerCache | None, mask: Tensor, despite_overflow: bool
    ) -> Tensor:
        """Attend with a mask (B, 1, T, S) or (T, S), True for visible tokens."""
        added = None
        if self.relative is not None:
            n_new = q.shape[2]
            positions = torch.arange(n_new, device=q.device) if cache is None else next_positions(cache.lengths, n_new)
            added = gathered_scores(q, self.relative.weight, positions, k.shape[2])  # (B, H, T, S)
        if despite_overflow:
            return attention_despite_overflow(q, k, v, mask, added)
        if added is not None:
            mask = (added / math.sqrt(q.shape[-1])).masked_fill(~mask, -math.inf)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def rescale(self, q: Tensor) -> Tensor:
        """Rescale queries if the config asks for a divisor other than √dh, by which attention divides."""
        if not self.is_scaled:
            q = q * math.sqrt(q.shape[-1])
        return q if self.number is None else q / self.number

    def split_heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_head, -1).transpose(1, 2)  # (B, T, d) -> (B, H, T, dh)


def gelu_new(x: Tensor) -> Tensor:
    """Apply OpenAI's GELU, the tanh approximation.

    >>> gelu_new(torch.tensor([-10.0, 0.0, 10.0])).tolist()
    [-0.0, 0.0, 10.0]
    """
    if not torch.compiler.is_compiling() or is_transformed():
        return F.gelu(x, approximate="tanh")
    out: Tensor = FusedGelu.apply(x)  # type: ignore[no-untyped-call]
    return out


class FusedGelu(torch.autograd.Function):
    """OpenAI's GELU as a sigmoid, which a compiled block can fuse; it takes a third of the time of tanh there.

    >>> FusedGelu.apply(torch.tensor([0.0, 1.0, 10.0]))
    tensor([ 0.0000,  0.8412, 10.0000])
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = x.float()
        return (y / (1 + torch.exp(-y * (GELU_A + GELU_B * y * y)))).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        y = x.float()
        squares = y * y
        gate = 1 / (1 + torch.exp(-y * (GELU_A + GELU_B * squares)))
        slope = gate + y * gate * (1 - gate) * (GELU_A + 3 * GELU_B * squares)
        dx: Tensor = (gradients[0].float() * slope).to(x.dtype)
        return dx


ACTIVATE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": gelu_new,
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class MLP(nn.Module):
    """Two linear layers around an activation, GELU in GPT-2; the article calls it the fully-connected network."""

    def __init__(self, config: GPT2Config, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.activate = ACTIVATE[config.activation_function]
        self.c_fc = Linear(config.n_embd, config.n_inner)
        self.c_proj = Linear(config.n_inner, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(self.activate(self.c_fc(x)))  # (B, T, d)
        return drop(out, self.dropout if self.training else 0.0)


class Block(nn.Module):
    """One decoder block: attention, then the MLP. Each reads the normalised residual stream and adds to it."""

    def __init__(self, config: GPT2Config, layer: int, dropout: float, compute_dtype: torch.dtype | None) -> None:
        super().__init__()
        self.compute_dtype = compute_dtype
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, layer, dropout)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config, dropout)

    def forward(
        self,
        x: Tensor,
        cache: LayerCache | None,
        mask: Tensor | None,
        n_prefix: Tensor | None = None,
        despite_overflow: bool = False,
    ) -> Tensor:
        dtype = self.compute_dtype or x.dtype
        x = x + self.attn(self.ln_1(x).to(dtype), cache, mask, n_prefix, despite_overflow)
        x = x + self.mlp(self.ln_2(x).to(dtype))
        return x  # (B, T, d)


class NoInit(TorchFunctionMode):
    """Skip PyTorch's random initialisation of modules, which would take half of the loading time.

    Their matrices are uninitialised until `load` or `initialise` writes all of them.

    >>> with NoInit():
    ...     GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1)).wte.weight.shape
    torch.Size([5, 2])
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


class GPT2(nn.Module):
    """The whole model: token and position embeddings, the blocks, the last LayerNorm and the output matrix.

    In training mode, `dropout` applies to the embeddings, the attention weights and the additions of each block to the
    residual stream. Matrices are multiplied in `compute_dtype` if given, else in the dtype of the parameters.
    `activation_checkpointing` recomputes each block in the backward pass instead of keeping its activations.

    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    >>> model(torch.tensor([[0, 1, 2]])).shape
    torch.Size([1, 3, 5])
    >>> model.export()["h.0.mlp.c_fc.weight"].shape
    (2, 8)
    """

    def __init__(
        self,
        config: GPT2Config,
        *,
        dropout: float = 0.0,
        compute_dtype: torch.dtype | None = None,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        choose_kernels()
        self.config = config
        self.dropout = dropout
        self.compute_dtype = compute_dtype
        self.activation_checkpointing = activation_checkpointing
        self.is_fused = False  # set by `fuse_blocks`
        self.wte = nn.Embedding(config.n_vocab, config.n_embd)
        self.wpe = nn.Embedding(config.n_ctx, config.n_embd)
        self.h = nn.ModuleList(Block(config, layer, dropout, compute_dtype) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.lm_head = Linear(config.n_embd, config.n_vocab, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.wte.weight

    def hidden(
        self,
        ids: Tensor,
        cache: KVCache | None = None,
        *,
        n_prefix: Tensor | None = None,
        despite_overflow: bool = False,
    ) -> Tensor:
        """Compute the output of `ln_f` for token ids (B, T): (B, T, d). Reads and extends the cache, if given.

        The first `n_prefix` (B,) tokens of a sequence see each other; all of them must be in `ids`.
        With `despite_overflow`, masked infinity and NaN have no effect, but attention is slower.
        """
        check_causal(self.config, n_prefix is not None)
        n_new = ids.shape[1]
        mask = None
        if cache is None:
            positions = torch.arange(n_new, device=ids.device)
            if despite_overflow:
                mask = visible(positions, n_new, n_prefix)
        else:
            positions = next_positions(cache.lengths, n_new)  # (B, T)
            if cache.needs_mask:
                mask = visible(positions[:, None], self.config.n_ctx, n_prefix)  # (B, 1, T, S)
        x = drop(self.wte(ids) + self.wpe(positions), self.dropout if self.training else 0.0)  # (B, T, d)
        if self.is_fused and cache is None and n_prefix is None and not despite_overflow and not is_transformed():
            return self.read_fused(x)
        for number, block in enumerate(self.h):
            held = None if cache is None else cache.layer(number)
            if self.activation_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, held, mask, n_prefix, use_reentrant=False)
            else:
                x = block(x, held, mask, n_prefix, despite_overflow)
        if cache is not None:
            cache.lengths += n_new
        out: Tensor = self.ln_f(x)
        return out.to(self.compute_dtype or out.dtype)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Compute the logits of the next token after each of (B, T) tokens: (B, T, V)."""
        logits: Tensor = self.lm_head(self.hidden(ids, cache))
        return logits

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean cross-entropy of (B, T) targets in nats."""
        return F.cross_entropy(at_least_float32(self(ids)).flatten(0, 1), targets.flatten())

    def read_fused(self, x: Tensor) -> Tensor:
        """Compute `hidden` from embeddings (B, T, d), with kernels that fuse the operations between matrix products."""
        blocks = [block for block in self.h if isinstance(block, Block)]
        norms = [block.ln_1 for block in blocks] + [self.ln_f]
        stream, h = add_norm(x.flatten(0, 1), None, None, norms[0])  # each (B * T, d)
        for block, next_norm in zip(blocks, norms[1:], strict=True):
            attn = block.attn
            mlp = block.mlp
            qkv = product(h, attn.c_attn.weight, attn.c_attn.bias.detach())  # (B * T, 3d)
            q, k, v = split_heads(qkv, attn.c_attn.bias, len(x), attn.n_head)  # each (B, H, T, dh)
            z = causal_attention(q, k, v).transpose(1, 2).reshape(h.shape)
            stream, h = add_norm(stream, product(z, attn.c_proj.weight), attn.c_proj.bias, block.ln_2)
            inner = gelu_of_sum(product(h, mlp.c_fc.weight), mlp.c_fc.bias)  # (B * T, n_inner)
            stream, h = add_norm(stream, product(inner, mlp.c_proj.weight), mlp.c_proj.bias, next_norm)
        return h.view(x.shape)

    def fuse_blocks(self) -> None:
        """Use `read_fused` from now on if the model `is_standard` and a comparison of their results agrees."""
        device = self.wpe.weight.device
        self.is_fused = device.type == "cuda" and self.is_standard() and fused_agrees(self.config, device)

    def is_standard(self) -> bool:
        """Return True if `read_fused` supports the model: OpenAI's GPT-2 in bfloat16, without dropout.

        >>> config = GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1)
        >>> GPT2(config, compute_dtype=torch.bfloat16).is_standard(), GPT2(config).is_standard()
        (True, False)
        """
        config = self.config
        linears = [layer for layer in self.h.modules() if isinstance(layer, nn.Linear)]
        return (
            self.compute_dtype == torch.bfloat16
            and self.wpe.weight.dtype == torch.float32
            and not self.dropout
            and not self.activation_checkpointing
            and not config.relative_positions
            and config.activation_function == "gelu_new"
            and config.scale_attn_weights
            and not config.scale_attn_by_inverse_layer_idx
            and all(type(layer) is Linear for layer in linears)  # no adapters
        )

    def compile_blocks(self) -> None:
        """Compile each block with torch.compile: once for each sequence length, shared by all layers."""
        for block in self.h:
            block.compile(dynamic=False)

    def new_cache(self, batch: int) -> KVCache:
        """Return an empty cache for `batch` sequences, on the model's device."""
        like = self.wpe.weight.new_empty(0, dtype=self.compute_dtype or self.wpe.weight.dtype)
        return KVCache.empty(self.config, batch, like)

    def initialise(self, seed: int) -> None:
        """Initialise all weights as GPT-2 does: normal(0, 0.02), scaled by 1/sqrt(2L) for projections into the
        residual stream. Embeddings of distances are normal(0, 0.02) too.
        """
        generator = torch.Generator().manual_seed(seed)
        into_residual = 0.02 / math.sqrt(2 * self.config.n_layer)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif "ln_" in name:
                    parameter.fill_(1.0)
                else:
                    std = 0.01 if name == "wpe.weight" else into_residual if "c_proj" in name else 0.02
                    parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))

    def load(self, weights: Weights) -> None:
        """Copy a checkpoint's tensors into the parameters, one at a time."""
        with torch.no_grad():
            for name, parameter in self.tensors():
                parameter.copy_(self.read(weights, name))

    def read(self, weights: Weights, name: str) -> Tensor:
        """Read one tensor of a checkpoint in the orientation of its parameter."""
        array = weights.read(name)
        return torch.from_numpy(array.T if self.config.tensors[name].transposed else array)

    def export(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters as a checkpoint stores them: float32 arrays by name, linear weights (in, out)."""
        return {name: self.stored(name, p) for name, p in self.tensors()}

    def stored(self, name: str, parameter: Tensor) -> NDArray[np.float32]:
        """Return one parameter as a checkpoint stores it."""
        array = parameter.detach().to("cpu", torch.float32).numpy()
        return np.array(array.T if self.config.tensors[name].transposed else array, order="C")

    def tensors(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield every parameter with its name in a checkpoint; a tied head is the embedding and is yielded once."""
        return ((name, p) for name, p in self.named_parameters() if name in self.config.tensors)  # without adapters


@cache
def fused_agrees(config: GPT2Config, device: torch.device) -> bool:
    """Compare the output and gradients of `read_fused` with the modules' own, for one block of this width.

    If kernels fail or give other results on this GPU, driver or Triton, the model is trained without them.

    >>> fused_agrees(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1), torch.device("meta"))
    False
    """
    if not HAS_TRITON:
        return False
    try:
        with torch.device(device):
            model = GPT2(replace(config, n_vocab=1, n_layer=1), compute_dtype=torch.bfloat16)
        model.initialise(seed=1)
        parts = [model.h[0], model.ln_f]
        parameters = [p for part in parts for p in part.parameters()]
        shape = (2, min(config.n_ctx, TRIAL), config.n_embd)
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(shape, generator=generator).to(device).requires_grad_()
        weights = torch.randn(shape, generator=generator).to(device)
        found = []
        for read in (model.read_fused, lambda x: model.ln_f(model.h[0](x, None, None))):
            hidden = read(x).float()
            gradients = torch.autograd.grad((hidden * weights).sum(), [x, *parameters])
            found.append([hidden.detach(), *gradients])
        return all(float((a - b).norm()) < NEAR * float(b.norm()) for a, b in zip(*found, strict=True))
    except Exception:  # noqa: BLE001  # from the compiler, the driver or Triton
        return False
