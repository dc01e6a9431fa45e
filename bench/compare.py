"""Compare Cutaway with its peers in one run: the same weights, prompts, threads and number of tokens, all greedy.

    bench/setup_peers.sh                                                 # once
    python -m bench.compare [--quick] [--only NAME ...] [--output FILE]

A peer that fails is in the results with the reason. `--only` measures it again, beside ours, and merges it into the
existing results.
"""

import argparse
import json
import sys
from pathlib import Path

from bench import machine, results
from bench.engines import ENGINES, FULL, OURS, QUICK, ROOT
from bench.table import STARTS, markdown, read_results
from bench.turns import Bench
from cutaway.errors import guarded

OUTPUT = ROOT / "bench" / "results" / "peers.json"


def main() -> None:
    """Measure, write the JSON, and print the table."""
    args = _arguments()
    neighbours = machine.Neighbours()
    bench = Bench([engine for engine in ENGINES if not args.only or engine.name in (*args.only, OURS)], args.threads)
    plan = QUICK if args.quick else FULL
    bench.run(plan)
    document = results.document(plan, args.threads, bench.records, bench.bandwidths, neighbours.share())
    if args.only and args.output.exists():
        document = results.merge(json.loads(args.output.read_text(encoding="utf-8")), document, args.only)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(markdown(document, read_results(STARTS), "en"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="Measure Cutaway beside its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer tasks and repeats: 3 minutes instead of 12")
    names = [engine.name for engine in ENGINES]
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument("--threads", type=int, default=2, help="that each engine uses (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guarded(main))
