"""Measure the time from process start to first token: all engines of `bench.compare` and our command line, in turns.

    bench/setup_peers.sh                                        # once
    python -m bench.start [--rounds N] [--threads N] [--output FILE]

An engine reads a prompt of 8 token ids and returns the id of the next one, in a new Python process, with its model in
the system's file cache. `cutaway generate` reads the prompt as text, and its first token is its first output. CPU
seconds are user and system time of all threads until the token. Then the process is killed.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench import machine
from bench.agreement import random_prompts
from bench.engines import ENGINES, PEERS, ROOT, Engine
from bench.process import PeerFailedError, PeerProcess
from bench.results import commit
from cutaway.errors import guarded

OUTPUT = ROOT / "bench" / "results" / "start.json"
COMMAND = "cutaway generate"
TEXT = "one two three four five six seven eight"  # 8 tokens


@dataclass(frozen=True)
class Start:
    """Seconds until the first token: wall clock, and processor time."""

    wall: float
    cpu: float


@dataclass
class Record:
    """The starts of one engine or command."""

    name: str
    start: Callable[[], Start]
    starts: list[Start] = field(default_factory=list)


def main() -> None:
    """Measure in turns, write the JSON, and print a line for each."""
    args = _arguments()
    neighbours = machine.Neighbours()
    engines = [engine for engine in ENGINES if engine.needs in ("", *machine.simd())]
    records = [Record(engine.name, partial(_start_engine, engine, args.threads)) for engine in engines]
    records.append(Record(COMMAND, partial(_start_command, args.threads)))
    records = [record for record in records if _warm_up(record)]
    for _ in range(args.rounds):
        for record in records:
            record.starts.append(record.start())
    document = _document(records, args.threads, neighbours.share())
    args.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for entry in document["starts"]:
        print(_line(entry))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description="Measure the time to the first token.")
    parser.add_argument("--rounds", type=int, default=12, help="starts of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="that each engine uses (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes (default: %(default)s)")
    return parser.parse_args()


def _warm_up(record: Record) -> bool:
    """Fill the system's file cache and let Python compile its files; returns whether the engine runs."""
    try:
        record.start()
    except PeerFailedError as error:
        print(f"{record.name} failed: {error}", file=sys.stderr)
        return False
    return True


def _start_engine(engine: Engine, threads: int) -> Start:
    """Start a process in the engine's environment; `bench.peers` has the code that it runs."""
    before = _children_seconds()
    began = perf_counter()
    process = PeerProcess(engine, threads)
    try:
        process.load()
        process.generate(random_prompts(0, 1, 8), 1)
        wall = perf_counter() - began
    finally:
        process.close()
    return Start(wall, _children_seconds() - before)


def _start_command(threads: int) -> Start:
    """Start `cutaway generate` and wait for the first byte that it prints."""
    program = str(PEERS / "cutaway" / "bin" / "cutaway")
    command = [program, "generate", TEXT, "--model", str(PEERS / "models" / "int8")]
    options = ["--temperature", "0", "--max-new-tokens", "1", "--threads", str(threads)]
    before = _children_seconds()
    began = perf_counter()
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        if not process.stdout.read(1):
            raise PeerFailedError("cutaway generate printed nothing")
        wall = perf_counter() - began
        process.kill()
    return Start(wall, _children_seconds() - before)


def _children_seconds() -> float:
    """Return the user and system time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _document(records: Sequence[Record], threads: int, neighbours: float | None) -> dict[str, Any]:
    return {
        "machine": machine.describe() | {"others": neighbours},
        "threads": threads,
        "commit": commit(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "starts": [_entry(record) for record in records],
    }


def _entry(record: Record) -> dict[str, Any]:
    wall = [start.wall for start in record.starts]
    cpu = [start.cpu for start in record.starts]
    return {
        "name": record.name,
        "wall_seconds": {"median": median(wall), "min": min(wall), "all": wall},
        "cpu_seconds": {"median": median(cpu), "min": min(cpu), "all": cpu},
    }


def _line(entry: Mapping[str, Any]) -> str:
    wall = entry["wall_seconds"]
    cpu = entry["cpu_seconds"]
    return (
        f"{entry['name']:<20} wall {wall['median']:.3f} s, min {wall['min']:.3f};"
        f" CPU {cpu['median']:.3f} s, min {cpu['min']:.3f}"
    )


if __name__ == "__main__":
    sys.exit(guarded(main))
