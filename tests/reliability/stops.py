"""Check that SIGINT and SIGTERM end a run at the end of its step, saved, and that a second signal ends it at once.

The run is halted at a random moment, its log is read, and the signals are sent: so it is known how many steps it takes
after them. It is stopped and started again until it ends, with the numbers of a run that never was. One that gets its
signal in the last step ends by itself, finished.
"""

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from cutaway.training import pretraining  # noqa: F401 - imported once, before the forks
from cutaway.training.metrics_log import NAME, read_metrics
from cutaway.training.runs import RunDirectory
from tests.reliability.harness import FINISHED, Result, scratch
from tests.reliability.kills import SMALL, STEPS, differences, digest_of, last_words, make_corpus, start_command

_SETTINGS = "--batch-size 4 --threads 1 --dropout 0.1 --eval-every 20 --save-every 15"


@dataclass(frozen=True)
class Stop:
    """Signals that reach a run together, and the exit code that it then has."""

    signals: tuple[signal.Signals, ...]
    code: int

    @property
    def is_graceful(self) -> bool:
        """True if the run is to save and end by itself."""
        return len(self.signals) == 1


STOPS = (
    Stop((signal.SIGTERM,), 0),
    Stop((signal.SIGINT,), 128 + signal.SIGINT),
    Stop((signal.SIGINT, signal.SIGTERM), -signal.SIGTERM),  # handled in the order of their numbers
)


def stop_signals(each: int, seed: int = 1) -> Result:
    """Stop runs of `cutaway train` until each kind of stop was tried so often."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
    generator = random.Random(seed)
    result = Result()
    with scratch() as directory:
        command = ["train", "--data", str(make_corpus(directory)), "--json", *SMALL.split(), *_SETTINGS.split()]
        assert _wait(start_command(directory / "clean", command)) == FINISHED, last_words(directory)
        expected = digest_of(directory / "clean", without="save")
        left = [stop for stop in STOPS for _ in range(each)]
        generator.shuffle(left)
        while left:
            _stop_until_done(directory / "stopped", command, left, generator, result)
            problems = differences(expected, digest_of(directory / "stopped", without="save"))
            result.add(f"the end of a run that was stopped, seed {seed}", problems)
            shutil.rmtree(directory / "stopped")
    return result


def _stop_until_done(run: Path, command: list[str], left: list[Stop], generator: random.Random, result: Result) -> None:
    """Stop a run in the ways that are left, one a life, until it ends by itself."""
    while True:
        child = start_command(run, command)
        began = _steps(run)
        halted = bool(left) and _halt(child, run, began + generator.randint(1, 4), generator.uniform(0, 0.01))
        if not halted:
            code = _wait(child)
            assert code == FINISHED, last_words(run.parent)
            return
        stop = left.pop()
        before = _steps(run)
        for number in stop.signals:
            os.kill(child, number)
        os.kill(child, signal.SIGCONT)
        result.add(f"{stop.signals} after step {before}", _problems(run, stop, before, _wait(child)))


def _halt(child: int, run: Path, step: int, moment: float) -> bool:
    """Halt a run some moment after it has taken a step; return False if it ended first."""
    while _steps(run) < step:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            return False
        time.sleep(0.002)
    time.sleep(moment)
    os.kill(child, signal.SIGSTOP)
    status = os.waitid(os.P_PID, child, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    return status is not None and status.si_code == os.CLD_STOPPED


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _steps(run: Path) -> int:
    """Return the steps in the log of a run, whoever is writing it."""
    return (run / NAME).read_bytes().count(b'"kind": "train"') if (run / NAME).exists() else 0


def _problems(run: Path, stop: Stop, before: int, code: int) -> list[str]:
    after = _steps(run)
    finished = stop.is_graceful and after == STEPS  # in its last step nothing is left to stop
    wanted = FINISHED if finished else stop.code
    problems = [] if code == wanted else [f"exit code {code}: {last_words(run.parent)}"]
    if after - before > stop.is_graceful:
        problems.append(f"{after - before} steps were taken after it")
    if stop.is_graceful:
        with RunDirectory.open(run, warn=problems.append) as opened:
            newest = opened.newest()
        events = [event for event in read_metrics(run) if event["kind"] != "final"]
        if newest is None or newest.step != after or events[-1] != {"kind": "save", "step": after}:
            problems.append(f"step {after} is not saved")
    if finished and not list((run / "model").glob("*.safetensors")):
        problems.append("the model is not written")
    return problems
