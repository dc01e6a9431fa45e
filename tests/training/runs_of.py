"""Small runs for tests: a vocabulary of 40 tokens, a model of 16, batches of 4 sequences of 8."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cutaway.config import GPT2Config
from cutaway.data.batches import Batch, Windows, evaluation_windows
from cutaway.data.dataset import Split
from cutaway.engines.pytorch.model import GPT2
from cutaway.training.config import TrainingConfig
from cutaway.training.distributed import ALONE, World
from cutaway.training.held_out import Validation
from cutaway.training.trainer import Trainer

SHAPE = GPT2Config(n_vocab=40, n_ctx=8, n_embd=16, n_head=2, n_layer=2)
CONFIG = TrainingConfig(
    n_layer=2,
    n_head=2,
    n_embd=16,
    n_ctx=8,
    batch_size=4,
    max_steps=20,
    warmup_steps=3,
    lr=0.02,
    matrix_lr=0.02,
    eval_every=0,
    device="cpu",
)


def documents(count: int = 30, seed: int = 0) -> Split:
    """Return documents in which each token is mostly one more than the last, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 14, count)
    starts = rng.integers(1, 40, count)
    return Split.from_documents(
        [[0, *((start + np.arange(n) + (rng.random(n) < 0.1)) % 40)] for start, n in zip(starts, lengths, strict=True)]
    )


def make_trainer(config: TrainingConfig = CONFIG, *, world: World = ALONE, **changes: Any) -> Trainer:
    """Return a trainer of a fresh model on `documents`."""
    config = replace(config, **changes)
    dtype = None if config.dtype == "float32" else getattr(torch, config.dtype)
    model = GPT2(
        SHAPE,
        dropout=config.dropout,
        compute_dtype=dtype,
        activation_checkpointing=config.activation_checkpointing,
    )
    model.initialise(config.seed)
    source = Windows([documents()], [1.0], config.seed)
    held = documents(8, seed=1)

    def windows(n_ctx: int) -> Sequence[Batch]:
        return evaluation_windows(held, n_ctx, 7 * n_ctx)  # an odd number

    return Trainer(config, model, source, validation=[Validation(windows, 4.0)], frequent=torch.arange(4), world=world)


def state_of(trainer: Trainer) -> dict[str, bytes]:
    """Return all that a trainer computes with, by name, to compare bit for bit."""
    weights = {f"weight.{name}": p.detach().numpy() for name, p in trainer.model.named_parameters()}
    return {name: array.tobytes() for name, array in (weights | trainer.arrays()).items()}
