"""The short loop that makes the first built-in model: one GPT-2 from scratch, on one machine, over token shards.

Matrices of the blocks learn with Muon, everything else with AdamW; the learning rate warms up, stays, and falls
linearly to zero. On a CPU most of a small model's work is the output matrix over 50,257 tokens, so the loss is taken
over a sample of the vocabulary (`sampled_loss`), and over all of it in the last steps only. A run that is stopped goes
on from its last save.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.checkpoints import ArrayWeights, save_checkpoint
from cutaway.checks import real, whole
from cutaway.config import GPT2Config
from cutaway.data.shards import Corpus
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import UsageError, guarded
from cutaway.training.muon import Muon
from cutaway.untrusted import read_object, shown


@dataclass(frozen=True)
class Recipe:
    """All that decides what a run computes."""

    n_ctx: int = 512
    n_embd: int = 192
    n_head: int = 6
    n_layer: int = 8
    batch_size: int = 8
    steps: int = 3000
    warmup: int = 100
    decay: int = 900
    full: int = 100
    lr: float = 2e-3
    weight_decay: float = 0.05
    frequent: int = 4096
    drawn: int = 2048
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "warmup", "decay"):
            whole(name, getattr(self, name), 1)
        for name in ("full", "frequent", "drawn", "seed"):
            whole(name, getattr(self, name), 0)
        for name in ("lr", "weight_decay"):
            real(name, getattr(self, name), 0, 100)
        self.config()  # which looks after the shape

    def config(self) -> GPT2Config:
        return GPT2Config(n_ctx=self.n_ctx, n_embd=self.n_embd, n_head=self.n_head, n_layer=self.n_layer)

    def rate(self, step: int) -> float:
        """Learning rate of a step: warm up, stay, fall to zero over the last `decay` steps."""
        return self.lr * min(1.0, (step + 1) / self.warmup, (self.steps - step) / self.decay)

    def samples_vocabulary(self, step: int) -> bool:
        """Whether the loss is over a sample of the vocabulary: in all but the last `full` steps."""
        return step < self.steps - self.full


def sampled_loss(
    model: GPT2, ids: Tensor, targets: Tensor, frequent: Tensor, n_drawn: int, generator: torch.Generator
) -> Tensor:
    """Cross-entropy with the softmax's sum estimated: this batch's targets and the frequent tokens, plus a draw of
    the others.

    Each drawn token stands for all that were not drawn, so its term counts as many times: the estimate of the sum is
    unbiased.
    """
    known = torch.zeros(model.config.n_vocab, dtype=torch.bool)
    known[frequent] = True
    known[targets.flatten()] = True
    others = (~known).nonzero().flatten()
    drawn = others[torch.randperm(len(others), generator=generator)[:n_drawn]]
    kept = torch.cat([known.nonzero().flatten(), drawn])
    place = torch.empty(model.config.n_vocab, dtype=torch.long)
    place[kept] = torch.arange(len(kept))
    logits = F.linear(model.hidden(ids).flatten(0, 1), model.lm_head.weight.index_select(0, kept))  # (B*T, kept)
    stands_for = torch.zeros(len(kept))
    stands_for[len(kept) - len(drawn) :] = math.log(len(others) / max(1, len(drawn)))
    return F.cross_entropy(logits + stands_for, place[targets.flatten()])


class Run:
    """A recipe on its way: model, optimizers, step; saved in one directory that a later call goes on from."""

    def __init__(self, recipe: Recipe, corpus: Corpus, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.recipe, self.corpus, self.directory = recipe, corpus, directory
        self.model = GPT2(recipe.config())
        self.model.initialise(recipe.seed)
        in_blocks = [p for n, p in self.model.named_parameters() if p.ndim == 2 and n.startswith("h.")]
        others = [p for n, p in self.model.named_parameters() if p.ndim != 2 or not n.startswith("h.")]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(in_blocks, weight_decay=recipe.weight_decay),
            torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        ]
        counts = np.bincount(np.concatenate([shard[:4_000_000] for shard in corpus.shards]), minlength=50257)
        self.frequent = torch.from_numpy(np.argsort(-counts, kind="stable")[: recipe.frequent].copy())
        self.step = 0

    def advance(self) -> float:
        """One step; returns its loss in nats a token."""
        recipe = self.recipe
        ids, targets = map(torch.from_numpy, self.corpus.batch(recipe.seed, self.step, recipe.batch_size, recipe.n_ctx))
        if recipe.samples_vocabulary(self.step):
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
            loss = sampled_loss(self.model, ids, targets, self.frequent, recipe.drawn, generator)
        else:
            loss = self.model.loss(ids, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(self.step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())

    def save(self) -> None:
        """Write model and optimizer state; what was saved before stays whole until the new is."""
        arrays = {f"model.{name}": array for name, array in self.model.export().items()}
        for number, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                arrays |= {f"optimizer.{number}.{index}.{key}": np.asarray(value) for key, value in state.items()}
        temporary = self.directory / "state.tmp.npz"
        with temporary.open("wb") as file:
            np.savez(file, step=np.array(self.step), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.directory / "state.npz")

    def resume(self) -> bool:
        """Go on from the last save, if there is one."""
        path = self.directory / "state.npz"
        if not path.exists():
            return False
        with np.load(path, allow_pickle=False) as saved:
            self.step = int(saved["step"])
            config = self.model.config
            self.model.load(ArrayWeights(config, {name: saved[f"model.{name}"] for name in config.tensor_shapes()}))
            for number, optimizer in enumerate(self.optimizers):
                self._resume_optimizer(number, optimizer, saved)
        return True

    def _resume_optimizer(self, number: int, optimizer: torch.optim.Optimizer, saved: "np.lib.npyio.NpzFile") -> None:
        prefix = f"optimizer.{number}."
        state: dict[int, dict[str, Tensor]] = {}
        for name in (name for name in saved.files if name.startswith(prefix)):
            index, key = name.removeprefix(prefix).split(".")
            state.setdefault(int(index), {})[key] = torch.from_numpy(saved[name].copy())
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


@torch.no_grad()
def validation_loss(model: GPT2, valid: Corpus, batches: int = 16) -> float:
    """Mean loss in nats a token over fixed windows."""
    losses = []
    for step in range(batches):
        ids, targets = map(torch.from_numpy, valid.batch(0, step, 2, model.config.n_ctx))
        losses.append(float(model.loss(ids, targets)))
    return sum(losses) / len(losses)


def events(run: Run, valid: Corpus, every: int) -> Iterator[dict[str, float]]:
    """Train to the end, saving and measuring `every` steps; yields what is worth printing of each step."""
    tokens_a_step = run.recipe.batch_size * run.recipe.n_ctx
    seconds: list[float] = []
    while run.step < run.recipe.steps:
        began = time.monotonic()
        event = {"loss": round(run.advance(), 4)}
        if run.step % every == 0 or run.step == run.recipe.steps:
            run.save()
            event["valid_loss"] = round(validation_loss(run.model, valid), 4)
        seconds = [*seconds[-49:], time.monotonic() - began]
        mean = sum(seconds) / len(seconds)
        yield {
            "step": run.step,
            **event,
            "seconds": round(seconds[-1], 3),
            "tokens_per_second": round(tokens_a_step / mean),
            "minutes_left": round((run.recipe.steps - run.step) * mean / 60, 1),
        }


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m cutaway.training.pretrain", description="Train a GPT-2 from scratch."
    )
    parser.add_argument("--train", nargs="+", type=Path, required=True, help="shards to learn from")
    parser.add_argument("--valid", nargs="+", type=Path, required=True, help="shards to measure on")
    parser.add_argument("--out", type=Path, required=True, help="directory of the run; one that exists is gone on with")
    parser.add_argument("--save-every", type=int, default=100, help="steps between saves and validations (default 100)")
    for field in fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default, help=f"default {field.default}")
    return parser.parse_args(given)


def check_shape(recipe: Recipe, directory: Path) -> None:
    """Refuse to go on with a run of another shape; steps, rates and samples may change on the way."""
    if not (directory / "state.npz").exists():
        return
    begun = read_object(directory / "recipe.json")
    for name in ("n_ctx", "n_embd", "n_head", "n_layer"):
        if begun.get(name) != getattr(recipe, name):
            told = f"{name} {shown(begun.get(name))}, not {getattr(recipe, name)}"
            raise UsageError(f"{directory}: the run there has {told}: go on with that, or choose another --out")


def main(given: Sequence[str] | None = None) -> None:
    """Train, and leave a checkpoint in the run's directory."""
    options = arguments(given)
    recipe = Recipe(**{field.name: getattr(options, field.name) for field in fields(Recipe)})
    whole("save_every", options.save_every, 1)
    check_shape(recipe, options.out)
    train, valid = Corpus(options.train), Corpus(options.valid)
    for corpus in (train, valid):
        corpus.batch(0, 0, 1, recipe.n_ctx)  # a shard that is too short is refused now, not at the first save
    run = Run(recipe, train, options.out)
    (options.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    print(json.dumps({"parameters": recipe.config().n_params, "resumed": run.resume(), "step": run.step}))
    with (options.out / "log.jsonl").open("a") as log:
        for event in events(run, valid, options.save_every):
            line = json.dumps(event)
            print(line, flush=True)
            log.write(line + "\n")
            log.flush()
    save_checkpoint(options.out / "checkpoint", ArrayWeights(run.model.config, run.model.export()), overwrite=True)


if __name__ == "__main__":
    sys.exit(guarded(main))
