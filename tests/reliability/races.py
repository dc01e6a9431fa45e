"""Check that of several trainers that start at once on one directory exactly one gets it, and a dead one's is free."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from cutaway.errors import RunError
from cutaway.training.lock import Lock
from tests.reliability.harness import Result, scratch


@dataclass
class _Racer:
    """A forked process that tries to lock a directory when it is told to, and holds the lock until it is killed."""

    pid: int
    start: int
    answers: int

    def answer(self) -> str:
        """Return "locked", or the message with which it was refused."""
        return os.read(self.answers, 10_000).decode()

    def kill(self) -> None:
        """Kill the process with SIGKILL and wait until it is dead."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.start)
        os.close(self.answers)


def lock_races(races: int, racers: int = 4) -> Result:
    """Let processes race for one directory; every race but the first begins with the lock of an owner killed by -9."""
    result = Result()
    with scratch() as directory:
        for race in range(races):
            field = [_start_racer(directory) for _ in range(racers)]
            for racer in field:
                os.write(racer.start, b"go")
            answers = {racer.pid: racer.answer() for racer in field}
            for racer in field:
                racer.kill()
            result.add(f"race {race}", _problems(answers, directory))
    return result


def _start_racer(directory: Path) -> _Racer:
    start_read, start = os.pipe()
    answers, answers_write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(start_read)
        os.close(answers_write)
        return _Racer(pid, start, answers)
    os.read(start_read, 2)
    try:
        Lock(directory)
        os.write(answers_write, b"locked")
    except RunError as error:
        os.write(answers_write, str(error).encode())
    except BaseException as error:  # noqa: BLE001 - reported to the parent
        os.write(answers_write, f"unexpected: {error!r}".encode())
    while True:
        signal.pause()


def _problems(answers: dict[int, str], directory: Path) -> list[str]:
    owners = [pid for pid, answer in answers.items() if answer == "locked"]
    if len(owners) != 1:
        return [f"{len(owners)} owners: {answers}"]
    refusal = f"{directory} is in use by process {owners[0]} on {os.uname().nodename}: "
    refused = [answer for answer in answers.values() if answer != "locked"]
    return [f"refused with {answer!r}" for answer in refused if not answer.startswith(refusal)]
