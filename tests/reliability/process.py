"""Processes of their own: for a check, because it forks and because sabotage cannot be undone, and for commands."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.reliability import sabotage
from tests.reliability.harness import Result

ROOT = Path(__file__).parents[2]
VARIABLES = {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}  # of every process here
LIMIT = 7200  # seconds for a check and its sabotages, after which it hangs: all full forms together take about an hour


def run_check(name: str, *options: str) -> dict[str, Result]:
    """Run the full form of a check, or of `--short` the short one, and then the short one on code that is sabotaged, in
    each of the ways that it must find. Return the results by the sabotage, "" for none.

    Raises CalledProcessError if one of them ends otherwise, and TimeoutExpired if one does not end.
    """
    command = [sys.executable, "-m", "tests.reliability", name, "--here", *options]
    waiting = {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that spin while they wait take a busy machine's cores
    environment = os.environ | waiting | VARIABLES
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except BaseException:  # the check that it forked would go on
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {sabotaged: Result(**result) for sabotaged, result in json.loads(output.splitlines()[-1]).items()}


def cutaway(*arguments: str) -> list[str]:
    """Return the command `cutaway ARGUMENTS`, on code that is sabotaged as this process's is."""
    if sabotaged := sabotage.arguments():
        return [sys.executable, "-m", "tests.reliability.sabotaged", *sabotaged, "--", *arguments]
    return [sys.executable, "-m", "cutaway", *arguments]
