"""A small random model for evaluation, its files, and transformers' losses to compare with."""

from pathlib import Path

import torch

from cutaway import Tokenizer
from cutaway.engines.reference import ReferenceEngine
from cutaway.evaluation.paper_tasks import Metric, PaperTask, Result
from cutaway.model import Model
from tests.tiny import peer_logits, peer_model, tiny_weights

WEIGHTS = tiny_weights(n_vocab=50257, n_ctx=64, n_embd=12, n_head=3)
MODEL = Model(ReferenceEngine(WEIGHTS), WEIGHTS, Tokenizer.gpt2(), "tiny")
PEER = peer_model(WEIGHTS)


def ids(text: str) -> list[int]:
    return Tokenizer.gpt2().encode(text)


def peer_losses(tokens: list[int]) -> list[float]:
    """transformers' loss (nats) of each token after the first, in one window."""
    logits = torch.from_numpy(peer_logits(PEER, tokens[:-1]))
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:]), reduction="none")
    return [float(loss) for loss in losses]


def evaluate(task: PaperTask, path: Path, data: str | bytes, stride: int | None = None) -> Result:
    """Write a task's file and score it."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return task.evaluate(MODEL, path, stride)[1]


def metric(result: Result, name: str) -> Metric:
    return next(each for each in result.metrics if each.name == name)
