"""Writing a checkpoint: tensor by tensor, in the dtype asked for, as files that transformers reads too (int8 apart)."""

import errno
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from cutaway.checkpoints.config_json import config_json
from cutaway.checkpoints.directory import CONFIG, INDEX, WEIGHTS
from cutaway.checkpoints.names import format_for, stored_as, with_prefix
from cutaway.checkpoints.replace import replacing
from cutaway.checkpoints.safetensors import size_of, write_tensors
from cutaway.checkpoints.weights import Weights
from cutaway.config import GPT2Config
from cutaway.errors import CheckpointError, UsageError
from cutaway.formats import FORMATS, Array, Format, StoredAs
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.vocabulary import gpt2_vocabulary
from cutaway.untrusted import quote_path, raise_checkpoint_error

Parameters = Mapping[str, Mapping[str, StoredAs]]  # for each parameter the arrays that store it

# What a checkpoint consists of: overwriting one replaces these files, and removes those that the new one has not.
_OURS = re.compile(
    r"(model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|vocab\.json|merges\.txt"
    r"|(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json)(\.part)?"
)


def save_checkpoint(
    directory: str | Path,
    weights: Weights,
    dtype: str | None = None,
    *,
    tokenizer: Codec | None = None,
    max_shard_bytes: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write a checkpoint directory; no more than one tensor is in memory at a time.

    `dtype` is "float32", "float16", "bfloat16" or "int8", and what the weights are stored as unless given. A
    tokenizer's files are written beside the weights. With `max_shard_bytes` the weights are in several files; no
    parameter is split. A checkpoint that is there already is replaced only if `overwrite`, and only by one that is
    whole and on the disk; files of other names stay. The current directory is no place for one, nor any above it.
    Raises UsageError for the arguments, CheckpointError where the weights cannot be saved.
    """
    dtype = weights.dtype if dtype is None else dtype
    if dtype not in FORMATS:
        raise UsageError(f"dtype must be one of {', '.join(FORMATS)}, not {dtype!r}")
    target = FORMATS[dtype]
    if max_shard_bytes is not None and max_shard_bytes < 1:
        raise UsageError(f"max_shard_bytes must be positive, not {max_shard_bytes}")
    path = _target(Path(directory), overwrite)
    parameters = stored_as(weights.config, target)
    config = config_json(weights.config, target, _end_of_text(weights.config, tokenizer))
    try:
        with replacing(path, belongs=lambda name: _OURS.fullmatch(name) is not None) as staging:
            _write_weights(staging, weights, target, max_shard_bytes)
            if tokenizer is not None:
                tokenizer.write(staging)
            _write_json(staging / CONFIG, config)
    except OSError as error:
        raise_checkpoint_error(path, f"cannot be saved: {_reason(error, path, parameters)}")


def _target(directory: Path, overwrite: bool) -> Path:
    try:
        target = directory.expanduser().resolve()
        for part in (target, *target.parents):
            if part.exists() and not part.is_dir():
                raise_checkpoint_error(part, "is not a directory")
        if Path.cwd().is_relative_to(target):  # what is replaced whole would vanish from under a shell's feet
            raise UsageError(
                f"{quote_path(target)} is the current directory or above it: choose a directory of its own"
            )
        there = sorted(path.name for path in target.glob("*") if _OURS.fullmatch(path.name))
        if there and not overwrite:
            raise_checkpoint_error(
                target, f"holds {there[0]} already: choose another directory, or --overwrite (overwrite=True)"
            )
    except (OSError, RuntimeError) as error:  # no permission, too long a name, no such user's home
        raise_checkpoint_error(directory, f"cannot be saved: {error}")
    return target


def _end_of_text(config: GPT2Config, tokenizer: Codec | None) -> int | None:
    if tokenizer is not None:
        return tokenizer.eos
    gpt2 = gpt2_vocabulary()
    return gpt2.end_of_text if gpt2.n_vocab == config.n_vocab else None


def _reason(error: OSError, target: Path, parameters: Parameters) -> str:
    reason = error.strerror or str(error)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return reason
    needed = sum(map(_n_bytes, parameters.values()))
    import shutil  # not needed for a first token

    disk = next(parent for parent in target.parents if parent.exists())
    return f"{reason} ({needed} bytes needed, {shutil.disk_usage(disk).free} free)"


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
    """The parameters' names in as few runs as `max_bytes` allows; one that is larger has a run of its own."""
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
    """The arrays that store these parameters, one parameter at a time."""
    for name in names:
        stored = weights.stored(name)
        try:
            stored = stored.to(format_for(stored.spec, target))
        except UsageError as error:
            raise CheckpointError(f"{name}: {error}") from None
        for suffix, array in stored.arrays.items():
            yield with_prefix(name + suffix), array


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
