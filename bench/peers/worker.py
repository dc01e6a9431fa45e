"""A peer as a process that stays alive: requests as lines of JSON on standard input, answers on standard output.

    {"load": PATH, "precision": NAME, "threads": N, "settings": {...}}  -> {"version": "1.2.3"}
    {"prompts": [[ids], ...], "new_tokens": N}  -> {"tokens": [[ids], ...], "first": SECONDS, "rest": SECONDS}

Every answer also has "peak": the most memory, in bytes, that was resident so far. What a library itself prints goes to
standard error. The other end is `bench.process`.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol, TextIO


@dataclass(frozen=True)
class Generated:
    """The greedy continuation of each prompt, the seconds until all had their first token, and those of the rest."""

    tokens: list[list[int]]
    first: float
    rest: float


class Peer(Protocol):
    """A way of running GPT-2."""

    @property
    def load(self) -> Callable[..., str]:
        """load(path, precision, threads, **settings) gives the library's version; `bench.sweep` varies the settings."""

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Generated:
        """Continue each prompt (all of one length) by so many tokens, whatever they are: nothing ends a text early."""


def serve(peer: Peer) -> None:
    """Answer requests until standard input ends."""
    answers = _private_stdout()
    for line in sys.stdin:
        request = json.loads(line)
        if "load" in request:
            version = peer.load(request["load"], request["precision"], request["threads"], **request["settings"])
            reply: dict[str, object] = {"version": version}
        else:
            reply = asdict(peer.generate(request["prompts"], request["new_tokens"]))
        print(json.dumps(reply | {"peak": _peak_bytes()}), file=answers, flush=True)


def _private_stdout() -> TextIO:
    """Standard output for the answers alone; file descriptor 1, where C code prints, becomes standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes
