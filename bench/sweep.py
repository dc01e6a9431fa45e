"""Find the fastest settings of each peer on this machine; they are then written into `bench.engines`.

    python -m bench.sweep LIBRARY ... [--threads N]      as in `python -m bench.sweep llama_cpp openvino`

The current settings and each alternative run in turns. It prints tokens per second, and the difference.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median

from bench.engines import DECODE, DECODE_16, ENGINES, PREFILL, Engine, Plan
from bench.results import Record
from bench.turns import Bench
from cutaway.errors import guarded

PLAN = Plan("sweep", {DECODE: 3, PREFILL: 3, DECODE_16: 2})

# Alternatives: names that start with CT2_ are environment variables, others are passed to the peer's `load`.
ALTERNATIVES: Mapping[str, tuple[dict[str, bool | int | str], ...]] = {
    "transformers": ({"attention": "eager"},),
    "ctranslate2": ({"CT2_USE_MKL": "1"}, {"CT2_USE_EXPERIMENTAL_PACKED_GEMM": "1"}),
    "llama_cpp": ({"flash_attention": 0}, {"flash_attention": 1}, {"n_ubatch": 128}, {"n_ubatch": 2048}),
    "openvino": (
        {"attention": "SDPA"},
        {"KV_CACHE_PRECISION": "f16"},
        {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
        {"PERFORMANCE_HINT": "THROUGHPUT"},
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description="Try other settings of the peers.")
    parser.add_argument("libraries", nargs="+", choices=list(ALTERNATIVES))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    for engine in (engine for engine in ENGINES if engine.library in args.libraries):
        bench = Bench([engine, *_alternatives(engine)], args.threads)
        bench.run(PLAN)
        for record in bench.records:
            print(f"{record.engine.name:<80} {record.failed or _rates(record, bench.records[0])}", flush=True)


def _alternatives(engine: Engine) -> Iterator[Engine]:
    for changes in ALTERNATIVES[engine.library]:
        environment = {name: str(value) for name, value in changes.items() if name.startswith("CT2_")}
        settings = {name: value for name, value in changes.items() if name not in environment}
        yield replace(
            engine,
            name=f"{engine.name} {' '.join(f'{name}={value}' for name, value in changes.items())}",
            settings={**engine.settings, **settings},
            environment={**engine.environment, **environment},
        )


def _rates(record: Record, usual: Record) -> str:
    """Return the tokens per second of each task, and the change against the usual settings."""
    rates = {task: task.measured_tokens / median(record.seconds[task.name]) for task in PLAN.repeats}
    before = {task: task.measured_tokens / median(usual.seconds[task.name]) for task in PLAN.repeats}
    return "  ".join(f"{task.name} {rate:.1f} ({rate / before[task] - 1:+.0%})" for task, rate in rates.items())


if __name__ == "__main__":
    sys.exit(guarded(main))
