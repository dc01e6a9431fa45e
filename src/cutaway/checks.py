"""What is asked of a caller's arguments, in one line where it is not met."""

import operator

from cutaway.errors import UsageError


def check_int(name: str, value: object, least: int, most: int | None = None) -> int:
    """`value` as an int; raises UsageError unless it is a whole number (no bool, no float) from `least` to `most`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{name} must be a whole number, not {value!r}") from None
    if number < least or (most is not None and number > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{name} must be {span}, not {number}")
    return number


def check_float(name: str, value: object, least: float, most: float) -> float:
    """`value` as a float; raises UsageError unless it is a number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} must be a number, not {value!r}")
    if not least <= value <= most:
        raise UsageError(f"{name} must be from {least:g} to {most:g}, not {value:g}")
    return float(value)
