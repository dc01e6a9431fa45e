"""Expected errors, with the exit code of each on the command line.

Every expected error is a `CutawayError` whose message is one line: what is wrong, where, what to do. Any other
exception that escapes is a bug in Cutaway.
"""

import re
import sys
from collections.abc import Callable
from contextlib import suppress

OUTSIDE = 1
INTERRUPTED = 130  # 128 + SIGINT, as in shells
BROKEN_PIPE = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM

NO_MEMORY = "not enough memory; try a smaller model, fewer texts at once, or int8"
_OUT_OF_MEMORY = re.compile("failed to map segment|cannot allocate memory", re.IGNORECASE)  # when a library is imported


class CutawayError(Exception):
    """Base class of all expected errors; the command line prints the message and exits with `exit_code`."""

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


class NonFiniteError(EngineError):
    """Logits hold NaN or infinity, because a model's numbers are too large for the type that it computes in."""


class RunError(CutawayError):
    """A run directory is in use, damaged or cannot be written, or training cannot continue (NaN)."""

    exit_code = 6


class WriteError(RunError):
    """A checkpoint or a line of the log cannot be written, as on a full disk."""


def complain(message: str) -> None:
    """Print a message as one line on standard error.

    >>> from contextlib import redirect_stderr
    >>> with redirect_stderr(sys.stdout):
    ...     complain("no such figure: F99")
    cutaway: no such figure: F99
    """
    print("cutaway:", " ".join(message.splitlines()), file=sys.stderr)


def guarded(action: Callable[[], None], tell: Callable[[str], None] = complain) -> int:
    """Run `action` and return its exit code; an expected error or one of the system is passed to `tell` as one line.

    >>> def refuse() -> None:
    ...     raise UsageError("no such figure: F99")
    >>> guarded(refuse, tell=print)
    no such figure: F99
    2
    """
    try:
        action()
        return 0
    except CutawayError as error:
        message = str(error)
        code = error.exit_code
    except MemoryError:
        message = NO_MEMORY
        code = EngineError.exit_code
    except ImportError as error:
        if not _OUT_OF_MEMORY.search(str(error)):
            raise
        message = NO_MEMORY
        code = EngineError.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 wraps it while a class is created
            raise
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        message = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        code = OUTSIDE
    with suppress(OSError):  # standard error may be closed too
        tell(message)
    return code
