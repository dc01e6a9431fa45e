"""Tokenize text files into a shard: `python -m cutaway.data.prepare books.jsonl.xz --out books.npy`."""

import argparse
import json
import lzma
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cutaway.data.shards import write_shard
from cutaway.errors import UsageError, guarded
from cutaway.tokenizer.fast import Tokenizer


def documents(path: Path) -> Iterator[str]:
    """Yield the `text` of each line of a JSON-lines file, .xz or plain. Raises UsageError naming an invalid line."""
    with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                yield _text(line, f"{path}:{number}")
        except (lzma.LZMAError, EOFError) as error:
            raise UsageError(f"{path}: truncated or invalid .xz file: {error}") from error


def _text(line: bytes, place: str) -> str:
    try:
        return str(json.loads(line)["text"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{place}: not a JSON object with a "text"') from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Write all files into one shard, in their order."""
    parser = argparse.ArgumentParser(prog="python -m cutaway.data.prepare", description="Turn text into a token shard.")
    parser.add_argument("files", nargs="+", type=Path, help='JSON lines with a "text" each, .xz or plain')
    parser.add_argument("--out", type=Path, required=True, help="the shard to write (.npy)")
    options = parser.parse_args(arguments)
    texts = (text for path in options.files for text in documents(path))
    count = write_shard(options.out, texts, Tokenizer.gpt2())
    print(f"{options.out}: {count:,} tokens")


if __name__ == "__main__":
    sys.exit(guarded(main))
