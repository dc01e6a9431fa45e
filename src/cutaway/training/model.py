"""The model of a run on its device."""

import os
import shutil
import sys

import torch

from cutaway.checkpoints import Weights
from cutaway.config import GPT2Config
from cutaway.engines.pytorch.engine import best_device
from cutaway.engines.pytorch.model import GPT2, NoInit
from cutaway.errors import EngineError, UsageError
from cutaway.training.config import TrainingConfig
from cutaway.training.distributed import World
from cutaway.training.memory import limit_primitive_cache
from cutaway.untrusted import quote, quote_name


def find_device(name: str) -> torch.device:
    """Return a device by name; "auto" is CUDA if available, else the CPU. Raises UsageError if it is missing.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if best_device() == "cuda" else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        raise UsageError(f"PyTorch finds no device {quote(name)} here; train with --device cpu") from None


def process_device(name: str, threads: int | None, world: World) -> torch.device:
    """Select and return this process's device, and set the number of CPU threads; None keeps PyTorch's default.

    Raises UsageError if a machine has too few GPUs.

    >>> process_device("cpu", None, World(rank=1, size=2, local_rank=1))
    device(type='cpu')
    """
    device = find_device(name)
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cpu":
        limit_primitive_cache()
    if device.type != "cuda" or world.size == 1:
        return device
    count = torch.cuda.device_count()
    if world.local_rank >= count:
        raise UsageError(f"{count} GPUs are too few here: start one process for each with --nproc-per-node {count}")
    torch.cuda.set_device(world.local_rank)
    return torch.device("cuda", world.local_rank)


def check_compiler(device: torch.device) -> None:
    """Raise EngineError if torch.compile would find no C++ compiler, which it needs on a CPU.

    >>> check_compiler(torch.device("meta"))
    """
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # torch.compile's choice
    if device.type == "cpu" and shutil.which(name) is None:
        raise EngineError(f"--compile needs a C++ compiler, and there is no {quote_name(name)}: leave out --compile")


def make_model(config: TrainingConfig, shape: GPT2Config, device: torch.device, init: Weights | None) -> GPT2:
    """Make the model of a run on its device, with GPT-2's random initialisation or the weights of a checkpoint.

    >>> shape = GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=1)
    >>> make_model(TrainingConfig(), shape, torch.device("cpu"), init=None).wpe.weight.shape
    torch.Size([4, 2])
    """
    with torch.device(device), NoInit():
        model = GPT2(
            shape,
            dropout=config.dropout,
            compute_dtype=None if config.dtype == "float32" else getattr(torch, config.dtype),
            activation_checkpointing=config.activation_checkpointing,
        )
    if init is None:
        model.initialise(config.seed)
    else:
        model.load(init)
    return model
