"""nanoGPT's model and optimizer in the loop of its train.py: autocast, AdamW, clipping."""

import sys
from typing import Any

import torch

from bench.engines import PEERS
from bench.trainers.task import BETAS, CLIP, RATE, WEIGHT_DECAY, Task

SOURCE = PEERS / "nanoGPT"


def main() -> None:
    """Train on the text."""
    sys.path.insert(0, str(SOURCE))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    task = Task.from_arguments()
    model: Any = GPT(GPTConfig(vocab_size=50257, block_size=task.n_ctx))
    optimizer = model.configure_optimizers(WEIGHT_DECAY, RATE, BETAS, "cpu")
    if task.fused:  # which its own code chooses on a GPU only
        optimizer = torch.optim.AdamW(optimizer.param_groups, lr=RATE, betas=BETAS, fused=True)
    forward = torch.compile(model) if task.compile else model
    batches = task.batches()

    def step() -> float:
        inputs, targets = next(batches)
        with task.autocast:
            _, loss = forward(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss)

    task.measure(step)


if __name__ == "__main__":
    main()
