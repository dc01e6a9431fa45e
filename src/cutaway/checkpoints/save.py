"""Saving a checkpoint, tensor by tensor, in any format; transformers reads all formats except int8."""

import errno
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from cutaway.checkpoints.config_json import config_json
from cutaway.checkpoints.directory import CONFIG, GENERATION_CONFIG, INDEX, SIDE_FILES, WEIGHTS
from cutaway.checkpoints.names import format_for, stored_as, with_prefix
from cutaway.checkpoints.replace import replacing
from cutaway.checkpoints.safetensors import size_of, write_tensors
from cutaway.checkpoints.weights import Weights
from cutaway.config import GPT2Config
from cutaway.errors import CheckpointError, UsageError
from cutaway.formats import FORMATS, Array, Format, StoredAs
from cutaway.music.codec_file import CODEC
from cutaway.tokenizer.codec import TokenCodec
from cutaway.tokenizer.files import FILES, TokenizerFiles
from cutaway.tokenizer.gpt2 import N_VOCAB
from cutaway.untrusted import quote_path, raise_checkpoint_error

Parameters = Mapping[str, Mapping[str, StoredAs]]  # by parameter, the arrays that store it

# Files of a checkpoint: overwriting a checkpoint replaces these, and removes those that the new one does not have.
_OURS = re.compile(
    r"(model(-\d+-of-\d+)?\.safetensors|"
    + "|".join(map(re.escape, (CONFIG, INDEX, GENERATION_CONFIG, *SIDE_FILES, CODEC, *FILES)))
    + r")(\.part)?"
)


def save_checkpoint(
    directory: str | Path,
    weights: Weights,
    dtype: str | None = None,
    *,
    tokenizer: TokenCodec | TokenizerFiles | None = None,
    generation_config: Mapping[str, object] | None = None,
    special_tokens: Mapping[str, object] | None = None,
    side_files: Mapping[str, str] | None = None,
    max_shard_bytes: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write a checkpoint directory, with at most one tensor in memory at a time.

    `dtype` is "float32", "float16", "bfloat16" or "int8"; the default is that of the weights. The files of `tokenizer`,
    the keys of `generation_config`, and the texts in `side_files` by name (`directory.SIDE_FILES`) are written beside
    the weights. `special_tokens` (`bos_token_id`, ...) go to `config.json`; the default is those of the tokenizer. With
    `max_shard_bytes` the weights are split into several files; no parameter is split. An existing checkpoint is
    replaced only with `overwrite`, and only once the new one is complete and flushed to disk; files with other names
    are kept. The current directory and its parents are refused. Raises UsageError for invalid arguments,
    CheckpointError if the weights cannot be saved.

    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.checkpoints import ArrayWeights, open_checkpoint
    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> ones = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> with TemporaryDirectory() as directory:
    ...     save_checkpoint(f"{directory}/ones", ArrayWeights(config, ones), "bfloat16")
    ...     open_checkpoint(f"{directory}/ones").dtype
    'bfloat16'
    """
    dtype = weights.dtype if dtype is None else dtype
    if dtype not in FORMATS:
        raise UsageError(f"dtype must be one of {', '.join(FORMATS)}, not {dtype!r}")
    target = FORMATS[dtype]
    if max_shard_bytes is not None and max_shard_bytes < 1:
        raise UsageError(f"max_shard_bytes must be positive, not {max_shard_bytes}")
    path = _target(Path(directory), overwrite)
    try:
        with replacing(path, belongs=lambda name: _OURS.fullmatch(name) is not None) as staging:
            write_checkpoint(
                staging, weights, target, tokenizer, generation_config, special_tokens, side_files, max_shard_bytes
            )
            _check_free(path, overwrite)  # again: writing takes long, and another process may have saved one meanwhile
    except OSError as error:
        raise_checkpoint_error(path, f"cannot be saved: {save_failure(error, path, weights_bytes(weights, target))}")


def remove_checkpoint(directory: Path) -> None:
    """Remove the files of a checkpoint from a directory, if there are any; other files stay.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory)
    ...     for name in ("config.json", "model.safetensors", "notes.txt"):
    ...         _ = (path / name).write_text("")
    ...     remove_checkpoint(path)
    ...     [path.name for path in path.iterdir()]
    ['notes.txt']
    """
    for path in [path for path in directory.glob("*") if _OURS.fullmatch(path.name)]:
        path.unlink()


def write_checkpoint(
    directory: Path,
    weights: Weights,
    target: Format,
    tokenizer: TokenCodec | TokenizerFiles | None = None,
    generation_config: Mapping[str, object] | None = None,
    special_tokens: Mapping[str, object] | None = None,
    side_files: Mapping[str, str] | None = None,
    max_shard_bytes: int | None = None,
) -> None:
    """Write the files of a checkpoint to an empty directory. This is not atomic and does not flush to disk.

    Raises OSError if writing fails, CheckpointError if the weights cannot be saved.

    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.checkpoints import ArrayWeights
    >>> config = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
    >>> ones = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    >>> with TemporaryDirectory() as directory:
    ...     write_checkpoint(Path(directory), ArrayWeights(config, ones), FORMATS["float32"])
    ...     sorted(path.name for path in Path(directory).iterdir())
    ['config.json', 'model.safetensors']
    """
    special = _special_tokens(weights.config, tokenizer) if special_tokens is None else special_tokens
    config = config_json(weights.config, target, special)
    _write_weights(directory, weights, target, max_shard_bytes)
    if tokenizer is not None:
        tokenizer.write(directory)
    if generation_config:
        _write_json(directory / GENERATION_CONFIG, generation_config)
    for name, text in (side_files or {}).items():
        (directory / name).write_text(text, encoding="utf-8")
    _write_json(directory / CONFIG, config)


def weights_bytes(weights: Weights, target: Format) -> int:
    """Return the size of the weights in a format, in bytes.

    >>> import cutaway
    >>> weights_bytes(cutaway.load().weights, FORMATS["float32"]) == 4 * cutaway.load().config.n_params
    True
    """
    return sum(map(_n_bytes, stored_as(weights.config, target).values()))


def save_failure(error: OSError, target: Path, needed: int) -> str:
    """Describe an error in words; if the disk is full, with the bytes needed and free.

    >>> save_failure(OSError(errno.EIO, "Input/output error"), Path("model"), needed=100)
    'Input/output error'
    """
    reason = error.strerror or str(error)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return reason
    import shutil  # not needed for a first token

    disk = next(parent for parent in target.parents if parent.exists())
    return f"{reason} ({needed} bytes needed, {shutil.disk_usage(disk).free} free)"


def _target(directory: Path, overwrite: bool) -> Path:
    try:
        target = directory.expanduser().resolve()
        for part in (target, *target.parents):
            if part.exists() and not part.is_dir():
                raise_checkpoint_error(part, "is not a directory")
        if Path.cwd().is_relative_to(target):  # the shell's current directory would be replaced
            raise UsageError(
                f"{quote_path(target)} is the current directory or above it: choose a directory of its own"
            )
        _check_free(target, overwrite)
    except (OSError, RuntimeError) as error:  # permission denied, name too long, unknown user
        reason = error.strerror if isinstance(error, OSError) else error
        raise_checkpoint_error(directory, f"cannot be saved: {reason}")
    return target


def _check_free(target: Path, overwrite: bool) -> None:
    """Raise CheckpointError if there are files of a checkpoint that must not be overwritten."""
    there = sorted(path.name for path in target.glob("*") if _OURS.fullmatch(path.name))
    if there and not overwrite:
        raise_checkpoint_error(
            target, f"holds {there[0]} already: choose another directory, or --overwrite (overwrite=True)"
        )


def _special_tokens(config: GPT2Config, tokenizer: TokenCodec | TokenizerFiles | None) -> dict[str, object]:
    """Return the start and end token of a tokenizer; without one, GPT-2's if the vocabulary has its size."""
    if tokenizer is None or isinstance(tokenizer, TokenizerFiles):
        gpt2 = N_VOCAB - 1 if config.n_vocab == N_VOCAB else None
        return {"bos_token_id": gpt2, "eos_token_id": gpt2}
    return {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos}


