"""Processes that train together: started by torchrun, or forked from one process that has imported PyTorch once.

A forked start takes a fraction of a second. Its processes get what torchrun's get: the environment variables, a store
that outlives them, one thread.
"""

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # which it does not list

ROOT = Path(__file__).parents[2]
TIMEOUT = 900  # seconds, of processes that hang, not of a busy machine
FORKSERVER = get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    [
        "torch._dynamo",  # which the first optimizer of a process imports, in a second or two
        "torch.distributed.fsdp",
        "cutaway.training.finetuning",
        "cutaway.training.pretraining",
        "cutaway.cli.train",
    ]
)


@dataclass(frozen=True)
class Ended:
    """The end of processes: 0 or an exit code that is not, and what all wrote."""

    code: int
    out: str
    err: str


class Together(Protocol):
    """Processes that train together."""

    def finish(self) -> Ended: ...


class Torchrun:
    """`torchrun -m MODULE ARGUMENTS` on a free port of this machine."""

    def __init__(self, n_processes: int, module: str, *arguments: str) -> None:
        paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        self.process = subprocess.Popen(
            [*launcher, str(n_processes), "-m", module, *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> Ended:
        try:
            out, err = self.process.communicate(timeout=TIMEOUT)
        except BaseException:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            raise
        return Ended(self.process.returncode, out, err)


class Forked:
    """`python -m MODULE ARGUMENTS` in several processes, as torchrun would start them."""

    def __init__(self, n_processes: int, module: str, *arguments: str) -> None:
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.files = tempfile.TemporaryDirectory()
        common = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "WORLD_SIZE": str(n_processes),
            "LOCAL_WORLD_SIZE": str(n_processes),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RUN_ID": "none",
        }
        self.processes = [
            FORKSERVER.Process(
                target=_run_module,
                args=(module, arguments, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, self.files.name),
            )
            for rank in range(n_processes)
        ]
        with patch.dict(os.environ, OMP_NUM_THREADS="1"):  # which PyTorch reads when the first process is forked
            for process in self.processes:
                process.start()

    def finish(self) -> Ended:
        end = time.monotonic() + TIMEOUT
        try:
            for process in self.processes:
                process.join(max(0, end - time.monotonic()))
            codes = [process.exitcode for process in self.processes]
            assert None not in codes, "the processes do not end"
        finally:
            for process in self.processes:
                process.kill()
        written = sorted(Path(self.files.name).iterdir())
        out, err = ("".join(f.read_text() for f in written if f.name.startswith(name)) for name in ("out", "err"))
        self.files.cleanup()
        return Ended(next((code for code in codes if code), 0), out, err)


def _run_module(module: str, arguments: Sequence[str], environment: dict[str, str], directory: str) -> None:
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(f"{directory}/{name}-{environment['RANK']}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
    os.environ |= environment
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
