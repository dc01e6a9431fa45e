"""Loading a model: its checkpoint by name, and an engine to run it."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from cutaway.checkpoints import Weights, open_source
from cutaway.engines.protocol import Engine
from cutaway.errors import CheckpointError, UsageError
from cutaway.generation.config_json import read_generation_config
from cutaway.model import Model
from cutaway.untrusted import quote_name

ENGINES = ("cpu", "pytorch", "reference")


def load(
    source: str | Path = "builtin",
    *,
    dtype: str | None = None,
    engine: str | None = None,
    threads: int | None = None,
) -> Model:
    """Load a model: "builtin", a checkpoint directory, one of OpenAI's ("gpt2" … "gpt2-xl", or by size), or a hub
    name "owner/name".

    `dtype` defaults to that of the checkpoint, `engine` to "cpu" ("reference" if the compiled library is missing).
    Raises CheckpointError, HubError, EngineError or UsageError, each with one line that says what to do. An unreadable
    tokenizer is an error only when text is given; token ids work without it. Heads other than the language model's are
    ignored, with a RuntimeWarning.

    >>> load("builtin", engine="reference").engine.dtype
    'float32'
    """
    if engine not in (None, *ENGINES):
        raise UsageError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    checkpoint = open_source(source)
    generation_config = read_generation_config(checkpoint.path, checkpoint.config.n_vocab)
    if checkpoint.left_out:
        warnings.warn(left_out_message(checkpoint.name, checkpoint.left_out), RuntimeWarning, stacklevel=2)
    running = make_engine(checkpoint, dtype, engine, threads)
    codec = None
    reason = ""
    try:
        codec = checkpoint.codec()
    except CheckpointError as error:
        reason = str(error)
    return Model(running, checkpoint, codec, checkpoint.name, generation_config, checkpoint.metadata(reason))


def left_out_message(model: str, left_out: Sequence[str]) -> str:
    """Say which tensors of a checkpoint are ignored because they are not part of the language model.

    >>> left_out_message("mine", ["v_head.summary.weight", "v_head.summary.bias"])
    'mine: v_head.summary.weight and 1 more left out: only the language model is read'
    """
    first, *others = left_out
    named = f"{quote_name(first)} and {len(others)} more" if others else quote_name(first)
    return f"{model}: {named} left out: only the language model is read"


def make_engine(
    weights: Weights, dtype: str | None = None, engine: str | None = None, threads: int | None = None
) -> Engine:
    """Make an engine by name for some weights; see `load`.

    >>> make_engine(open_source("builtin"), dtype="float32").name in ENGINES
    True
    """
    from cutaway.engines.cpu.library import why_unusable

    if engine is None and (missing := why_unusable()):
        try:
            reference = make_reference(weights, dtype, threads)
        except UsageError as error:
            raise UsageError(f"{error}; and {missing}") from None
        warnings.warn(f"{missing}; running the reference engine, which is slow", RuntimeWarning, stacklevel=3)
        return reference
    if engine in (None, "cpu"):
        from cutaway.engines.cpu.engine import CpuEngine

        return CpuEngine(weights, dtype, threads)
    if engine == "pytorch":
        from cutaway.engines.pytorch.engine import PyTorchEngine

        return PyTorchEngine(weights, dtype, threads)
    return make_reference(weights, dtype, threads)


def make_reference(weights: Weights, dtype: str | None, threads: int | None) -> Engine:
    """Make the reference engine, which has one precision and leaves threads to NumPy.

    >>> make_reference(open_source("builtin"), "int8", None)
    Traceback (most recent call last):
    cutaway.errors.UsageError: dtype must be float32 with the reference engine, not 'int8'
    """
    from cutaway.engines.reference import ReferenceEngine

    if dtype not in (None, "float32"):
        raise UsageError(f"dtype must be float32 with the reference engine, not {dtype!r}")
    if threads is not None:
        raise UsageError("threads must be left out with the reference engine, which has no threads of its own")
    return ReferenceEngine(weights)
