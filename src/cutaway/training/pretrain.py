"""The short loop that makes the built-in model: one GPT-2 from scratch, on one processor or one GPU.

    python -m cutaway.training.pretrain --data DIR --out RUN --mixture stories=15,books=8

Matrices of the blocks learn with Muon, everything else with AdamW. A run that is stopped (Ctrl-C, a signal, a crash)
resumes from its last save, bit for bit on the same kind of machine with the same threads: batch k, its sample of the
vocabulary and the schedule are functions of the recipe and k alone. With --max-time the schedule follows the clock
instead, for a machine that is lent for some minutes.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.checkpoints import ArrayWeights, save_checkpoint
from cutaway.checks import check_float, check_int
from cutaway.data.mixture import Mixture, Part
from cutaway.data.shards import Ids, open_shard
from cutaway.errors import CutawayError, UsageError, guarded
from cutaway.training.averaging import TailAverage
from cutaway.training.forward import Forward, initial_parameters
from cutaway.training.losses import CrossEntropy, SampledVocabulary
from cutaway.training.muon import NorMuon
from cutaway.training.recipe import Recipe
from cutaway.untrusted import quote, read_object

END_OF_TEXT = 50256
AVERAGE_FROM = 0.87  # share of the run
VALID_ROWS = 64
SHAPE = ("n_layer", "n_head", "n_embd", "n_ctx", "rows", "short", "short_tokens", "seed")


@dataclass(frozen=True)
class Machine:
    """The device and the arithmetic of a run, which change its last bits and its speed only."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    compiled: bool = False
    chunk: int = 512  # tokens whose logits are in memory at a time


def open_mixture(data: Path, rows: dict[str, int]) -> Mixture:
    """Open the shards NAME.npy or NAME-0.npy, NAME-1.npy, ... of each part in a directory."""
    parts = {}
    for number, name in enumerate(rows):
        paths = [path for path in [data / f"{name}.npy"] if path.exists()] or sorted(data.glob(f"{name}-[0-9].npy"))
        if not paths:
            raise UsageError(f"{data}: no shard {name}.npy; write one with python -m cutaway.data.prepare")
        parts[name] = Part(paths, number, END_OF_TEXT)
    return Mixture(parts, rows)


