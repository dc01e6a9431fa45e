"""The corpus of the built-in model as token shards, a file for each part of its mixture.

    python -m recipes.builtin.prepare --corpus recipes/out/corpus --out recipes/out/shards
    python -m recipes.builtin.prepare --out recipes/out/shards --pack recipes/out/packed
    python -m recipes.builtin.prepare --out /tmp/shards --unpack recipes/out/packed

Stories and dialogues are the two halves of the simple corpus; books that are simple too (`simple-books.txt` of the
corpus) are a part of their own. `--pack` compresses the shards into groups of files of at most 45 MB each, for a
machine that takes no more at a time.
"""

import argparse
import json
import lzma
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cutaway.data.shards import open_shard, write_shard
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer

Record = dict[str, str]
BOOKS = ("books-train-0", "books-train-1", "books-train-2")
GROUP_BYTES = 45_000_000
PIECE_TOKENS = 8_000_000


def is_dialogue(record: Record) -> bool:
    """Tell the dialogues of the simple corpus from its stories."""
    return record["kind"].startswith("dialogues")


def read_simple_books(path: Path) -> set[tuple[str, str, str]]:
    """Return (title, author, source) of each book in simple-books.txt: lines of fields between bars."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if "|" in line and not line.startswith("#")]
    return {(row[0].strip(), row[1].strip(), row[2].strip()) for row in rows}


def parts(corpus: Path) -> dict[str, Callable[[], Iterator[Record]]]:
    """Return the records of every shard by its name."""
    simple_books = read_simple_books(corpus / "simple-books.txt")

    def records(*names: str) -> Iterator[Record]:
        for name in names:
            with lzma.open(corpus / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
                yield from map(json.loads, lines)

    def is_simple(book: Record) -> bool:
        return (book["title"].strip(), book["author"].strip(), book["source"].strip()) in simple_books

    return {
        "stories": lambda: (r for r in records("simple-train") if not is_dialogue(r)),
        "dialogues": lambda: (r for r in records("simple-train") if is_dialogue(r)),
        "simple-books": lambda: (r for r in records(*BOOKS) if is_simple(r)),
        "books-0": lambda: (r for r in records(BOOKS[0]) if not is_simple(r)),
        "books-1": lambda: (r for r in records(BOOKS[1]) if not is_simple(r)),
        "books-2": lambda: (r for r in records(BOOKS[2]) if not is_simple(r)),
        "wikipedia": lambda: records("wikipedia-train"),
        "stories-valid": lambda: (r for r in records("simple-valid") if not is_dialogue(r)),
        "dialogues-valid": lambda: (r for r in records("simple-valid") if is_dialogue(r)),
        "books-valid": lambda: records("books-valid"),
        "wikipedia-valid": lambda: records("wikipedia-valid"),
    }


def write_shards(corpus: Path, out: Path) -> None:
    """Tokenize every part that has no shard yet."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.gpt2()
    for name, records in parts(corpus).items():
        path = out / f"{name}.npy"
        if not path.exists():
            count = write_shard(path, (record["text"] for record in records()), tokenizer)
            print(f"{name}: {count:,} tokens", flush=True)


def pack(shards: Path, packed: Path) -> None:
    """Compress every shard into pieces, in numbered folders of at most `GROUP_BYTES` each."""
    group = 0
    size = 0
    for path in sorted(shards.glob("*.npy")):
        ids = open_shard(path)
        for number, start in enumerate(range(0, len(ids), PIECE_TOKENS)):
            piece = lzma.compress(ids[start : start + PIECE_TOKENS].tobytes(), preset=6)
            if size + len(piece) > GROUP_BYTES:
                group += 1
                size = 0
            folder = packed / str(group)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{path.stem}.{number:03}.xz").write_bytes(piece)
            size += len(piece)


def unpack(packed: Path, out: Path) -> None:
    """Restore the shards from all pieces below a folder, on all cores."""
    out.mkdir(parents=True, exist_ok=True)
    pieces = sorted(packed.rglob("*.xz"), key=lambda path: path.name)
    if not pieces:
        raise UsageError(f"{packed}: no pieces (*.xz) to unpack; write them with --pack")
    with ThreadPoolExecutor() as pool:  # lzma releases the interpreter's lock
        data = list(pool.map(lambda path: lzma.decompress(path.read_bytes()), pieces))
    names = [path.name.split(".")[0] for path in pieces]
    for name in dict.fromkeys(names):
        joined = b"".join(part for part, owner in zip(data, names, strict=True) if owner == name)
        np.save(out / f"{name}.npy", np.frombuffer(joined, np.uint16))


def main() -> None:
    """Tokenize, pack or unpack, as the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="folder of the .jsonl.xz files, to tokenize")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="compress the shards into this folder")
    parser.add_argument("--unpack", type=Path, metavar="FOLDER", help="restore the shards from this folder")
    options = parser.parse_args()
    if options.unpack:
        unpack(options.unpack, options.out)
    if options.corpus:
        write_shards(options.corpus, options.out)
    if options.pack:
        pack(options.out, options.pack)


if __name__ == "__main__":
    main()
