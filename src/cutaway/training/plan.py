"""Estimated cost of a training run: FLOPs, memory per device, hours, dollars.

Parameters, gradients and AdamW's two moments are float32; matrix products use a compute dtype of `COMPUTE_BYTES`.
Formulas: 6 N + 12 L d T FLOPs per token (forward and backward, attention as if it were not causal; PaLM, appendix B);
activations are counted tensor by tensor for this package's block, with attention that stores no (T, T) scores.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.training.hardware import (
    FLOAT32_BYTES,
    NIGHT_TOKENS,
    WEBTEXT_TOKENS,
    Hardware,
    Utilisation,
    utilisations,
)

Basis = Literal["exact", "computed", "measured", "published", "assumed"]

COMPUTE_BYTES = 2  # bfloat16
LOGITS_CHUNK = 512  # rows of logits that `losses` holds at a time
TOKENS: dict[float, tuple[Basis, str]] = {
    WEBTEXT_TOKENS: ("published", "one epoch of OpenWebText, in nanoGPT's count"),
    NIGHT_TOKENS: ("exact", "as many as recipes/builtin/cpu.sh reads in a night"),
}


def palm_flops_per_token(config: GPT2Config, n_ctx: int) -> int:
    """Compute the FLOPs per token of the forward and backward pass for sequences of `n_ctx` tokens: 6 N + 12 L d T.

    >>> palm_flops_per_token(GPT2Config(), 1024)
    859885056
    """
    return 6 * config.n_params + 12 * config.n_layer * config.n_embd * n_ctx


def state_bytes(n_params: int) -> tuple[int, int, int]:
    """Compute the bytes of float32 weights, their gradients, and AdamW's two moments.

    >>> state_bytes(1000)
    (4000, 4000, 8000)
    """
    return FLOAT32_BYTES * n_params, FLOAT32_BYTES * n_params, 2 * FLOAT32_BYTES * n_params


def block_params(config: GPT2Config) -> int:
    """Count the parameters of one block.

    >>> block_params(GPT2Config())
    7087872
    """
    return sum(spec.size for name, spec in config.tensors.items() if name.startswith("h.0."))


def block_activation_bytes(config: GPT2Config, item_bytes: int = COMPUTE_BYTES) -> int:
    """Compute the bytes per token that a block stores for the backward pass.

    In float32: the residual stream twice (the inputs of both LayerNorms), and statistics, one per head and two per
    LayerNorm. In the compute dtype: 6 vectors of width d (the LayerNorms' outputs, queries, keys, values, the heads'
    outputs) and 2 of the MLP's width (before and after GELU).

    >>> block_activation_bytes(GPT2Config()) // 12  # one of 12 heads' share
    2309
    """
    residual = 2 * config.n_embd + config.n_head + 4
    return FLOAT32_BYTES * residual + item_bytes * (6 * config.n_embd + 2 * config.n_inner)


def activation_bytes(config: GPT2Config, n_tokens: int, *, checkpointing: bool, item_bytes: int = COMPUTE_BYTES) -> int:
    """Compute the bytes of activations at the end of the forward pass of a micro-batch of `n_tokens` tokens.

    With activation checkpointing each block stores only its input and is recomputed in the backward pass.

    >>> [round(activation_bytes(GPT2Config(), 8 * 1024, checkpointing=c) / 1e9, 2) for c in (False, True)]
    [2.76, 0.57]
    """
    block = block_activation_bytes(config, item_bytes)
    residual = FLOAT32_BYTES * config.n_embd
    ends = residual + item_bytes * config.n_embd + 2 * FLOAT32_BYTES  # input, output and statistics of ln_f
    if not checkpointing:
        return n_tokens * (config.n_layer * block + ends)
    return n_tokens * (config.n_layer * residual + block + ends)


def logits_bytes(config: GPT2Config, chunk: int = LOGITS_CHUNK, item_bytes: int = COMPUTE_BYTES) -> int:
    """Compute the bytes of one chunk of logits: in the compute dtype, in float32, exponentials and gradient.

    >>> logits_bytes(GPT2Config())
    308779008
    """
    return chunk * config.n_vocab * (2 * item_bytes + 2 * FLOAT32_BYTES)


def head_bytes(config: GPT2Config, item_bytes: int = COMPUTE_BYTES) -> int:
    """Compute the bytes of the output matrix in the compute dtype and of its float32 gradient.

    >>> head_bytes(GPT2Config())
    231584256
    """
    return config.n_vocab * config.n_embd * (item_bytes + FLOAT32_BYTES)


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. `working` is weights in the compute dtype and what a sharded model gathers."""

    weights: int
    gradients: int
    optimizer: int
    working: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.working + self.activations + self.logits


