"""Running the command line inside the test's own process, with streams as the operating system gives them."""

import io
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from unittest.mock import patch

import pytest

from cutaway.cli import main


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, object]:
        """Parse what --json wrote: one document, one line, nothing else on either stream."""
        assert (self.code, self.err) == (0, "")
        assert self.out.endswith("\n")
        document: dict[str, object] = json.loads(self.out, parse_constant=_refuse)
        return document

    @property
    def error(self) -> str:
        """The one line that a refusal is."""
        assert self.out == ""
        assert self.err.startswith("cutaway: ")
        assert self.err.count("\n") == 1
        return self.err


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


class Stream(io.TextIOWrapper):
    """A stream over bytes, which may be a terminal; its encoding is the poorest there is until somebody mends it."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        self.bytes = io.BytesIO(data)
        self.terminal = terminal
        super().__init__(self.bytes, encoding="ascii")

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode()


def invoke(*arguments: str, stdin: bytes = b"", terminal: bool = False) -> Result:
    """`cutaway ARGUMENTS`, with something on standard input, or with a person at a terminal."""
    streams = Stream(stdin, terminal=terminal), Stream(terminal=terminal), Stream(terminal=terminal)
    with patch.multiple(sys, stdin=streams[0], stdout=streams[1], stderr=streams[2]):
        code = main(arguments)
    return Result(code, streams[1].text(), streams[2].text())


def type_lines(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[str]:
    """Have somebody type lines at a terminal, and then Ctrl-D; return the list that the prompts will stand in."""
    asked: list[str] = []
    typed = iter(lines)

    def answer(prompt: str) -> str:
        asked.append(prompt)
        line = next(typed, None)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr("builtins.input", answer)
    return asked


def choose_tokens(monkeypatch: pytest.MonkeyPatch, tokens: Iterable[int | None]) -> list[tuple[int, ...]]:
    """Have these tokens chosen, and Ctrl-C pressed at None; return the list that what was read will stand in."""
    seen: list[tuple[int, ...]] = []
    chosen = iter(tokens)

    def choose(logits: object, sampling: object, rng: object, ids: list[int]) -> int:
        seen.append(tuple(ids))
        token = next(chosen)
        if token is None:
            raise KeyboardInterrupt
        return token

    monkeypatch.setattr("cutaway.generation.batch.choose", choose)
    return seen
