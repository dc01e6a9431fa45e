"""One of several processes that train small models together, started by torchrun; process 0 writes what came of it."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutaway.checkpoints.safetensors import write_arrays
from cutaway.errors import RunError
from cutaway.training.distributed import World, joined
from cutaway.training.signals import StopSignals
from cutaway.training.trainer import Trainer
from tests.training.runs_of import make_trainer

STEPS = 8
RUNS: Mapping[str, Mapping[str, Any]] = {  # one row at a time, so that both of a process's rows are accumulated
    "muon": {"micro_batch_size": 1, "max_steps": STEPS, "average": 0.5, "sampled_vocab": 30, "full_softmax": 0.5},
    "adamw": {"micro_batch_size": 1, "max_steps": STEPS, "optimizer": "adamw", "dropout": 0.1},
}


def train(trainer: Trainer) -> dict[str, list[float]]:
    """Take all steps, and evaluate after each."""
    done = []
    valid = []
    for _ in range(STEPS):
        done.append(trainer.step())
        valid.append(float(str(trainer.evaluate()["valid_loss"])))
    numbers = {"loss": [s.loss for s in done], "grad_norm": [s.grad_norm for s in done], "valid_loss": valid}
    return numbers | {"tokens": [float(trainer.tokens)]}


def arrays_of(trainer: Trainer) -> dict[str, np.ndarray[Any, Any]]:
    """Return all that a trainer computes with, by name, in process 0."""
    gathered = dict(trainer.world.gather(trainer.model.tensors()))
    return {f"weight.{name}": tensor.numpy() for name, tensor in gathered.items()} | trainer.arrays()


def run(world: World, out: Path, changes: Mapping[str, Any]) -> None:
    """Train a model; process 0 writes its numbers and all that it computed with."""
    trainer = make_trainer(world=world, **changes)
    numbers = train(trainer)
    arrays = arrays_of(trainer)
    if world.is_first:
        out.with_suffix(".json").write_text(json.dumps(numbers))
        write_arrays(out.with_suffix(".safetensors"), arrays)


def refusal(world: World) -> str:
    """Return the complaint about a weight that is not finite in the last process alone."""
    trainer = make_trainer(world=world)
    if world.rank == world.size - 1:
        with torch.no_grad():
            trainer.parameters["h.1.ln_2.bias"].fill_(float("nan"))
    try:
        trainer.step()
    except RunError as error:
        return str(error)
    return ""


def agreement(world: World) -> list[object]:
    """Return what processes agree on that all are to stop, of which the last is to save, and that differ in numbers."""
    signals = StopSignals(print)
    signals.received = signal.SIGTERM
    signals.wants_save = world.rank == world.size - 1
    request = world.agree(signals)
    return [request.stop, request.save, world.largest(world.rank, -world.rank), world.first([None, f"{world.rank}"])]


def main(out: Path) -> None:
    """Train all runs, with DDP and with FSDP."""
    torch.set_num_threads(1)
    with joined("ddp") as joined_world:
        (out / f"agreement-{joined_world.rank}.json").write_text(json.dumps(agreement(joined_world)))
        for parallel in ("ddp", "fsdp"):
            world = replace(joined_world, parallel=parallel)
            for name, changes in RUNS.items():
                run(world, out / f"{parallel}-{name}", changes)
            (out / f"{parallel}-refusal-{world.rank}.txt").write_text(refusal(world))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # PyTorch's threads now and then abort an interpreter that ends after several groups
