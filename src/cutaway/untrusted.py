"""Safe reading of untrusted files: regular files only, strict JSON, short error messages.

Python's own JSON parser accepts NaN, infinities, duplicate keys and numbers of a million digits; here each is an error.
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
_CHUNK = 1 << 20  # `FileIO.read` allocates as many bytes as it is asked for
_MAX_DIGITS = 40  # transformers writes a length of 10**30 into tokenizer_config.json
_MAX_QUOTED = 80

_short = reprlib.Repr()  # limited to a few levels of nesting, where `repr` could exhaust the stack
_short.maxstring = _MAX_QUOTED
_short.maxother = _MAX_QUOTED


def quote(value: object) -> str:
    """Quote a value from a file for a message: on one line, escaped, at most 80 characters.

    >>> quote("a robot"), len(quote("x" * 1000))
    ("'a robot'", 80)
    """
    text = _short.repr(value)
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 3] + "..."


def quote_name(name: str) -> str:
    """Quote a name from a file for a message, unless it is short and printable.

    >>> quote_name("h.0.ln_1.bias"), quote_name("h.0" + chr(7))
    ('h.0.ln_1.bias', "'h.0\\\\x07'")
    """
    return name if len(name) <= _MAX_QUOTED and name.isprintable() else quote(name)


def quote_path(path: Path) -> str:
    """Quote a path for a message, unless it is printable.

    >>> quote_path(Path("a b.json"))
    'a b.json'
    """
    return str(path) if str(path).isprintable() else repr(str(path))


def raise_checkpoint_error(path: Path, reason: str) -> NoReturn:
    """Raise a CheckpointError of one line about a file.

    >>> raise_checkpoint_error(Path("config.json"), "n_layer is missing")
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: config.json: n_layer is missing
    """
    raise CheckpointError(f"{quote_path(path)}: {reason}")


def open_ordinary(path: Path) -> FileIO:
    """Open a regular file for unbuffered reading. Raises CheckpointError for anything else: a pipe could block.

    >>> open_ordinary(Path("/"))
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: /: is not a file
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise_checkpoint_error(path, "is not a file")
        return FileIO(path)
    except OSError as error:
        raise_checkpoint_error(path, f"cannot be read: {error.strerror}")


def read_bytes(path: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    """Read a whole file. Raises CheckpointError if it cannot be read or is larger than `limit` bytes.

    >>> read_bytes(Path("no such file"))
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: no such file: cannot be read: No such file or directory
    """
    data = bytearray()
    with open_ordinary(path) as file:
        try:
            while len(data) <= limit and (chunk := file.read(min(_CHUNK, limit + 1 - len(data)))):
                data += chunk
        except OSError as error:
            raise_checkpoint_error(path, f"cannot be read: {error.strerror}")
    if len(data) > limit:
        raise_checkpoint_error(path, f"is larger than the {limit} bytes that a file of this kind may have")
    return bytes(data)


def read_object(path: Path, limit: int = MAX_JSON_BYTES) -> dict[str, object]:
    """Read a file that holds one JSON object. Raises CheckpointError for anything else, or above `limit` bytes.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "config.json"
    ...     path.write_text('{"n_layer": 12}')
    ...     read_object(path)
    15
    {'n_layer': 12}
    """
    return parse_object(read_bytes(path, limit), path)


def parse_object(data: bytes, path: Path, what: str = "it") -> dict[str, object]:
    """Parse one JSON object. Raises CheckpointError if it is invalid; the message names the file and `what` was parsed.

    >>> parse_object(b'{"n_layer": 12}', Path("config.json"))
    {'n_layer': 12}
    """
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
