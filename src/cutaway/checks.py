"""Argument validation with one-line errors."""

import operator
import re
from numbers import Real

from cutaway.errors import UsageError

_LONGEST = 60  # characters of a value in a message


def check_int(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return `value` as an int. Raises UsageError unless it is an integer (no bool, no float) from `least` to `most`.

    >>> check_int("k", 5, 1, 10)
    5
    >>> check_int("k", 0, 1, 10)
    Traceback (most recent call last):
    cutaway.errors.UsageError: k must be from 1 to 10, not 0
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{name} must be a whole number, not {show(value)}") from None
    if number < least or (most is not None and number > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{name} must be {span}, not {show(number)}")
    return number


def check_float(name: str, value: object, least: float, most: float) -> float:
    """Return `value` as a float. Raises UsageError unless it is a number (no bool) from `least` to `most`.

    NumPy numbers are accepted, such as an entry of a float32 array.

    >>> check_float("top_p", 1, 0, 1)
    1.0
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name} must be a number, not {show(value)}")
    if not least <= value <= most:  # type: ignore[operator]  # an int of any size is compared exactly
        raise UsageError(f"{name} must be from {least:g} to {most:g}, not {show(value)}")
    return float(value)


def check_top_p(name: str, value: object) -> float:
    """Return `value` as a probability for top-p. Raises UsageError unless it is above 0 and at most 1.

    >>> check_top_p("top_p", 0)
    Traceback (most recent call last):
    cutaway.errors.UsageError: top_p must be above 0 and at most 1 (off), not 0
    """
    if isinstance(value, Real) and not 0 < value <= 1:  # type: ignore[operator]  # or not a number
        raise UsageError(f"{name} must be above 0 and at most 1 (off), not {show(value)}")
    return check_float(name, value, 0, 1)


def parse_share(text: str) -> float | None:
    """Parse a share, in percent or as a number; None for any other text.

    >>> parse_share("5%"), parse_share("0.05"), parse_share("half")
    (0.05, 0.05, None)
    """
    match = re.fullmatch(r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?) ?(%?)", text, re.ASCII)
    return None if match is None else float(match[1]) / (100 if match[2] else 1)


def read_share(name: str, text: str) -> float:
    """Parse a share from 0 to 1. Raises UsageError, which says how to write a share, for any other text.

    >>> read_share("share", "half")
    Traceback (most recent call last):
    cutaway.errors.UsageError: share must be from 0 to 1, such as 5% or 0.05, not 'half'
    """
    share = parse_share(text)
    if share is None or share > 1:
        raise UsageError(f"{name} must be from 0 to 1, such as 5% or 0.05, not {show(text)}")
    return share


def show(value: object) -> str:
    """Format a value for a message: exactly, on one line, and cut to 60 characters.

    >>> show([[1, 2]]), show(1.0000001), len(show("x" * 1000))
    ('[[1, 2]]', '1.0000001', 60)
    """
    try:
        text = " ".join(map(str.strip, repr(value).splitlines()))
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
