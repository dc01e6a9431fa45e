"""The promises of docs/reliability.md in their short forms, and that each of their checks can fail."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.reliability import process
from tests.reliability.checks import CHECKS
from tests.reliability.harness import forked, scratch
from tests.reliability.process import run_check


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_promise_is_kept_and_every_sabotage_found(name: str) -> None:
    check = CHECKS[name]
    if not check.possible():
        pytest.skip(f"needs {check.needs}")
    assert check.sabotage
    result, *sabotaged = run_check(name, "--short").values()
    assert result.violations == []
    assert result.trials > 0
    assert [each for each, found in zip(check.sabotage, sabotaged, strict=True) if not found.violations] == []


def test_a_check_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LIMIT", 0)
    with pytest.raises(subprocess.TimeoutExpired):
        run_check("damage", "--short")


def test_what_a_killed_process_left_is_removed() -> None:
    def leave() -> int:
        with scratch() as directory:
            os.write(pipe, str(directory).encode())
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    told, pipe = os.pipe()
    assert forked(leave) == -signal.SIGKILL
    left = Path(os.read(told, 1 << 10).decode())
    with scratch() as first, scratch() as second:
        assert first.exists()  # its process is alive
        assert second.exists()
        assert not left.exists()
    for descriptor in (told, pipe):
        os.close(descriptor)
