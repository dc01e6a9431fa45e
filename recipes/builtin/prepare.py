"""Tokenize the corpus of the built-in model, as one prepared corpus for each part of its mixture.

    python -m recipes.builtin.prepare --corpus recipes/out/corpus --out recipes/out/shards
    python -m recipes.builtin.prepare --out recipes/out/shards --pack recipes/out/packed
    python -m recipes.builtin.prepare --out /tmp/shards --unpack recipes/out/packed

Stories and dialogues are the two halves of the simple corpus; books that are simple too (`simple-books.txt` of the
corpus) are a separate part. `--pack` compresses the corpora into groups of files of at most 45 MB each, for a machine
that accepts no more at a time.
"""

import argparse
import json
import lzma
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from cutaway.data.blocks import BLOCK_BYTES, PART_BYTES, Block, PartId, in_parts, text_blocks
from cutaway.data.dataset import TOKENIZER
from cutaway.data.inputs import Inputs
from cutaway.data.manifest import MANIFEST
from cutaway.data.sources import SourceFile
from cutaway.data.workers import encode_blocks
from cutaway.data.writer import CorpusWriter
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer

Record = dict[str, str]
BOOKS = ("books-train-0", "books-train-1", "books-train-2")
GROUP_BYTES = 45_000_000
PIECE_BYTES = 16_000_000


Filter = Callable[[Record], bool]


def is_dialogue(record: Record) -> bool:
    """Return True for a dialogue of the simple corpus, False for a story."""
    return record["kind"].startswith("dialogues")


def read_simple_books(path: Path) -> set[tuple[str, str, str]]:
    """Return (title, author, source) of each book in simple-books.txt: lines of fields between bars."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if "|" in line and not line.startswith("#")]
    return {(row[0].strip(), row[1].strip(), row[2].strip()) for row in rows}


def parts(corpus: Path) -> dict[str, dict[str, Filter]]:
    """Return the parts of the mixture: the files of each, with a filter for their records."""
    simple_books = read_simple_books(corpus / "simple-books.txt")

    def is_simple(book: Record) -> bool:
        return (book["title"].strip(), book["author"].strip(), book["source"].strip()) in simple_books

    def is_story(record: Record) -> bool:
        return not is_dialogue(record)

    def is_any(record: Record) -> bool:
        return True

    return {
        "stories": {"simple-train": is_story, "simple-valid": is_story},
        "dialogues": {"simple-train": is_dialogue, "simple-valid": is_dialogue},
        "simple-books": dict.fromkeys(BOOKS, is_simple),
        "books": {**dict.fromkeys(BOOKS, lambda book: not is_simple(book)), "books-valid": is_any},
        "wikipedia": {"wikipedia-train": is_any, "wikipedia-valid": is_any},
    }


def prepare(corpus: Path, out: Path, workers: int) -> None:
    """Tokenize every part that does not exist yet."""
    for name, files in parts(corpus).items():
        if (out / name / MANIFEST).exists():
            continue
        sources = {source(corpus / f"{file}.jsonl.xz"): is_wanted for file, is_wanted in files.items()}
        inputs = Inputs(tuple(sources), 0, "text", BLOCK_BYTES, PART_BYTES)
        with CorpusWriter(out / name, Tokenizer.gpt2(), "gpt2", inputs) as writer:
            encoded = encode_blocks(blocks(sources, writer.done), out / name / TOKENIZER, 0, "text", workers)
            with closing(encoded):
                for block in encoded:
                    writer.add(block)
            for split, entry in writer.finish().splits.items():
                print(f"{name}, {split}: {entry.tokens:,} tokens", flush=True)


def source(path: Path) -> SourceFile:
    """Return a file of the corpus, with the split that its name gives."""
    return SourceFile(path, path.stat().st_size, "valid" if "-valid" in path.name else "train")


def blocks(sources: Mapping[SourceFile, Filter], done: frozenset[PartId]) -> Iterator[Block]:
    """Yield the wanted texts of each file in blocks; each file is a lot."""
    for lot, (file, is_wanted) in enumerate(sources.items()):
        yield from in_parts(text_blocks(texts(file.path, is_wanted), file), lot, done=done)


def texts(path: Path, is_wanted: Filter) -> Iterator[str]:
    """Yield the texts of the wanted records of a .jsonl.xz file."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        yield from (record["text"] for record in map(json.loads, lines) if is_wanted(record))


def pack(prepared: Path, packed: Path) -> None:
    """Compress every file into pieces, in numbered folders of at most `GROUP_BYTES` each."""
    group = 0
    size = 0
    for path in sorted(path for path in prepared.rglob("*") if path.is_file()):
        data = path.read_bytes()
        name = path.relative_to(prepared).as_posix().replace("/", "@")
        for number, start in enumerate(range(0, len(data), PIECE_BYTES)):
            piece = lzma.compress(data[start : start + PIECE_BYTES], preset=6)
            if size + len(piece) > GROUP_BYTES:
                group += 1
                size = 0
            folder = packed / str(group)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.{number:03}.xz").write_bytes(piece)
            size += len(piece)


def unpack(packed: Path, out: Path) -> None:
    """Restore the files from all pieces below a folder, using all cores."""
    pieces = sorted(packed.rglob("*.xz"), key=lambda path: path.name)
    if not pieces:
        raise UsageError(f"{packed}: no pieces (*.xz) to unpack; write them with --pack")
    with ThreadPoolExecutor() as pool:  # lzma releases the GIL
        data = list(pool.map(lambda path: lzma.decompress(path.read_bytes()), pieces))
    names = [path.name.rsplit(".", 2)[0] for path in pieces]
    for name in dict.fromkeys(names):
        path = out / name.replace("@", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(part for part, owner in zip(data, names, strict=True) if owner == name))


def main() -> None:
    """Tokenize, pack or unpack, as the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="folder of the .jsonl.xz files, to tokenize")
    parser.add_argument("--out", type=Path, required=True, help="folder of the prepared corpora")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="compress the corpora into this folder")
    parser.add_argument("--unpack", type=Path, metavar="FOLDER", help="restore the corpora from this folder")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; default: all cores")
    options = parser.parse_args()
    if options.unpack:
        unpack(options.unpack, options.out)
    if options.corpus:
        prepare(options.corpus, options.out, options.workers)
    if options.pack:
        pack(options.out, options.pack)


if __name__ == "__main__":
    main()
