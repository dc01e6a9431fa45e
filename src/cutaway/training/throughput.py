"""FLOPs of a training step, and the measured peak FLOP/s of this device."""

import resource
import sys
import time
from functools import cache

import torch

from cutaway.config import GPT2Config
from cutaway.engines.pytorch.products import linear

SIZE = 1024  # rows and columns of the matrices that measure the peak
GPU_SIZE = 8192  # large enough to keep a GPU busy
SECONDS = 0.3  # length of the measurement


def matmul_flops_per_token(config: GPT2Config, n_ctx: int, n_vocab: int | None = None) -> int:
    """Return the FLOPs per token of the forward and backward pass for sequences of `n_ctx` tokens.

    Counts matrix products: 6 FLOPs for each weight of a block and of the output matrix over `n_vocab` tokens (default:
    all), and causal attention to (n_ctx + 1) / 2 tokens on average. If the model has embeddings of distances, adds
    attention to them, for at most as many tokens as it has distances.

    >>> matmul_flops_per_token(GPT2Config(), 1024)
    797870592
    """
    blocks = sum(spec.size for spec in config.tensors.values() if spec.kind == "linear")
    head = (n_vocab or config.n_vocab) * config.n_embd
    attention = config.n_layer * 2 * config.n_embd * (n_ctx + 1)  # attention scores and weighted values, forward
    near = min(config.relative_positions, n_ctx)
    distances = near * (2 * n_ctx + 1 - near) // (2 * n_ctx)  # on average
    relative = config.n_layer * 2 * config.n_embd * distances
    return 6 * (blocks + head) + 3 * (attention + relative)


def memory_bytes(device: torch.device) -> int:
    """Return the peak memory in bytes: allocated on a CUDA device, else the resident set of this process.

    >>> memory_bytes(torch.device("cpu")) > 2**20
    True
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


@cache
def measure_matmul_peak(device: torch.device, dtype: str) -> float:
    """Measure the FLOP/s of large matrix products as a model computes them: the best of several, once per process.

    >>> measure_matmul_peak(torch.device("cpu"), "float32") > 1e8
    True
    """
    size = SIZE if device.type == "cpu" else GPU_SIZE
    a = torch.randn(size, size).to(device, getattr(torch, dtype))  # a GPU multiplies constant matrices faster
    best = float("inf")
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or best == float("inf"):
        began = time.perf_counter()
        product = linear(a, a)
        product[0, 0].item()  # synchronises with the device
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
