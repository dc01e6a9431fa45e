"""Files from strangers: opened if ordinary, JSON parsed strictly, and quoted so that a message stays one short line.

Python's own parser takes NaN, infinities, doubled keys and numbers of a million digits; here each is an error.
"""

import json
import math
import reprlib
import stat
from io import FileIO
from pathlib import Path
from typing import NoReturn

from cutaway.errors import CheckpointError

# Ten times the configuration, index or header of the largest GPT-2; parsed JSON can take 25 times its size in memory.
MAX_JSON_BYTES = 1 << 20
_MAX_DIGITS = 40  # transformers writes a length of 10**30 into tokenizer_config.json
_MAX_SHOWN = 80


_short = reprlib.Repr()  # which goes only a few levels deep, where plain `repr` could run out of stack
_short.maxstring = _short.maxother = _MAX_SHOWN


def quote(value: object) -> str:
    """A value from a file as it appears in a message: on one line, escaped, in 80 characters at most."""
    text = _short.repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def quote_name(name: str) -> str:
    """A name from a file as it appears in a message: bare where it is an ordinary one."""
    return name if len(name) <= _MAX_SHOWN and name.isprintable() else quote(name)


def quote_path(path: Path) -> str:
    """A path as it appears in a message."""
    return str(path) if str(path).isprintable() else repr(str(path))


def raise_checkpoint_error(path: Path, reason: str) -> NoReturn:
    """Raise the one-line CheckpointError about a file."""
    raise CheckpointError(f"{quote_path(path)}: {reason}")


def open_ordinary(path: Path) -> FileIO:
    """Open a file for unbuffered reading; raises CheckpointError where it is none (a pipe could make us wait)."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise_checkpoint_error(path, "is not a file")
        return FileIO(path)
    except OSError as error:
        raise_checkpoint_error(path, f"cannot be read: {error.strerror}")


def read_bytes(path: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    """All of a file; raises CheckpointError where it cannot be read or holds more than `limit` bytes."""
    with open_ordinary(path) as file:
        try:
            data: bytes = file.read(limit + 1)
        except OSError as error:
            raise_checkpoint_error(path, f"cannot be read: {error.strerror}")
    if len(data) > limit:
        raise_checkpoint_error(path, f"is larger than the {limit} bytes that a file of this kind may have")
    return data


def read_object(path: Path, limit: int = MAX_JSON_BYTES) -> dict[str, object]:
    """The JSON object that a file holds; raises CheckpointError where it holds none, or more than `limit` bytes."""
    return parse_object(read_bytes(path, limit), path)


def parse_object(data: bytes, path: Path, what: str = "it") -> dict[str, object]:
    """The JSON object that `data` spells; raises CheckpointError naming the file and `what` in it the data is."""
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except RecursionError:
        raise_checkpoint_error(path, f"{what} is nested too deeply to be JSON of this kind")
    except ValueError as error:
        raise_checkpoint_error(path, f"{what} is not valid JSON: {error}")
    if not isinstance(value, dict):
        raise_checkpoint_error(path, f"{what} must be a JSON object, not {quote(value)}")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {quote(key)} appears twice")
        result[key] = value
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {quote(text)} is too large")
    return value
