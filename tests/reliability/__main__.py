"""Run the checks: `python -m tests.reliability` the full forms of all, or of those named, as one table."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from cutaway.training.runs import RunDirectory
from tests.reliability import sabotage
from tests.reliability.checks import CHECKS
from tests.reliability.harness import result_of, save
from tests.reliability.process import run_check

_ROW = "{:<20} {:>7} {:>7} {:>8} {:>12}  {}"


def main() -> int:
    """Return 1 if a promise was broken, or if a sabotage was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description="Prove that no run is lost.")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; default: all")
    parser.add_argument("--here", action="store_true", help="run one check in this process and print it as JSON")
    parser.add_argument("--short", action="store_true", help="run the short form, as the tests do")
    parser.add_argument("--save-once", type=Path, metavar="RUN", help="save a checkpoint for strace to look at")
    parser.add_argument("--sabotage", metavar="NAME", help="sabotage the code of that save first")
    options = parser.parse_args()
    if options.save_once:
        if options.sabotage:
            sabotage.apply(options.sabotage)
        save(RunDirectory.open(options.save_once), 1, 1)
        sys.stdout.write("reported")
        sys.stdout.flush()
    elif options.here:
        check = CHECKS[options.checks[0]]
        results = {"": result_of(partial(check.run, short=options.short))} | check.run_sabotages()
        print(json.dumps({sabotaged: asdict(result) for sabotaged, result in results.items()}))
    else:
        return _table(options.checks or list(CHECKS))
    return 0


def _table(names: list[str]) -> int:
    print(_ROW.format("check", "trials", "broken", "seconds", "sabotage", "promise"))
    failed = 0
    for name in names:
        check = CHECKS[name]
        if not check.possible():
            print(_ROW.format(name, "not run", "", "", "", f"needs {check.needs}: {check.promise}"), flush=True)
            continue
        began = time.monotonic()
        result, *sabotaged = run_check(name).values()
        seconds = time.monotonic() - began
        found = [bool(each.violations) for each in sabotaged]
        verdict = f"{sum(found)}/{len(found)} found"
        broken = len(result.violations)
        print(_ROW.format(name, result.trials, broken, f"{seconds:.0f}", verdict, check.promise), flush=True)
        print(*result.violations[:10], sep="\n", end="\n" * bool(broken))
        failed += bool(broken) or not all(found)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