def _write_weights(directory: Path, weights: Weights, target: Format, max_shard_bytes: int | None) -> None:
    parameters = stored_as(weights.config, target)
    shards = _split(parameters, max_shard_bytes)
    listed: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = WEIGHTS if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        kinds = {with_prefix(part): kind for name in names for part, kind in parameters[name].items()}
        write_tensors(directory / file, kinds, _stored(weights, names, target))
        listed |= dict.fromkeys(kinds, file)
    if len(shards) > 1:
        total = sum(map(_n_bytes, parameters.values()))
        _write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": listed})


def _split(parameters: Parameters, max_bytes: int | None) -> list[list[str]]:
    """Split the parameters, in order, into as few files as `max_bytes` allows; a larger parameter has its own file."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, kinds in parameters.items():
        filled += _n_bytes(kinds)
        if max_bytes is not None and filled > max_bytes and shards[-1]:
            shards.append([])
            filled = _n_bytes(kinds)
        shards[-1].append(name)
    return shards


def _n_bytes(kinds: Mapping[str, StoredAs]) -> int:
    return sum(size_of(kind) for kind in kinds.values())


def _stored(weights: Weights, names: list[str], target: Format) -> Iterator[tuple[str, Array]]:
    """Convert these parameters, one at a time, to the arrays that store them."""
    for name in names:
        stored = weights.stored(name)
        try:
            stored = stored.to(format_for(stored.spec, target))
        except UsageError as error:
            raise CheckpointError(str(error)) from None
        for suffix, array in stored.arrays.items():
            yield with_prefix(name + suffix), array


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
