"""The driver's side of a peer: a process in the peer's own environment, stopped whenever it is not its turn."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import Any

from bench.engines import PEERS, ROOT, Engine
from cutaway.errors import CutawayError

LOGS = PEERS / "logs"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
TIMEOUT = 300.0  # seconds that one answer may take


class PeerFailedError(CutawayError):
    """A peer that is not installed, died, hung or gave a wrong answer; the message is one line."""


@dataclass(frozen=True)
class Answer:
    """A peer's output and its times: see `bench.peers.worker`."""

    tokens: list[list[int]]
    first: float
    rest: float
    peak: int


class PeerProcess:
    """One engine in a process of its own."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine = engine
        self._threads = threads
        python = PEERS / engine.library / "bin" / "python"
        if not python.exists():
            raise PeerFailedError(f"not installed: there is no {python.relative_to(ROOT)}; run `make peers`")
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log = LOGS / f"{engine.name.replace(' ', '-')}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-m", f"bench.peers.{engine.library}"],
                cwd=ROOT,
                env=os.environ | OFFLINE | {"OMP_NUM_THREADS": str(threads)} | dict(engine.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def load(self) -> str:
        """Load the engine's model; returns the version of its library."""
        e = self._engine
        path = str(PEERS / "models" / e.model)
        request = {"load": path, "precision": e.precision, "threads": self._threads, "settings": dict(e.settings)}
        return str(self._ask(request)["version"])

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Answer:
        """Return the greedy tokens after each prompt."""
        answer = Answer(**self._ask({"prompts": prompts, "new_tokens": new_tokens}))
        if [len(row) for row in answer.tokens] != [new_tokens] * len(prompts):
            raise PeerFailedError(f"wrote {[len(row) for row in answer.tokens]} tokens, not {new_tokens} a sequence")
        return answer

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Stop the process between its turns: threads that spin while they wait would disturb the others."""
        self._process.send_signal(signal.SIGCONT)
        yield
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        stdin = self._process.stdin
        stdout = self._process.stdout
        assert stdin is not None
        assert stdout is not None
        watchdog = Timer(TIMEOUT, self._process.kill)
        watchdog.start()
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            watchdog.cancel()
        if not line:
            raise PeerFailedError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        """Return the reason why the process ended."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return f"killed: no answer in {TIMEOUT:.0f} s, or no memory"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else f"ended with status {code}"
