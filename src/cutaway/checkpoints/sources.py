"""Checkpoints by directory or by name on the hub."""

import re
from pathlib import Path

from cutaway.checkpoints import hub
from cutaway.checkpoints.checkpoint import Checkpoint
from cutaway.config import PUBLISHED, published
from cutaway.errors import CheckpointError, UsageError
from cutaway.untrusted import quote, raise_checkpoint_error

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open a checkpoint: a directory, a published model ("gpt2", "124M", "117M", ...), or "owner/name" on the hub.

    A directory takes precedence over a name. Raises CheckpointError if there is no valid checkpoint, HubError if a name
    cannot be fetched.

    >>> open_checkpoint("gpt3")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: 'gpt3' is neither a directory nor a model name (gpt2, gpt2-medium, ...)
    """
    if source == "":  # which Path would take for the directory we are in
        raise CheckpointError("the name of a model must not be empty")
    try:
        path = Path(source)
    except TypeError:
        raise UsageError(f"a model must be a name or a path, not {source!r:.60}") from None
    try:
        path = path.expanduser()
        if path.is_dir():
            return Checkpoint(path, path.resolve().name)
        if path.exists():
            raise_checkpoint_error(path, "is a file; give the directory that it is in, or convert a pickle first")
    except (OSError, RuntimeError) as error:  # no permission, too long a name, no such user's home
        raise_checkpoint_error(path, f"cannot be read: {error}")
    if isinstance(source, str):
        if model := published(source):
            return Checkpoint(hub.fetch_published(model.name), model.name)
        if _HUB_NAME.fullmatch(source):
            return Checkpoint(hub.fetch(source), source)
    names = ", ".join(model.name for model in PUBLISHED)
    raise CheckpointError(f"{quote(str(source))} is neither a directory nor a model name ({names}, or owner/name)")
