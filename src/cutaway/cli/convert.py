"""`cutaway convert`: write a checkpoint in another precision or in smaller files."""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from cutaway.cli.arguments import SOURCES, add_json, open_source, write_json
from cutaway.cli.terminal import safe
from cutaway.errors import UsageError

EXAMPLES = """\
examples:
  cutaway convert gpt2 gpt2-int8 --dtype int8
  cutaway convert gpt2-xl xl --dtype float16 --max-shard-size 1GB"""

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the source, the target directory and what to change."""
    parser.description = "Convert a checkpoint; transformers reads the result, except int8."
    parser.epilog = EXAMPLES
    parser.add_argument("source", metavar="SOURCE", help=SOURCES)
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="target directory")
    parser.add_argument("--dtype", help="float32, float16, bfloat16 or int8; default: as stored")
    parser.add_argument("--max-shard-size", metavar="SIZE", help="maximum size of a file, such as 500MB or 2GB")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing checkpoint")
    add_json(parser)


def run(options: Namespace) -> None:
    """Write the checkpoint, then open it and report its dtype and size."""
    from cutaway.checkpoints import save_checkpoint
    from cutaway.generation.config_json import generation_config_json, read_generation_config

    max_shard_bytes = _bytes(options.max_shard_size) if options.max_shard_size else None
    source = open_source(options.source)
    save_checkpoint(
        options.directory,
        source,
        options.dtype,
        tokenizer=source.tokenizer(),
        generation_config=generation_config_json(read_generation_config(source.path, source.config.n_vocab)),
        max_shard_bytes=max_shard_bytes,
        overwrite=options.overwrite,
    )
    _report(options, str(options.directory.expanduser().resolve()))


def _report(options: Namespace, directory: str) -> None:
    written = open_source(directory)
    files = sorted(path.name for path in written.path.glob("*.safetensors"))
    if options.json:
        write_json({"directory": directory, "dtype": written.dtype, "bytes": written.n_bytes, "files": files})
    else:
        print(f"{safe(directory)}: {written.dtype}, {written.n_bytes:,} bytes in {', '.join(files)}")


def _bytes(size: str) -> int:
    match = re.fullmatch(r"(0*[1-9]\d*) ?([KMG]B)?", size, re.ASCII | re.IGNORECASE)
    if match is None:
        raise UsageError(f"--max-shard-size must be a number of bytes, such as 500MB or 2GB, not {size!r}")
    return int(match[1]) * _UNITS[(match[2] or "").upper()]
