"""The process that reads a pickle, forked from one, this program, that has imported PyTorch once.

A fresh process needs seconds to import PyTorch. What it does then, with its rights, limits and files, a forked one does
too.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self


class ForkedReader:
    """Stands for `subprocess.run` in `cutaway.checkpoints.pickles`."""

    def __enter__(self) -> Self:
        alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-B", "-W", "ignore", __file__]
        self._parent = subprocess.Popen(
            command, env=os.environ | alone, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate()

    def run(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float, **_: object
    ) -> subprocess.CompletedProcess[str]:
        """Do in a forked process what the command's program does with its last argument. Raises TimeoutExpired."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        _, arguments = json.loads(command[-1])
        self._parent.stdin.write(json.dumps([str(cwd), dict(env), arguments, timeout]) + "\n")
        self._parent.stdin.flush()
        code = int(self._parent.stdout.readline())
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, code)


def _serve() -> None:
    from cutaway.checkpoints import unpickle

    assert unpickle
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _read(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _read(directory: str, environment: dict[str, str], arguments: Sequence[str], timeout: float) -> NoReturn:
    from cutaway.checkpoints import sandbox, unpickle

    signal.setitimer(signal.ITIMER_REAL, timeout)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    code = 1
    try:
        sandbox.leave_network()
        unpickle.main(*arguments)
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
