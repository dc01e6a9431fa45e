"""What can go wrong, and the exit code each kind gets on the command line.

Every error that a person can cause or mend is a `CutawayError` whose message is one line: what is wrong, where, what
to do. Anything else that escapes is a bug in Cutaway.
"""

import sys
from collections.abc import Callable
from contextlib import suppress

OUTSIDE, INTERRUPTED, BROKEN_PIPE = 1, 130, 141  # the last two are 128 + the signal's number, as shells have it


class CutawayError(Exception):
    """Base of all errors raised on purpose; the command line prints its one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(CutawayError, ValueError):
    """An argument is out of range, unknown, or cannot be combined with another."""

    exit_code = 2


class CheckpointError(CutawayError):
    """A checkpoint or its tokenizer files are missing, malformed, truncated, not GPT-2's, or cannot be written."""

    exit_code = 3


class HubError(CutawayError):
    """A model could not be fetched from the hub: no such name, no network, or offline and not in the cache."""

    exit_code = 4


class EngineError(CutawayError):
    """An engine cannot run here: not built, a package it needs is missing, or memory ran out."""

    exit_code = 5


def complain(message: str) -> None:
    """One line on standard error."""
    print("cutaway:", " ".join(message.splitlines()), file=sys.stderr)


def guarded(action: Callable[[], None], tell: Callable[[str], None] = complain) -> int:
    """Do something, `tell` in one line what goes wrong in it, and return the exit code."""
    try:
        action()
    except CutawayError as error:
        message, code = str(error), error.exit_code
    except MemoryError:
        message, code = "not enough memory; try a smaller model, fewer texts at once, or int8", EngineError.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        message, code = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part), OUTSIDE
    else:
        return 0
    with suppress(OSError):  # standard error may be gone too
        tell(message)
    return code
