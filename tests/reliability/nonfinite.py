"""Check that a NaN or an infinity stops a run by step and tensor and costs no checkpoint, wherever it comes up.

A trial trains for some steps, puts one such number in one place of one tensor, and trains on.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cutaway.errors import RunError
from cutaway.training.loop import Silent, run_to_end
from cutaway.training.runs import RunDirectory
from cutaway.training.trainer import Trainer
from tests.reliability.harness import Result, scratch
from tests.training.runs_of import make_trainer

_VALUES = (float("nan"), float("inf"), float("-inf"))
_STEPS = 20


@dataclass(frozen=True)
class Injection:
    """A number that is not finite, and the element `index` of the parameter `name` that it comes to."""

    name: str
    index: int
    value: float

    def into(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor with the number in it."""
        spoilt = tensor.detach().clone()
        spoilt.view(-1)[self.index % spoilt.numel()] = self.value
        return spoilt


def _into_weights(trainer: Trainer, injection: Injection) -> str:
    weight = trainer.parameters[injection.name]
    weight.data = injection.into(weight)
    return injection.name


def _into_gradient(trainer: Trainer, injection: Injection) -> str:
    trainer.parameters[injection.name].register_hook(injection.into)  # type: ignore[no-untyped-call]
    return f"the gradient of {injection.name}"


def _into_loss(trainer: Trainer, injection: Injection) -> str:
    forward = trainer.forward
    trainer.forward = lambda *inputs: forward(*inputs) * injection.value  # type: ignore[assignment]
    return "the loss"


def _into_update(trainer: Trainer, injection: Injection) -> str:
    """Let the optimizer overflow, in the last step before a checkpoint is due."""
    step = trainer.optimizer.step

    def overflow(rate: float, momentum: float) -> None:
        step(rate, momentum)
        _into_weights(trainer, injection)

    trainer.optimizer.step = overflow  # type: ignore[method-assign]
    return injection.name


_PLACES: dict[str, Callable[[Trainer, Injection], str]] = {
    "weights": _into_weights,
    "gradient": _into_gradient,
    "loss": _into_loss,
    "update": _into_update,
}


def injected_numbers(trials: int, seed: int = 1) -> Result:
    """Inject numbers that are not finite, each trial in another place."""
    generator = random.Random(seed)
    result = Result()
    torch.set_num_threads(1)
    for trial in range(trials):
        place = list(_PLACES)[trial % len(_PLACES)]
        name = generator.choice(list(make_trainer().parameters))
        injection = Injection(name, generator.randrange(10**6), _VALUES[trial % len(_VALUES)])
        after = generator.randrange(4, _STEPS)
        with scratch() as directory:
            problems = _problems(directory, place, injection, after)
        result.add(f"trial {trial} of seed {seed}, {injection} into the {place} after step {after}", problems)
    return result


def _problems(directory: Path, place: str, injection: Injection, after: int) -> list[str]:
    trainer = make_trainer(eval_every=2, save_every=1, keep_last=2)
    culprit = ""
    files: dict[str, str] = {}
    take = trainer.step

    def step() -> object:
        nonlocal culprit
        if trainer.steps == after:
            files.update(_files(directory))
            culprit = _PLACES[place](trainer, injection)
        return take()

    trainer.step = step  # type: ignore[method-assign,assignment]
    with RunDirectory.open(directory) as run:
        try:
            run_to_end(trainer, run, Silent())
        except RunError as error:
            said = str(error)
        else:
            return ["the run went on"]
        best = trainer.best
        left = _files(directory)
        newest = run.newest()
    problems = [] if newest and newest.step == after else [f"the newest checkpoint is not that of step {after}"]
    problems += [f"{path} is another or gone" for path, digest in files.items() if left.get(path) != digest]
    if best is None or not (directory / "checkpoints" / f"step-{best[0]:08d}").exists():
        problems.append("the best checkpoint is gone")
    step_named = f"step {after + 1}:" in said or f"step-{after + 1:08d}" in said  # of the checkpoint that was due
    named = culprit in said and step_named and "\n" not in said
    return problems if named else [*problems, f"{culprit}, step {after + 1}: {said!r}"]


def _files(directory: Path) -> dict[str, str]:
    paths = [path for path in (directory / "checkpoints").rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
