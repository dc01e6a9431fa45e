"""Measure training of GPT-2 124M with Cutaway's trainer, nanoGPT's model and transformers' Trainer, in turns.

    bench/setup_peers.sh nanogpt                                 # once
    python -m bench.train [--dtype bfloat16|float32] [--rounds N] [--only NAME …] [--output FILE]

All run in this environment, with its PyTorch. In each round each trainer is a new process that takes a few steps to
warm up and a few that are timed, so that other work on the machine disturbs all alike; a trainer's figure is the median
of its steps, in seconds and in processor seconds. With `--threads 1` the two are nearly the same on an idle machine; on
a busy one, only processor seconds can be compared. A step reads `--batch-size` sequences of `--n-ctx` tokens of this
project's documentation and updates all weights with AdamW; losses are recorded, to show that all learn. A sampled
vocabulary does less work than the full one, and an entry that uses it says so.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from bench.engines import ROOT
from bench.results import commit
from cutaway.errors import guarded

OUTPUT = ROOT / "bench" / "results" / "train.json"
TIMEOUT = 1800  # seconds that a turn may take
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")  # on the instruction sets that PyTorch and oneDNN may use


@dataclass
class Entry:
    """A trainer with its settings and its measurements."""

    name: str
    module: str
    options: Sequence[str] = ()
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    failed: str | None = None


ENTRIES = (
    Entry("Cutaway", "cutaway", ["--compile"]),
    Entry("Cutaway, Muon", "cutaway", ["--compile", "--optimizer", "muon"]),
    Entry("Cutaway, sampled vocabulary of 8,192", "cutaway", ["--compile", "--sampled-vocab", "8192"]),
    Entry("Cutaway, not compiled", "cutaway"),
    Entry("nanoGPT", "nanogpt"),
    Entry("nanoGPT, fused AdamW", "nanogpt", ["--fused"]),
    Entry("nanoGPT, fused AdamW, compiled", "nanogpt", ["--fused", "--compile"]),
    Entry("transformers' Trainer", "transformers"),
    Entry("transformers' Trainer, fused AdamW, compiled", "transformers", ["--fused", "--compile"]),
)


def main() -> None:
    """Measure in turns, write the JSON, and print a line for each."""
    args = _arguments()
    neighbours = machine.Neighbours()
    entries = [entry for entry in ENTRIES if not args.only or entry.name in args.only]
    for number in range(args.rounds):
        for entry in (entry for entry in entries if entry.failed is None):
            print(f"round {number + 1} of {args.rounds}: {entry.name}", file=sys.stderr, flush=True)
            _take_turn(entry, args)
    document = _document(entries, args, neighbours.share())
    args.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in document["trainers"]:
        print(_line(row, document["trainers"][0]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.train", description="Measure the speed of training.")
    best = "bfloat16" if "avx512_bf16" in machine.simd() else "float32"
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default=best, help="default here: %(default)s")
    parser.add_argument("--n-ctx", type=int, default=1024, help="tokens per sequence (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=2, help="sequences per step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=2, help="steps that are not timed (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps in each turn (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="that each trainer uses (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these trainers only")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes (default: %(default)s)")
    return parser.parse_args()


def _take_turn(entry: Entry, args: argparse.Namespace) -> None:
    settings = ("dtype", "n_ctx", "batch_size", "warm_up", "steps", "threads")
    given = [text for name in settings for text in ("--" + name.replace("_", "-"), str(getattr(args, name)))]
    command = [sys.executable, "-m", f"bench.trainers.{entry.module}", *given, *entry.options]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    try:
        result = subprocess.run(
            command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        entry.failed = f"no answer in {TIMEOUT} s"
        return
    if result.returncode:
        entry.failed = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1][:200]
        return
    answer = json.loads(result.stdout.strip().splitlines()[-1])
    entry.seconds += answer["seconds"]
    entry.cpu_seconds += answer["cpu_seconds"]
    entry.losses = answer["losses"]


def _document(entries: Sequence[Entry], args: argparse.Namespace, neighbours: float | None) -> dict[str, Any]:
    import torch
    import transformers

    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine.describe(),
        "neighbours": neighbours,
        "limits": {name: os.environ[name] for name in LIMITS if name in os.environ},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        **{name: getattr(args, name) for name in ("dtype", "n_ctx", "batch_size", "rounds", "steps", "threads")},
        "trainers": [_row(entry, args.batch_size * args.n_ctx) for entry in entries],
    }


def _row(entry: Entry, tokens: int) -> dict[str, Any]:
    if entry.failed is not None:
        return {"name": entry.name, "failed": entry.failed}
    typical = median(entry.seconds)
    return {
        "name": entry.name,
        "tokens_per_second": tokens / typical,
        "tokens_per_cpu_second": tokens / median(entry.cpu_seconds),
        "seconds": entry.seconds,
        "cpu_seconds": entry.cpu_seconds,
        "losses": entry.losses,
    }


def _line(row: dict[str, Any], first: dict[str, Any]) -> str:
    if "failed" in row:
        return f"{row['name']}: {row['failed']}"
    speed, cpu_speed = _speeds(row)
    first_speed, first_cpu_speed = _speeds(row if "failed" in first else first)
    losses = " ".join(f"{loss:.2f}" for loss in row["losses"])
    return (
        f"{speed:8.1f} tokens/s, {cpu_speed:.1f} a CPU second; {first['name']} is {first_speed / speed:4.2f} times as "
        f"fast, {first_cpu_speed / cpu_speed:4.2f} by CPU time: {row['name']}  (losses {losses})"
    )


def _speeds(row: dict[str, Any]) -> tuple[float, float]:
    return row["tokens_per_second"], row["tokens_per_cpu_second"]


if __name__ == "__main__":
    sys.exit(guarded(main))
