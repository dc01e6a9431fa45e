"""Checkpoints by directory or by name on the hub."""

import re
from contextlib import suppress
from pathlib import Path

from cutaway.checkpoints import hub
from cutaway.checkpoints.adapter import AdaptedCheckpoint, is_adapter, read_adapter, read_base
from cutaway.checkpoints.checkpoint import Checkpoint
from cutaway.checkpoints.directory import CONFIG, INDEX, WEIGHTS
from cutaway.checks import show
from cutaway.config import PUBLISHED, published
from cutaway.errors import CheckpointError, HubError, UsageError
from cutaway.untrusted import quote, quote_path, raise_checkpoint_error

_PACKAGED = Path(__file__).parents[1] / "builtin"
BUILTIN = _PACKAGED / "text"  # the default model
BUILTIN_MODELS = {
    "builtin": BUILTIN,
    "builtin-translation": _PACKAGED / "translation",
    "builtin-piano": _PACKAGED / "piano",
}
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open a checkpoint: a directory, a published model ("gpt2", "124M", "117M", ...), or "owner/name" on the hub.

    A directory takes precedence over a name, and may be a LoRA adapter, which names its model. Raises CheckpointError
    if there is no valid checkpoint, HubError if a name cannot be fetched.

    >>> open_checkpoint("gpt3")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: 'gpt3' is neither a directory nor a model name (builtin, ...)
    """
    if source == "":  # Path("") is the current directory
        raise CheckpointError("the name of a model must not be empty")
    try:
        path = Path(source)
    except TypeError:
        raise UsageError(f"a model must be a name or a path, not {show(source)}") from None
    try:
        path = path.expanduser()
        if path.is_dir():
            _refuse_run(path)
            return _open_adapted(path.resolve()) if is_adapter(path) else Checkpoint(path, path.resolve().name)
        if path.exists():
            raise_checkpoint_error(path, "is a file; give the directory that it is in, or convert a pickle first")
    except (OSError, RuntimeError) as error:  # permission denied, name too long, unknown user
        raise_checkpoint_error(path, f"cannot be read: {getattr(error, 'strerror', error)}")
    if isinstance(source, str):
        if model := published(source):
            return Checkpoint(hub.fetch_published(model.name), model.name)
        if _HUB_NAME.fullmatch(source):
            return Checkpoint(hub.fetch(source), source)
    names = ", ".join([*BUILTIN_MODELS, *(model.name for model in PUBLISHED)])
    raise CheckpointError(f"{quote(str(source))} is neither a directory nor a model name ({names}, or owner/name)")


def open_source(source: str | Path) -> Checkpoint:
    """Open a checkpoint for `cutaway.load`: a built-in one, or any that `open_checkpoint` opens. Raises as it does.

    >>> open_source("builtin").dtype
    'int8'
    >>> open_source("builtin-piano").codec().name
    'perf388'
    """
    path = BUILTIN_MODELS.get(str(source))
    if path is None or not path.is_dir():  # a build without the built-in models
        return open_checkpoint(source)
    return Checkpoint(path, str(source))


def _refuse_run(directory: Path) -> None:
    """Raise CheckpointError if a directory is that of a training run; the message names the run's model."""
    if any((directory / name).exists() for name in (WEIGHTS, INDEX)):
        return
    model = directory / "model"
    if (model / CONFIG).exists() or is_adapter(model):
        raise_checkpoint_error(directory, f"is a training run; give its model, {quote_path(model)}")
    saved = sorted((directory / "checkpoints").glob(f"step-{'[0-9]' * 8}"))
    if saved:
        raise_checkpoint_error(
            directory, f"is a training run that has not ended; its last checkpoint is {quote_path(saved[-1])}"
        )


def _open_adapted(directory: Path) -> Checkpoint:
    base = read_base(directory)
    with suppress(OSError, RuntimeError):  # `open_source` reports it
        if is_adapter(Path(base).expanduser()):
            raise_checkpoint_error(
                directory, f"is an adapter of {quote(base)}, which is an adapter too: merge that first"
            )
    try:
        checkpoint = open_source(base)
    except (CheckpointError, HubError) as error:
        raise CheckpointError(f"{quote_path(directory)} is an adapter, and its model: {error}") from None
    return AdaptedCheckpoint(checkpoint, read_adapter(directory, checkpoint.config), directory)
