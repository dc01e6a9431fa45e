"""Running a check in a process of its own, because it forks, and because sabotage cannot be undone."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.reliability.harness import Result

_ROOT = Path(__file__).parents[2]


def run_check(name: str, *options: str) -> Result:
    """Run a check, the full form unless the options say `--short`."""
    command = [sys.executable, "-m", "tests.reliability", name, "--here", *options]
    waiting = {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that spin while they wait take a busy machine's cores
    environment = {**os.environ, **waiting, "PYTHONPATH": os.pathsep.join((str(_ROOT / "src"), str(_ROOT)))}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=_ROOT, env=environment)
    return Result(**json.loads(done.stdout.splitlines()[-1]))