class Run:
    """Parameters, optimizers and the step of a run, saved in one directory."""

    def __init__(self, recipe: Recipe, mixture: Mixture, directory: Path, machine: Machine = Machine()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.recipe = recipe
        self.mixture = mixture
        self.directory = directory
        self.machine = machine
        self.config = recipe.config()
        drawn = initial_parameters(self.config, recipe.seed)
        p = {name: value.to(machine.device).requires_grad_() for name, value in drawn.items()}
        self.parameters = p
        self.forward = Forward(self.config, p, machine.dtype, compiled=machine.compiled)
        self.cross_entropy = CrossEntropy(machine.chunk, compiled=machine.compiled)
        matrices = {name: v for name, v in p.items() if v.ndim == 2 and name.startswith("h.")}
        self.muon = NorMuon(matrices, machine.dtype)
        tables = [p["wte.weight"], p["wpe.weight"]]
        vectors = [v for v in p.values() if v.ndim == 1]
        groups = [{"params": tables, "peak": recipe.table_lr}, {"params": vectors, "peak": recipe.vector_lr}]
        self.adamw = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0, fused=True)
        self.average = TailAverage()
        counts = mixture.counts(self.config.n_vocab)
        self.frequent = torch.from_numpy(np.argsort(-counts, kind="stable")[: recipe.frequent].copy())
        self.step = 0

    def progress(self) -> float:
        """Return the share of the run's tokens that have been read."""
        return self.recipe.seen(self.step) / self.recipe.tokens

    def advance(self, progress: float | None = None) -> float:
        """Take one step and return its loss in nats a token.

        `progress` places the step in the schedule; by default it is the share of tokens read. Raises CutawayError if
        the gradient is not finite; parameters and optimizers are then as they were before the step.
        """
        recipe = self.recipe
        progress = self.progress() if progress is None else progress
        loss = self._loss(recipe.samples_vocabulary(progress))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        if not math.isfinite(float(norm)):
            raise CutawayError(f"step {self.step}: the gradient is not finite; resume with a lower learning rate")
        rate = recipe.rate(self.step, progress)
        self.muon.step(recipe.matrix_lr * rate, recipe.momentum(self.step), recipe.weight_decay)
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * rate
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        for parameter in self.muon.parameters.values():
            parameter.grad = None
        if progress >= AVERAGE_FROM:
            self.average.update(self.parameters)
        self.step += 1
        return float(loss.detach())

    def _loss(self, sampled: bool) -> Tensor:
        recipe = self.recipe
        length = recipe.length(self.step)
        batch = self.mixture.batch(recipe.seed, recipe.batch_number(self.step), length)
        ids, targets = (torch.from_numpy(np.ascontiguousarray(part)).to(self.machine.device) for part in batch)
        targets = targets.flatten()
        table = self.parameters["wte.weight"]
        if not sampled:
            return self.cross_entropy(self.forward.hidden(ids), table, targets)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
        sample = SampledVocabulary(self.config.n_vocab, targets, self.frequent, recipe.negatives, generator)
        return self.cross_entropy.sampled(self.forward.hidden(ids), table, targets, sample)

    @torch.no_grad()
    def validation_loss(self, ids: NDArray[np.uint16]) -> float:
        """Return the mean loss in nats a token on windows spread evenly over a shard of held-out text."""
        length = self.recipe.length(self.step)
        starts = np.linspace(0, len(ids) - length - 1, VALID_ROWS).astype(np.int64)
        windows = np.stack([ids[start : start + length + 1].astype(np.int64) for start in starts])
        losses = [self._validate(part) for part in np.split(windows, 4)]
        return sum(losses) / len(losses)

    def _validate(self, windows: Ids) -> float:
        ids = torch.from_numpy(windows).to(self.machine.device)
        hidden = self.forward.hidden(ids[:, :-1].contiguous())
        return float(self.cross_entropy(hidden, self.parameters["wte.weight"], ids[:, 1:].flatten()))

    def save(self) -> None:
        """Write the whole state to state.npz; the old file stays until the new one is complete."""
        arrays = {f"model.{name}": p.detach() for name, p in self.parameters.items()}
        arrays |= {f"momentum.{name}": value for name, value in self.muon.momentum.items()}
        arrays |= {f"second.{name}": value for name, value in self.muon.second.items()}
        arrays |= {f"average.{name}": value for name, value in self.average.values.items()}
        for index, state in self.adamw.state_dict()["state"].items():
            arrays |= {f"adam.{index}.{key}": value for key, value in state.items()}
        temporary = self.directory / "state.tmp.npz"
        with temporary.open("wb") as file:
            stored = {name: value.cpu().numpy() for name, value in arrays.items()}
            np.savez(file, step=np.array(self.step), **stored)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.directory / "state.npz")

    def resume(self) -> bool:
        """Restore the last save; False if there is none."""
        path = self.directory / "state.npz"
        if not path.exists():
            return False
        with np.load(path, allow_pickle=False) as saved, torch.no_grad():
            self.step = int(saved["step"])
            stores = {"model": self.parameters, "momentum": self.muon.momentum, "second": self.muon.second}
            for prefix, store in stores.items():
                for name, value in store.items():
                    value.copy_(torch.from_numpy(saved[f"{prefix}.{name}"]))
            averaged = [name for name in saved.files if name.startswith("average.")]
            self.average.values = {name.removeprefix("average."): self._tensor(saved[name]) for name in averaged}
            self._resume_adamw(saved)
        return True

    def _resume_adamw(self, saved: "np.lib.npyio.NpzFile") -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name in (name for name in saved.files if name.startswith("adam.")):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = self._tensor(saved[name])
        self.adamw.load_state_dict({"state": state, "param_groups": self.adamw.state_dict()["param_groups"]})

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array.copy()).to(self.machine.device)

    def weights(self) -> ArrayWeights:
        """Return the weights to keep: near the end of a run blended with the average of the last steps."""
        blended = self.average.blend(self.parameters)
        return ArrayWeights(self.config, {name: value.float().cpu().numpy() for name, value in blended.items()})