def replicated_memory(
    config: GPT2Config, n_tokens: int, *, checkpointing: bool, item_bytes: int = COMPUTE_BYTES
) -> Memory:
    """Compute the memory per device with DDP, or of a single device. Each holds the whole model, and a copy of the
    blocks' weights in the compute dtype if that is not float32.

    >>> round(replicated_memory(GPT2Config(), 16 * 1024, checkpointing=False).total / 1e9, 1)
    8.2
    """
    weights, gradients, optimizer = state_bytes(config.n_params)
    copied = 0 if item_bytes == FLOAT32_BYTES else item_bytes
    working = copied * config.n_layer * block_params(config) + head_bytes(config, item_bytes)
    activations = activation_bytes(config, n_tokens, checkpointing=checkpointing, item_bytes=item_bytes)
    return Memory(weights, gradients, optimizer, working, activations, logits_bytes(config, item_bytes=item_bytes))


def sharded_memory(
    config: GPT2Config, n_tokens: int, devices: int, *, checkpointing: bool, item_bytes: int = COMPUTE_BYTES
) -> Memory:
    """Compute the memory per device with FSDP2. Weights, gradients and moments are sharded. Two blocks are gathered at
    a time, one block's gradients are float32 until they are sharded, and embeddings stay gathered.

    >>> round(sharded_memory(GPT2Config(), 16 * 1024, 8, checkpointing=False).total / 1e9, 1)
    6.6
    """
    weights, gradients, optimizer = (math.ceil(n / devices) for n in state_bytes(config.n_params))
    block = block_params(config)
    root = config.n_params - config.n_layer * block
    gathered = (2 * item_bytes + FLOAT32_BYTES) * block + (item_bytes + FLOAT32_BYTES) * root
    working = gathered + head_bytes(config, item_bytes)
    activations = activation_bytes(config, n_tokens, checkpointing=checkpointing, item_bytes=item_bytes)
    return Memory(weights, gradients, optimizer, working, activations, logits_bytes(config, item_bytes=item_bytes))


def hours(flops: float, devices: int, peak: float, mfu: float) -> float:
    """Compute the hours that `flops` take on devices that reach a share `mfu` of their peak.

    >>> round(hours(1e19, 8, 989e12, 0.4), 2)
    0.88
    """
    return flops / (devices * peak * mfu) / 3600


@dataclass(frozen=True)
class Row:
    """One quantity of a plan: value, unit, basis of the figure, and source."""

    name: str
    value: float
    unit: str
    basis: Basis
    source: str


@dataclass(frozen=True)
class Training:
    """A run to plan: training tokens, sequences of `n_ctx` tokens per step and per micro-batch of one device.

    Raises UsageError if a number is not positive or too large, or if sequences are longer than the model's context.
    """

    config: GPT2Config
    tokens: float = WEBTEXT_TOKENS
    batch_size: int = 512
    micro_batch_size: int = 8
    n_ctx: int = 1024
    devices: int = 8

    def __post_init__(self) -> None:
        for name in ("tokens", "batch_size", "micro_batch_size", "n_ctx", "devices"):
            if not 0 < getattr(self, name) < 1e18:
                raise UsageError(f"{name} must be a positive number below 1e18, not {getattr(self, name):g}")
        if self.n_ctx > self.config.n_ctx:
            raise UsageError(f"n_ctx must be at most {self.config.n_ctx}, the context of the model, not {self.n_ctx}")

    @property
    def flops(self) -> float:
        return self.tokens * palm_flops_per_token(self.config, self.n_ctx)

    @property
    def micro_tokens(self) -> int:
        return self.micro_batch_size * self.n_ctx


def plan(training: Training, hardware: Hardware, mfu: float | None = None, dollars: float | None = None) -> list[Row]:
    """Plan a run on a kind of hardware: all figures, in order of derivation.

    `mfu` replaces the published utilisations, `dollars` per device-hour the published price.

    >>> from cutaway.training.hardware import find_hardware
    >>> rows = plan(Training(GPT2Config(), tokens=10e9), find_hardware("h100"))
    >>> [(row.name, row.value) for row in rows][:2]
    [('parameters', 124439808), ('tokens', 10000000000.0)]
    """
    return [*_work(training), *_memories(training, hardware), *_times(training, hardware, mfu, dollars)]


