"""What can go wrong, and the exit code each kind gets on the command line.

Every error that a person can cause or mend is a `CutawayError` whose message is one line: what is wrong, where, what
to do. Anything else that escapes is a bug in Cutaway.
"""


class CutawayError(Exception):
    """Base of all errors raised on purpose; the command line prints its one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(CutawayError, ValueError):
    """An argument is out of range, unknown, or cannot be combined with another."""

    exit_code = 2


class CheckpointError(CutawayError):
    """A checkpoint, its configuration or its tokenizer files are missing, malformed, truncated or not GPT-2's."""

    exit_code = 3


class HubError(CutawayError):
    """A model could not be fetched from the hub: no such name, no network, or offline and not in the cache."""

    exit_code = 4


class EngineError(CutawayError):
    """An engine cannot run here: not built, a package it needs is missing, or memory ran out."""

    exit_code = 5