def train(run: Run, valid: dict[str, NDArray[np.uint16]], options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Train to the end, or until a signal; saves and measures on the way, and yields an event for each step."""
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stopped.append(received))
    began = time.monotonic()
    saved = began

    def progress() -> float:
        spent: float = (time.monotonic() - began) / options.max_time
        return max(run.progress(), spent)

    while progress() < 1 and not stopped:
        started = time.monotonic()
        loss = run.advance(progress())
        seconds = time.monotonic() - started
        event: dict[str, object] = {"step": run.step, "tokens": run.recipe.seen(run.step), "loss": round(loss, 4)}
        if run.step % options.validate == 0 or progress() >= 1:
            event["valid"] = {name: round(run.validation_loss(ids), 4) for name, ids in valid.items()}
        if time.monotonic() - saved > 60 * options.save_minutes:
            run.save()
            saved = time.monotonic()
        yield {**event, "seconds": round(seconds, 3)}
    run.save()


def parse_mixture(text: str) -> dict[str, int]:
    """Read rows a batch by part. Raises UsageError for another form.

    >>> parse_mixture("stories=15,books=8")
    {'stories': 15, 'books': 8}
    """
    rows = {}
    for entry in text.split(","):
        name, _, count = entry.partition("=")
        if not name or not count.isdecimal():
            raise UsageError(f"--mixture must look like stories=15,books=8, not {text!r:.60}")
        rows[name] = check_int(f"rows of {name}", int(count), 1)
    return rows


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m cutaway.training.pretrain", description="Train a GPT-2 from scratch."
    )
    parser.add_argument("--data", type=Path, required=True, help="directory of shards: NAME.npy and NAME-valid.npy")
    parser.add_argument("--mixture", required=True, help="rows of a batch from each part, as in stories=15,books=8")
    parser.add_argument("--out", type=Path, required=True, help="run directory; resumes if it exists")
    parser.add_argument("--valid", default="stories,books", help="parts to measure on; default: %(default)s")
    parser.add_argument("--validate", type=int, default=250, help="steps between measurements; default: %(default)s")
    parser.add_argument("--save-minutes", type=float, default=4, help="minutes between saves; default: %(default)s")
    parser.add_argument("--max-time", type=float, default=math.inf, help="seconds that the schedule fits into")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; default: %(default)s")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of matrix products")
    parser.add_argument("--compile", action="store_true", help="fuse with torch.compile, which needs a C++ compiler")
    parser.add_argument("--chunk", type=int, default=512, help="tokens whose logits are in memory at a time")
    for field in fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default, help="default: %(default)s")
    return parser.parse_args(given)


def check_recipe(recipe: Recipe, mixture: dict[str, int], directory: Path) -> None:
    """Refuse to resume a run with another shape, mixture or seed; rates and lengths may change on the way."""
    if sum(mixture.values()) != recipe.rows:
        raise UsageError(f"the mixture has {sum(mixture.values())} rows, the recipe {recipe.rows}: make them equal")
    if not (directory / "state.npz").exists():
        return
    begun = read_object(directory / "recipe.json")
    wanted = {name: getattr(recipe, name) for name in SHAPE} | {"mixture": mixture}
    for name, value in wanted.items():
        if begun.get(name) != value:
            raise UsageError(
                f"{directory}: the run has {name} {quote(begun.get(name))}, not {value}; use another --out"
            )


def check_lengths(recipe: Recipe, mixture: Mixture, valid: dict[str, NDArray[np.uint16]]) -> None:
    """Raise UsageError for a shard that is too short for the run, before anything is written."""
    for length in (recipe.length(0), recipe.n_ctx):
        mixture.batch(recipe.seed, 0, length)
    for name, ids in valid.items():
        if len(ids) <= recipe.n_ctx:
            raise UsageError(f"{name}-valid.npy: {len(ids)} tokens are too few for a window of {recipe.n_ctx + 1}")


def main(given: Sequence[str] | None = None) -> None:
    """Train, and leave a Hugging Face checkpoint in RUN/checkpoint."""
    options = arguments(given)
    recipe = Recipe(**{field.name: getattr(options, field.name) for field in fields(Recipe)})
    check_int("validate", options.validate, 1)
    check_float("save_minutes", options.save_minutes, 0, 1e6)
    if options.max_time != math.inf:
        check_float("max_time", options.max_time, 1, 1e9)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("PyTorch finds no CUDA device here; train with --device cpu")
    rows = parse_mixture(options.mixture)
    check_recipe(recipe, rows, options.out)
    mixture = open_mixture(options.data, rows)
    valid = {name: open_shard(options.data / f"{name}-valid.npy") for name in options.valid.split(",")}
    check_lengths(recipe, mixture, valid)
    torch.set_num_threads(check_int("threads", options.threads, 1))
    torch.set_float32_matmul_precision("high")
    machine = Machine(options.device, getattr(torch, options.dtype), options.compile, options.chunk)
    run = Run(recipe, mixture, options.out, machine)
    resumed = run.resume()
    told = asdict(recipe) | {"mixture": rows}
    (options.out / "recipe.json").write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps({"parameters": run.config.n_params, "resumed": resumed, "step": run.step}), flush=True)
    with (options.out / "log.jsonl").open("a") as log:
        for event in train(run, valid, options):
            line = json.dumps(event)
            print(line, flush=True)
            log.write(line + "\n")
            log.flush()
    save_checkpoint(options.out / "checkpoint", run.weights(), overwrite=True)


if __name__ == "__main__":
    sys.exit(guarded(main))
