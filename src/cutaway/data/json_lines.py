"""JSON Lines: each line of a file is a JSON object."""

import json

from cutaway.errors import UsageError
from cutaway.untrusted import quote


def parse_json_line(line: bytes, place: str, what: str = "a JSON object") -> dict[str, object]:
    """Parse a line, which must be an object; errors call it `what`. Raises UsageError, prefixed by `place`.

    >>> parse_json_line(b'{"text": "A robot"}', "a.jsonl:1")
    {'text': 'A robot'}
    >>> parse_json_line(b'"A robot"', "a.jsonl:2")
    Traceback (most recent call last):
    cutaway.errors.UsageError: a.jsonl:2: must be a JSON object, not 'A robot'
    """
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{place}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: not valid JSON: {_reason(error)}; must be {what} on one line") from None
    if not isinstance(value, dict):
        raise UsageError(f"{place}: must be {what}, not {quote(value)}")
    return value


def _reason(error: Exception) -> str:
    """Return the reason of an error, without a line number, as there is only one line."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return str(error)
