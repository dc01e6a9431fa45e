"""Models, tokenizers and tasks that arguments name."""

import warnings
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.cli import terminal
from cutaway.errors import CheckpointError

if TYPE_CHECKING:
    from cutaway.config import GPT2Config
    from cutaway.model import Model
    from cutaway.tasks import Task
    from cutaway.tokenizer.reading import FileTokenizer


def load_model(options: Namespace, name: str | None = None) -> "Model":
    """Load the model of `add_model`'s arguments, or the one called `name` with the same options; warnings become lines
    on standard error.
    """
    from cutaway.loading import load

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        model = load(name or options.model, dtype=options.dtype, engine=options.engine, threads=options.threads)
    for warning in caught:
        terminal.note(f"warning: {warning.message}")
    return model


def describe(model: "Model") -> dict[str, object]:
    """Return the fields that identify the model in a JSON document."""
    return {"model": model.name, "engine": model.engine.name, "dtype": model.engine.dtype}


def find_config(source: str) -> "tuple[str, GPT2Config]":
    """Return the name of a model, as `load` gives it, and its shape; OpenAI's models are known without their files."""
    from cutaway.config import published

    known = published(source)
    if known and not Path(source).is_dir():
        return known.name, known.config
    from cutaway.checkpoints import open_source  # which needs NumPy

    checkpoint = open_source(source)
    return checkpoint.name, checkpoint.config


def read_tokenizer(name: str | None) -> "FileTokenizer":
    """Read the tokenizer of a model, or of a directory with nothing else in it; None means GPT-2's own.

    For GPT-2's own, by the name of any of its models, nothing is downloaded. Raises CheckpointError for a model without
    a tokenizer.
    """
    from cutaway.config import published
    from cutaway.tokenizer.fast import Tokenizer

    if name is None:
        return Tokenizer.gpt2()
    path = Path(name)
    if path.is_dir() and not (path / "config.json").exists():
        from cutaway.tokenizer.reading import read_tokenizer as read_beside

        return read_beside(path)
    if published(name) and not path.is_dir():
        return Tokenizer.gpt2()
    from cutaway.checkpoints import open_source  # which needs NumPy

    checkpoint = open_source(name)
    tokenizer = checkpoint.tokenizer()
    if tokenizer is None:
        raise CheckpointError(f"{checkpoint.name} has no tokenizer files")
    return tokenizer


def find_task(model: "Model", source: str) -> "Task":
    """Return the task that a model has learned if it has that name, else open the task by its name or file.

    Raises UsageError for an unknown or invalid task.
    """
    from cutaway.tasks import open_task

    own = model.task
    return own if own is not None and own.name == source else open_task(source)
