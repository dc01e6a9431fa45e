"""Fault points kill the process that names them, and nothing else."""

import os
import subprocess
import sys

import pytest

from cutaway.training.faults import fault

CODE = "from cutaway.training.faults import fault; fault('a'); print(1, flush=True); fault('a'); fault('b'); print(2)"


@pytest.mark.parametrize(
    ("point", "printed", "code"), [("a:2", "1\n", -9), ("b", "1\n", -9), ("c", "1\n2\n", 0), ("a", "", -9)]
)
def test_a_named_point_kills(point: str, printed: str, code: int) -> None:
    environment = {**os.environ, "CUTAWAY_FAULT": point}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert (done.stdout, done.returncode) == (printed, code)


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUTAWAY_FAULT", raising=False)
    fault("save.after_rename")