def _work(training: Training) -> Iterator[Row]:
    step = training.batch_size * training.n_ctx
    yield Row("parameters", training.config.n_params, "parameters", "exact", "the tensors' shapes")
    basis, source = TOKENS.get(training.tokens, ("assumed", "--tokens"))
    yield Row("tokens", training.tokens, "tokens", basis, source)
    yield Row("tokens per step", step, "tokens", "exact", f"{training.batch_size} x {training.n_ctx}")
    yield Row("steps", math.ceil(training.tokens / step), "steps", "exact", "tokens / tokens per step")
    per_token = palm_flops_per_token(training.config, training.n_ctx)
    yield Row("FLOPs per token", per_token, "FLOP", "computed", "6 N + 12 L d T")
    yield Row("FLOPs", training.flops, "FLOP", "computed", "FLOPs per token x tokens")


def _memories(training: Training, hardware: Hardware) -> Iterator[Row]:
    config = training.config
    tokens = training.micro_tokens
    shards = training.devices
    size = hardware.compute_bytes
    own: Basis = "measured" if hardware.peak_basis == "measured" else "published"
    yield Row("memory per device", hardware.memory, "B", own, "this machine" if own == "measured" else "the maker")
    whole = replicated_memory(config, tokens, checkpointing=False, item_bytes=size)
    kept = activation_bytes(config, tokens, checkpointing=True, item_bytes=size)
    head = "the output matrix and its gradient"
    both = head if size == FLOAT32_BYTES else f"the blocks' weights, {head}"
    schemes = [("", whole, "", both)]
    if shards > 1:
        divided = sharded_memory(config, tokens, shards, checkpointing=False, item_bytes=size)
        units = f"two blocks gathered, embeddings, {head}"
        schemes = [("DDP: ", whole, "", both), ("FSDP2: ", divided, f" / {shards}", units)]
    for name, memory, share, gathered in schemes:
        yield Row(f"{name}weights", memory.weights, "B", "computed", f"4 N{share}")
        yield Row(f"{name}gradients", memory.gradients, "B", "computed", f"4 N{share}")
        yield Row(f"{name}optimizer", memory.optimizer, "B", "computed", f"8 N{share}")
        yield Row(f"{name}compute dtype", memory.working, "B", "computed", gathered)
        yield Row(f"{name}activations", memory.activations, "B", "computed", f"{tokens:,} tokens at once")
        yield Row(f"{name}logits", memory.logits, "B", "computed", f"{LOGITS_CHUNK} tokens at a time")
        yield Row(f"{name}total", memory.total, "B", "computed", _fits(memory.total, hardware))
        total = memory.total - memory.activations + kept
        yield Row(f"{name}total, checkpointed", total, "B", "computed", _fits(total, hardware))


def _fits(total: int, hardware: Hardware) -> str:
    return "fits" if total < hardware.memory else "does not fit"


def _times(training: Training, hardware: Hardware, mfu: float | None, dollars: float | None) -> Iterator[Row]:
    basis: Basis = "measured" if hardware.peak_basis == "measured" else "published"
    yield Row("peak per device", hardware.peak, "FLOP/s", basis, hardware.peak_source)
    price = hardware.dollars if dollars is None else dollars
    if price is not None:
        paid: Basis = "published" if dollars is None else "assumed"
        yield Row("price per device", price, "$/h", paid, hardware.dollars_source if dollars is None else "--dollars")
    for reached, origin in utilisations(hardware, mfu):
        yield from _time(training, hardware, reached, "published" if origin == "published" else "assumed", price)


def _time(
    training: Training, hardware: Hardware, reached: Utilisation, basis: Basis, price: float | None
) -> Iterator[Row]:
    taken = hours(training.flops, training.devices, hardware.peak, reached.mfu)
    at = f"at {reached.mfu:.0%}"
    yield Row("share of the peak", reached.mfu, "%", basis, reached.source)
    yield Row(f"tokens per second {at}", training.tokens / taken / 3600, "tokens/s", "computed", "tokens / hours")
    yield Row(f"hours {at}", taken, "h", "computed", "FLOPs / (devices x peak x share)")
    if price is not None:
        yield Row(f"cost {at}", taken * training.devices * price, "$", "computed", "hours x devices x price")
