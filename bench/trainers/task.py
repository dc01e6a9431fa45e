"""The task of every trainer: batches of real text, a few steps to warm up, and a few that are timed."""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.tokenizer.fast import Tokenizer

DOCS = Path(__file__).parents[2] / "docs"
RATE = 6e-4
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
CLIP = 1.0


@dataclass(frozen=True)
class Task:
    """Steps to take with GPT-2 124M: AdamW, gradients clipped to a norm of 1, no dropout."""

    dtype: str
    n_ctx: int
    batch_size: int
    warm_up: int
    steps: int
    compile: bool
    fused: bool
    sampled_vocab: int
    optimizer: str

    @classmethod
    def from_arguments(cls) -> "Task":
        """Read the command line that `bench.train` writes, and set PyTorch's threads."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--dtype", default="float32")
        parser.add_argument("--n-ctx", type=int, default=1024)
        parser.add_argument("--batch-size", type=int, default=2)
        parser.add_argument("--warm-up", type=int, default=2)
        parser.add_argument("--steps", type=int, default=3)
        parser.add_argument("--threads", type=int, default=2)
        parser.add_argument("--compile", action="store_true")
        parser.add_argument("--fused", action="store_true")
        parser.add_argument("--sampled-vocab", type=int, default=0)
        parser.add_argument("--optimizer", default="adamw")
        options = vars(parser.parse_args())
        torch.set_num_threads(options.pop("threads"))
        torch.manual_seed(1)
        return cls(**options)

    @property
    def autocast(self) -> torch.autocast:
        """PyTorch's automatic bfloat16, as nanoGPT's train.py has it."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == "bfloat16")

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield inputs and targets, (batch_size, n_ctx) each, one step after the other."""
        ids = torch.from_numpy(text_ids().astype(np.int64))
        size = self.batch_size * self.n_ctx
        number = 0
        while True:
            start = number * size % (len(ids) - size)
            part = ids[start : start + size + 1]
            yield part[:-1].view(self.batch_size, -1), part[1:].view(self.batch_size, -1)
            number += 1

    def measure(self, step: Callable[[], float]) -> None:
        """Take all steps, and print the seconds of the timed ones and every loss."""
        losses = [step() for _ in range(self.warm_up)]
        clock = Clock()
        for _ in range(self.steps):
            clock.start()
            losses.append(step())
            clock.stop()
        report(clock, losses)


class Clock:
    """The seconds that steps took, and those of the processor in all threads: work beside them disturbs these less."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self._began = (0.0, 0.0)

    def start(self) -> None:
        """Begin a step."""
        self._began = (perf_counter(), process_time())

    def stop(self) -> None:
        """End it."""
        began, cpu_began = self._began
        self.seconds.append(perf_counter() - began)
        self.cpu_seconds.append(process_time() - cpu_began)


def text_ids() -> NDArray[np.uint32]:
    """Return the token ids of this project's documentation, some 100,000."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))]
    return np.array(Tokenizer.gpt2().encode("\n".join(texts)), np.uint32)


def report(clock: Clock, losses: list[float], n_warm_up: int = 0) -> None:
    """Print a result as `bench.train` reads it, without the first steps: the last line of standard output."""
    times = {"seconds": clock.seconds[n_warm_up:], "cpu_seconds": clock.cpu_seconds[n_warm_up:]}
    print(json.dumps(times | {"losses": losses, "torch": torch.__version__}))
