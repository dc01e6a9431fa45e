"""`cutaway convert`: write a checkpoint in another precision or in smaller files, or turn a pickle into safetensors."""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.cli.arguments import SOURCES, add_json, write_json
from cutaway.cli.terminal import note, safe
from cutaway.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from cutaway.checkpoints.foreign import ForeignWeights
    from cutaway.checkpoints.metadata import ChatTemplate

EXAMPLES = """\
examples:
  cutaway convert gpt2 gpt2-int8 --dtype int8
  cutaway convert gpt2-xl xl --dtype float16 --max-shard-size 1GB
  cutaway convert ckpt.pt mine --allow-pickle --n-vocab 50257"""

# Suffixes of files with weights in other layouts, or without a config.json.
_FILES = (".bin", ".ckpt", ".ggml", ".gguf", ".h5", ".onnx", ".pt", ".pth", ".safetensors")
PADDED = 50304  # nanoGPT's padding of GPT-2's vocabulary, to a multiple of 64
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the source, the target directory and the changes to make."""
    parser.description = "Convert a checkpoint; transformers reads the result, except int8."
    parser.epilog = EXAMPLES
    parser.add_argument("source", metavar="SOURCE", help=SOURCES)
    parser.add_argument(
        "directory", type=Path, metavar="DIRECTORY", help="target directory, of config.json and safetensors"
    )
    parser.add_argument("--dtype", help="float32, float16, bfloat16 or int8; default: as stored")
    parser.add_argument("--max-shard-size", metavar="SIZE", help="maximum size of a file, such as 500MB or 2GB")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing checkpoint")
    add_json(parser)
    add = parser.add_argument_group(
        "pickles of nanoGPT, minGPT and transformers: ckpt.pt, pytorch_model.bin"
    ).add_argument
    add("--allow-pickle", action="store_true", help="read a pickle, in a sandboxed process")
    add("--n-head", type=int, metavar="N", help="attention heads, if the file does not state them")
    add("--n-vocab", type=int, metavar="N", help="keep the first N tokens of a padded vocabulary")


def run(options: Namespace) -> None:
    """Write the checkpoint, then open it and report its dtype and size."""
    from cutaway.checkpoints.pickles import find_pickle

    _check_directory(options.directory)
    path = find_pickle(options.source)
    if path is None and (file := _ordinary(options.source)):
        if not options.allow_pickle:
            raise _error(file, "is neither a directory with a checkpoint nor a pickle; give the directory")
        path = file  # not a known pickle; the process that reads it reports the error
    if path is None and not (options.n_head is None and options.n_vocab is None):
        raise UsageError("--n-head and --n-vocab are for pickles; other checkpoints state their sizes")
    notes = _convert(options) if path is None else _convert_pickle(path, options)
    _report(options, str(options.directory.expanduser().resolve()), notes)


def _ordinary(source: str) -> Path | None:
    """Return the path of a source that is a file; None for any other source, or a name that `open_source` refuses."""
    with suppress(OSError, RuntimeError):  # permission denied, name too long, unknown user
        path = Path(source).expanduser()
        return path if path.is_file() else None
    return None


def _check_directory(path: Path) -> None:
    """Raise UsageError for a name with the suffix of a file, which is a mistake for a directory."""
    suffix = path.suffix.lower()
    if suffix not in _FILES:
        return
    with suppress(OSError, RuntimeError):  # `save_checkpoint` reports it
        if path.expanduser().is_dir():
            return
    other = ", and no GGUF" if suffix in (".gguf", ".ggml") else ""
    raise UsageError(
        f"{safe(str(path))}: convert writes a directory in the layout of Hugging Face{other}; "
        f"give a directory, such as {safe(str(path.with_suffix('')))}"
    )


def _convert(options: Namespace) -> list[str]:
    from cutaway.checkpoints import open_source, save_checkpoint
    from cutaway.loading import left_out_message

    max_shard_bytes = _max_shard_bytes(options)
    source = open_source(options.source)
    if source.left_out:
        note(f"warning: {left_out_message(source.name, source.left_out)}")
    _warn_of_template(source.chat_template())
    save_checkpoint(
        options.directory,
        source,
        options.dtype,
        tokenizer=source.tokenizer_files(),
        generation_config=source.metadata().generation_config,
        special_tokens=source.special_tokens,
        side_files=source.side_files(),
        max_shard_bytes=max_shard_bytes,
        overwrite=options.overwrite,
    )
    return []


def _warn_of_template(template: "ChatTemplate") -> None:
    if template.error:
        note(f"warning: {template.error}; it is left out")


def _convert_pickle(path: Path, options: Namespace) -> list[str]:
    """Write the checkpoint in a pickle, and return notes on it."""
    from cutaway.checkpoints import save_checkpoint
    from cutaway.checkpoints.checkpoint import (
        read_generation_json,
        read_side_files,
        read_template,
        tokenizer_files_beside,
    )
    from cutaway.checkpoints.config_json import read_config
    from cutaway.checkpoints.foreign import Overrides, foreign_weights
    from cutaway.checkpoints.pickles import unpickled
    from cutaway.loading import left_out_message

    _check_whole(Path(options.source).expanduser(), path)
    if not options.allow_pickle:
        raise _error(path, "is a pickle, which can run code; --allow-pickle reads it in a process without rights")
    max_shard_bytes = _max_shard_bytes(options)
    config = path.with_name("config.json")
    stored = read_config(config) if config.exists() else None
    stated = stored.config if stored else None
    overrides = Overrides(options.n_head, options.n_vocab)
    with unpickled(path) as found:
        weights = foreign_weights(path, found.file, found.settings, stated, overrides, found.skipped)
        if weights.left_out:
            note(f"warning: {left_out_message(safe(str(path)), weights.left_out)}")
        _warn_of_template(read_template(path.parent))
        save_checkpoint(
            options.directory,
            weights,
            options.dtype,
            tokenizer=tokenizer_files_beside(
                path.parent, weights.config.n_vocab, stored.tokenizer_class if stored else None
            ),
            generation_config=read_generation_json(path.parent),
            special_tokens=stored.special_tokens if stored else None,
            side_files=read_side_files(path.parent),
            max_shard_bytes=max_shard_bytes,
            overwrite=options.overwrite,
        )
        return list(_notes(weights, from_nanogpt=bool(found.settings) and stated is None))


def _check_whole(source: Path, path: Path) -> None:
    """Raise CheckpointError for a directory with several pickles, of which `path` is the first."""
    from cutaway.checkpoints.pickles import pickles_in

    if source.is_file() or len(found := pickles_in(source)) == 1:
        return
    if re.search(r"-\d+-of-\d+\.bin$", path.name):
        raise _error(source, f"is a pickle in {len(found)} files; save it as safetensors with transformers first")
    names = ", ".join(each.name for each in found[:3])
    raise _error(source, f"holds {len(found)} pickles; name the one to convert: {names}")


def _error(path: Path, reason: str) -> CheckpointError:
    from cutaway.untrusted import quote_path

    return CheckpointError(f"{quote_path(path)}: {reason}")


def _notes(weights: "ForeignWeights", *, from_nanogpt: bool) -> Iterator[str]:
    config = weights.config
    if weights.dropped:
        yield f"dropped {len(weights.dropped)} attention masks, {weights.dropped[0]} the first of them"
    if "ln_f.bias" not in weights.names:
        yield "the file has no biases; all are set to zero"
    if from_nanogpt:
        yield "nanoGPT computes GELU exactly, unlike GPT-2: activation_function is gelu"
    if config.n_vocab == PADDED:
        padding = f"the vocabulary has {PADDED} tokens, as nanoGPT pads GPT-2's 50257"
        yield f"{padding}; --n-vocab 50257 drops the padding, and GPT-2's tokenizer then fits"


def _report(options: Namespace, directory: str, notes: list[str]) -> None:
    from cutaway.checkpoints import open_source

    written = open_source(directory)
    if options.json:
        document = {
            "directory": directory,
            "dtype": written.dtype,
            "bytes": written.n_bytes,
            "files": list(written.files),
        }
        write_json(document | ({"notes": notes} if notes else {}))
    else:
        for line in notes:
            note(line)
        print(f"{safe(directory)}: {written.dtype}, {written.n_bytes:,} bytes in {', '.join(written.files)}")


def _max_shard_bytes(options: Namespace) -> int | None:
    size = options.max_shard_size
    if size is None:
        return None
    match = re.fullmatch(r"(0*[1-9]\d*) ?([KMG]B)?", size, re.ASCII | re.IGNORECASE)
    if match is None:
        raise UsageError(f"--max-shard-size must be a number of bytes, such as 500MB or 2GB, not {size!r}")
    return int(match[1]) * _UNITS[(match[2] or "").upper()]
