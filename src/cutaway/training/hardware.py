"""Hardware for planning a training run: published peaks, memory sizes, prices and utilisations, and this machine.

A model FLOPs utilisation (MFU) is the share of the peak that a published run reached. It is computed from the run's
throughput, with the FLOPs per token of `plan`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from cutaway.errors import UsageError

GB = 10**9
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Utilisation:
    """An MFU and the published run that reached it."""

    mfu: float
    source: str


@dataclass(frozen=True)
class Defaults:
    """A default run for a device: model, training tokens, batch and micro-batch size in sequences, devices."""

    model: str
    tokens: float
    batch_size: int
    micro_batch_size: int
    devices: int


WEBTEXT_TOKENS = 9_035_582_198  # of OpenWebText, WebText's public reproduction, as nanoGPT counts them
NIGHT_TOKENS = 54_001_664  # tokens that recipes/builtin/cpu.sh reads in a night
GPU_RUN = Defaults("gpt2", WEBTEXT_TOKENS, batch_size=512, micro_batch_size=8, devices=8)
CPU_RUN = Defaults("builtin", NIGHT_TOKENS, batch_size=32, micro_batch_size=32, devices=1)


@dataclass(frozen=True)
class Hardware:
    """A device: peak in FLOP/s and its source, bytes of memory, and dollars per hour, if published.

    `compute_bytes` is the item size of the dtype that the peak applies to.
    """

    name: str
    peak: float
    peak_basis: str
    peak_source: str
    memory: int
    utilisations: tuple[Utilisation, ...]
    dollars: float | None = None
    dollars_source: str = ""
    compute_bytes: int = 2
    defaults: Defaults = GPU_RUN


_LLM_C_XL = Utilisation(0.49, "llm.c, 1558M, 8 H100: 2.80 s for 1,048,576 tokens")
_H100 = (Utilisation(0.398, "autoresearch, 50M, one H100, PyTorch compiled"), _LLM_C_XL)
_A100 = (
    Utilisation(0.29, "nanoGPT, 124M, 8 A100: 300 billion tokens in 4 days"),
    Utilisation(0.38, "build-nanogpt, 124M, 8 A100: 1.1 million tokens per second"),
    Utilisation(0.60, "llm.c, 124M, 8 A100: 300 ms for 524,288 tokens"),
)
_BFLOAT16 = "NVIDIA, dense bfloat16"

PUBLISHED_HARDWARE = (
    Hardware(
        "a100", 312e12, "published", _BFLOAT16, 80 * GB, _A100, 1.58, "llm.c, 124M: about $20 for 95 minutes of 8 A100"
    ),
    Hardware("h100", 989e12, "published", _BFLOAT16, 80 * GB, _H100, 3.50, "llm.c, 1558M: $672 for 24 hours of 8 H100"),
    Hardware("h200", 989e12, "published", _BFLOAT16, 141 * GB, _H100),
)
CPU = "cpu"
NAMES = (*(hardware.name for hardware in PUBLISHED_HARDWARE), CPU)


def find_hardware(name: str) -> Hardware:
    """Return hardware by name; "cpu" is this machine, whose peak is measured now. Raises UsageError if it is unknown.

    >>> find_hardware("h100").memory
    80000000000
    """
    if name == CPU:
        return this_machine()
    found = next((hardware for hardware in PUBLISHED_HARDWARE if hardware.name == name), None)
    if found is None:
        raise UsageError(f"hardware must be one of {', '.join(NAMES)}, not {name!r}")
    return found


def this_machine() -> Hardware:
    """Measure this machine's float32 peak with NumPy matrix products, on as many threads as its BLAS uses.

    >>> machine = this_machine()
    >>> machine.name, machine.peak_basis, machine.peak > 1e8
    ('cpu', 'measured', True)
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    reached = (Utilisation(0.58, "nanoGPT's model, 124M, float32, two cores: 240 tokens per second of 0.32 TFLOP/s"),)
    source = "products of 1,024 x 1,024 matrices in float32, the fastest of several"
    return Hardware(
        CPU, matmul_peak(), "measured", source, memory, reached, compute_bytes=FLOAT32_BYTES, defaults=CPU_RUN
    )


def matmul_peak(size: int = 1024, seconds: float = 0.5) -> float:
    """Measure the FLOP/s of float32 matrix products for about `seconds`; return the fastest.

    >>> matmul_peak(size=64, seconds=0.01) > 1e6
    True
    """
    matrix = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    out = np.empty_like(matrix)
    times: list[float] = []
    np.matmul(matrix, matrix, out=out)  # wakes the threads
    while len(times) < 3 or sum(times) < seconds:
        start = perf_counter()
        np.matmul(matrix, matrix, out=out)
        times.append(perf_counter() - start)
    return 2 * size**3 / min(times)


def utilisations(hardware: Hardware, mfu: float | None) -> Sequence[tuple[Utilisation, str]]:
    """Return the utilisations to plan with and their basis: `mfu` if given, else the published ones.

    >>> utilisations(find_hardware("h100"), 0.5)
    [(Utilisation(mfu=0.5, source='--mfu'), 'assumed')]
    """
    if mfu is not None:
        return [(Utilisation(mfu, "--mfu"), "assumed")]
    if hardware.name == CPU:
        return [(reached, "assumed") for reached in hardware.utilisations]  # measured, but on another machine
    basis = "published" if hardware.dollars else "assumed"  # an H200 uses an H100's, which has the same compute units
    return [(reached, basis) for reached in hardware.utilisations]
