"""Convert measured seconds to the JSON document that the tables are generated from."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from bench.engines import OURS, PEERS, ROOT, TASKS, Engine, Plan

Document = dict[str, Any]


@dataclass
class Record:
    """The measurements of one engine so far; `failed` says why nothing more was measured."""

    engine: Engine
    version: str = ""
    agreement: Mapping[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # by the task's name
    peak: int = 0
    failed: str | None = None


def document(
    plan: Plan, threads: int, records: Sequence[Record], bandwidths: Sequence[float], neighbours: float | None
) -> Document:
    """Describe a run. Rates are tokens per second of all sequences; `ratio` is how many times faster ours is."""
    ours = next(_entry(record) for record in records if record.engine.name == OURS)
    entries = [_entry(record) for record in records]
    for entry in entries:
        entry["ratio"] = _ratios(ours, entry)
    weights = weight_bytes()
    rate = ours["tasks"].get("decode-128", {}).get("tokens_per_second")
    read = median(bandwidths) if bandwidths else None
    return {
        "machine": machine.describe() | {"others": neighbours},
        "plan": plan.name,
        "threads": threads,
        "commit": commit(),
        "tasks": [asdict(task) for task in TASKS],
        "plain_read": {
            "bytes": weights,
            "bytes_per_second": read,
            "all": list(bandwidths),
            "reached_by_decode": rate * weights / read if rate and read else None,
        },
        "engines": entries,
    }


def merge(old: Document, new: Document, names: Sequence[str]) -> Document:
    """Return `old` with the named engines replaced by those of `new`; their ratios are to ours in the new run."""
    fresh = {entry["name"]: entry for entry in new["engines"] if entry["name"] in names}
    known = [fresh.pop(entry["name"], entry) for entry in old["engines"]]
    return old | {"engines": known + list(fresh.values())}


def weight_bytes() -> int:
    """Return the bytes that our int8 model reads for a token: its file, but only one row of the positions."""
    size = (PEERS / "models" / "int8" / "model.safetensors").stat().st_size
    return size - 1024 * 768 * 4


def _entry(record: Record) -> Document:
    e = record.engine
    tokens = {task.name: task.measured_tokens for task in TASKS}
    return {
        "name": e.name,
        "version": record.version,
        "precision": e.precision,
        "settings": {**e.settings, **e.environment},
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "failed": record.failed,
        "agreement": dict(record.agreement),
        "tasks": {name: _summary(seconds, tokens[name]) for name, seconds in record.seconds.items()},
        "peak_bytes": record.peak or None,
        "model_bytes": _size(PEERS / "models" / e.model),
        "installed_bytes": _installed(e.library),
    }


def _summary(seconds: Sequence[float], tokens: int) -> Document:
    return {
        "tokens_per_second": tokens / median(seconds),
        "slowest": tokens / max(seconds),
        "fastest": tokens / min(seconds),
        "seconds": list(seconds),
    }


def _ratios(ours: Document, theirs: Document) -> dict[str, float]:
    """Return the speed of ours divided by theirs for each task that both did."""
    return {
        name: ours["tasks"][name]["tokens_per_second"] / task["tokens_per_second"]
        for name, task in theirs["tasks"].items()
        if name in ours["tasks"]
    }


def _installed(library: str) -> int | None:
    """Return the size of an installed library with its dependencies, without Python and pip."""
    packages = next((PEERS / library).glob("lib/python*/site-packages"), None)
    if packages is None:
        return None
    tools = sum(_size(path) for path in packages.iterdir() if path.name.startswith(("pip", "setuptools", "_distutils")))
    own = _size(ROOT / "src" / "cutaway") if library == "cutaway" else 0  # installed as a link to the source
    return _size(packages) - tools + own


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def commit() -> str:
    """Return the name of the checked-out commit, with \"-dirty\" if there are changes."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()
