"""The crash points of `crash_points` a second time, at the system calls: strace kills or fails each of them."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from cutaway.training.runs import RunDirectory
from tests.reliability.crash_points import SCENARIOS, Scenario, _prepare, _problems
from tests.reliability.harness import FINISHED, SURVIVED, Result, forked, scratch, started, warm_up

# system calls of a save and a prune, and the ways in which each of them fails
_PR_SET_PTRACER = 0x59616D61  # from Linux's prctl.h
_CALLS = ("openat", "write", "fsync", "rename", "mkdir", "unlinkat", "rmdir", "close", "ftruncate", "link")
_ERRORS = {"write": ("ENOSPC", "EIO"), "fsync": ("EIO", "ENOSPC"), "openat": ("ENOSPC",), "rename": ("EIO",)}


def traced_crash_points(scenario: str, at_most: int = 10**6) -> Result:
    """Kill a scenario at each of its system calls, and let those fail that a full or broken disk fails."""
    result = Result()
    warm_up()
    with scratch() as directory:
        template = directory / "template"
        forked(lambda: _prepare(template, SCENARIOS[scenario]))
        for call in _CALLS:
            for way in ("signal=SIGKILL", *(f"error={name}" for name in _ERRORS.get(call, ()))):
                for number in range(1, at_most + 1):
                    root = directory / "run"
                    shutil.copytree(template, root)
                    fired, code = _injected(root, SCENARIOS[scenario], f"inject={call}:{way}:when={number}")
                    if fired:
                        trial = f"{scenario}, {way} at {call} {number}"
                        result.add(trial, _problems(root, SCENARIOS[scenario], code))
                    shutil.rmtree(root)
                    if not fired:
                        break
    return result


def all_traced_crash_points(at_most: int = 10**6) -> Result:
    """Do so with each scenario."""
    return sum((traced_crash_points(scenario, at_most) for scenario in SCENARIOS), Result())


def _injected(root: Path, scenario: Scenario, injection: str) -> tuple[bool, int]:
    """Run a scenario in a forked process under strace; return True if the injected fault came up, and the exit code."""
    gate_read, gate = os.pipe()
    ready, ready_write = os.pipe()
    child = started(lambda: _wait_and_act(root, scenario, gate_read, ready_write))
    os.read(ready, 1)
    log = root.parent / "strace.log"
    command = ["strace", "-p", str(child), "-o", str(log), "-e", f"trace={','.join(_CALLS)}", "-e", injection]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        os.write(gate, b"go")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        strace.stderr.read()
    for descriptor in (gate_read, gate, ready, ready_write):
        os.close(descriptor)
    assert "attached" in attached, attached
    fired = "INJECTED" in log.read_text() or code == -9
    return fired, SURVIVED if fired and code == FINISHED else code


def _wait_and_act(root: Path, scenario: Scenario, gate: int, ready: int) -> int:
    run = RunDirectory.open(root) if scenario.action else None
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, -1, 0, 0, 0)  # strace is not our parent
    os.write(ready, b".")
    os.read(gate, 2)
    if run and scenario.action:
        scenario.action(run)
    else:
        RunDirectory.open(root)
    return FINISHED
