"""Check that a crash, a full disk or an I/O error at any call of a save, a prune or a start leaves a valid run.

Afterwards, opened as the next trainer opens it, the run holds the old or the new checkpoint, whole, and nothing else;
the new one, if it had been reported as saved.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cutaway.training.runs import RunDirectory
from tests.reliability.calls import FAULTS, Calls
from tests.reliability.harness import FINISHED, SURVIVED, UNEXPECTED, Result, forked, look, save, scratch, warm_up

Seeds = Mapping[int, int]  # by step


@dataclass(frozen=True)
class Scenario:
    """An action on a run, None for opening it, and the checkpoints that the run may hold before, during and after."""

    before: Seeds
    action: Callable[[RunDirectory], None] | None
    during: tuple[Seeds, ...]
    after: Seeds
    reports: bool = True  # that it finished means that it did all; pruning may keep more when a file cannot be read


SCENARIOS = {
    "first save": Scenario({}, lambda run: save(run, 1, 1), ({},), {1: 1}),
    "second save": Scenario({1: 1}, lambda run: save(run, 2, 2), ({1: 1},), {1: 1, 2: 2}),
    "saved again": Scenario({1: 1}, lambda run: save(run, 1, 2), ({1: 1},), {1: 2}),
    "prune": Scenario(
        {1: 1, 2: 2, 3: 3},
        lambda run: run.prune(1),
        ({1: 1, 2: 2, 3: 3}, {2: 2, 3: 3}, {1: 1, 3: 3}),
        {3: 3},
        reports=False,
    ),
    "prune but the best": Scenario(
        {1: 1, 2: 2, 3: 3}, lambda run: run.prune(1, 1), ({1: 1, 2: 2, 3: 3},), {1: 1, 3: 3}, reports=False
    ),
    "rewind": Scenario({1: 1, 2: 2}, lambda run: run.rewind_metrics(1), ({1: 1, 2: 2},), {1: 1, 2: 2}),
    "start": Scenario({1: 1}, None, ({1: 1},), {1: 1}),
}


def crash_points(scenario: str, fault: str) -> Result:
    """Let each call of a scenario fail, one a trial."""
    result = Result()
    warm_up()
    with scratch() as directory:
        template = directory / "template"
        forked(lambda: _prepare(template, SCENARIOS[scenario]))
        shutil.copytree(template, directory / "counted")
        for at in range(_count(directory / "counted", SCENARIOS[scenario])):
            root = directory / "run"
            shutil.copytree(template, root)
            code = forked(lambda: _interrupted(root, SCENARIOS[scenario], Calls(fault, at)))  # noqa: B023 - runs now
            result.add(f"{scenario}, {fault} at call {at}", _problems(root, SCENARIOS[scenario], code))
            shutil.rmtree(root)
    return result


def all_crash_points(faults: tuple[str, ...] = FAULTS) -> Result:
    """Let each call of each scenario fail in each way."""
    return sum((crash_points(scenario, fault) for scenario in SCENARIOS for fault in faults), Result())


def _prepare(root: Path, scenario: Scenario) -> int:
    """Make a run with the lock of a dead trainer; to be opened, also with half a save and a checkpoint put aside."""
    run = RunDirectory.open(root)
    for step, seed in scenario.before.items():
        save(run, step, seed)
    if scenario.action is None:
        shutil.copytree(run.checkpoints / "step-00000001", run.checkpoints / "step-00000002.tmp-1-00000000")
        (run.checkpoints / "step-00000001").rename(run.checkpoints / "step-00000001.old-1-00000000")
    return FINISHED


def _count(root: Path, scenario: Scenario) -> int:
    """Return the calls that a scenario makes when none of them fails."""
    calls = Calls()

    def work() -> int:
        try:
            return _interrupted(root, scenario, calls)
        finally:
            (root / "calls").write_text(str(len(calls.made)))

    forked(work)
    return int((root / "calls").read_text())


def _interrupted(root: Path, scenario: Scenario, calls: Calls) -> int:
    if scenario.action is None:
        calls.install()
        RunDirectory.open(root)
    else:
        run = RunDirectory.open(root)
        calls.install()
        scenario.action(run)
    return FINISHED if calls.at < 0 else SURVIVED


def _problems(root: Path, scenario: Scenario, code: int) -> list[str]:
    if code == UNEXPECTED:
        return ["an unexpected exception"]
    seeds, problems = look(root)
    finished = code == SURVIVED and scenario.reports
    allowed = (scenario.after,) if finished else (*scenario.during, scenario.after)
    if seeds not in allowed:
        problems.append(f"exit code {code}, then step: seed is {seeds}")
    return problems
