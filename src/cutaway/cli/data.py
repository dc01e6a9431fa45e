"""`cutaway data`: prepare text or music as a corpus of token ids, and show what the model will read of it."""

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_int, parse_share
from cutaway.cli.arguments import SOURCES, add_actions, write_json
from cutaway.cli.live_line import LiveLine, duration
from cutaway.cli.loading import read_tokenizer
from cutaway.cli.terminal import BLUE, BOLD, DIM, columns, note, safe, style
from cutaway.errors import UsageError
from cutaway.layout import counted, width
from cutaway.untrusted import quote

if TYPE_CHECKING:
    from cutaway.data.dataset import Dataset, Split
    from cutaway.data.prepare import Progress

EXAMPLES = """\
examples:
  cutaway data prepare books/ more.jsonl.xz --out corpus --valid 1%
  cutaway data prepare train.parquet --out corpus --valid valid.parquet
  cutaway data prepare --codec perf388 midi/ --out corpus --valid 5% --copies 8
  cutaway data show corpus --split valid --n 2
  cutaway data verify corpus"""

_CORPUS = "directory that cutaway data prepare wrote"
_BOUNDARY = "│"
_SECONDS = 10  # between lines of progress if there is no terminal


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the actions and their options."""
    parser.description = "Prepare text or music to train on, show what a model reads of it, or verify it."
    parser.epilog = EXAMPLES
    add = add_actions(parser)
    _add_prepare(add("prepare", prepare, "Write text or music as shards of token ids."))
    _add_show(add("show", show, "Show documents as the model reads them, token by token."))
    verifier = add("verify", verify, "Compare the files of a corpus with their SHA-256 in its manifest.")
    verifier.add_argument("directory", type=Path, metavar="DIR", help=_CORPUS)


def _add_prepare(parser: ArgumentParser) -> None:
    files = "plain text, .jsonl, .parquet, with .xz, .gz or .zst, or folders of these"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=files)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="directory to write; resumes if interrupted"
    )
    parser.add_argument("--tokenizer", metavar="NAME", help=f"{SOURCES}; default: GPT-2's own")
    music = "for music: perf388 (MIDI files, folders of them) or satb16 (chorales as JSON)"
    parser.add_argument("--codec", metavar="NAME", help=music)
    copies = (
        "versions of a piece of music to train on, all but the first transposed and stretched; default: %(default)s"
    )
    parser.add_argument("--copies", type=int, default=1, metavar="N", help=copies)
    parser.add_argument("--seed", type=int, default=1, help="random seed of the versions; default: %(default)s")
    valid = "share of the documents to hold out for validation, such as 5%% or 0.05, or a file of them; default: none"
    parser.add_argument("--valid", action="append", default=[], metavar="SHARE", help=valid)
    parser.add_argument("--field", default="text", help="key or column of the text; default: %(default)s")
    parser.add_argument(
        "--workers", type=int, default=_cores(), metavar="N", help="number of processes; default: all cores"
    )
    ray = "encode on a Ray cluster; without an address, on a local one"
    parser.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help=ray)


def _add_show(parser: ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help=_CORPUS)
    parser.add_argument("--split", default="train", help="train or valid; default: %(default)s")
    parser.add_argument("--n", type=int, default=3, help="documents to show; default: %(default)s")
    parser.add_argument(
        "--document",
        type=int,
        default=0,
        metavar="I",
        help="first document to show, counted from 0; default: %(default)s",
    )
    parser.add_argument(
        "--tokens",
        type=int,
        default=100,
        metavar="N",
        help="maximum number of tokens per document; default: %(default)s",
    )


def run(options: Namespace) -> None:
    """Run the chosen action."""
    options.action(options)


def prepare(options: Namespace) -> None:
    """Write the corpus, with progress on standard error, and report its counts."""
    if options.codec is not None:
        _prepare_music(options)
        return
    if options.copies != 1:
        raise UsageError("--copies is for music: give its --codec too")
    from cutaway.data.prepare import prepare as prepare_corpus

    check_int("--workers", options.workers, 1)
    with _metered(options) as meter:
        manifest = prepare_corpus(
            options.files,
            options.out,
            tokenizer=read_tokenizer(options.tokenizer),
            name=options.tokenizer or "gpt2",
            valid=_valid(options.valid),
            field=options.field,
            workers=options.workers,
            ray=options.ray,
            progress=meter.update,
        )
    splits = {name: {**vars(entry), "shards": len(entry.shards)} for name, entry in manifest.splits.items()}
    if options.json:
        write_json({"directory": str(options.out), "splits": splits, "control_literals": manifest.control_literals})
        return
    for name, entry in manifest.splits.items():
        documents = counted(entry.documents, "document")
        print(f"{name}: {counted(entry.tokens, 'token')} in {documents}, {entry.bytes:,} bytes of text")
    if manifest.control_literals:
        times = counted(manifest.control_literals, "time")
        note(f"control tokens occur by name in the text, {times}, and are encoded as text")


@contextmanager
def _metered(options: Namespace) -> Iterator["ProgressMeter"]:
    """Show progress until the block ends, and say after Ctrl-C that the same command continues.

    If the corpus was finished before, say that instead.
    """
    from cutaway.data.manifest import MANIFEST

    was_finished = (options.out.expanduser() / MANIFEST).exists()
    meter = ProgressMeter()
    try:
        yield meter
        if was_finished and not options.json:
            note(f"{options.out}: is complete, of these files and options; nothing was written")
    except KeyboardInterrupt:
        meter.clear()
        note("interrupted; the same command continues")
        raise
    finally:
        meter.clear()  # before the line of an error too


def _prepare_music(options: Namespace) -> None:
    """Write a corpus of music, and report its counts."""
    from cutaway.data.music import prepare_music

    if options.tokenizer is not None or options.ray is not None:
        raise UsageError("--codec is for music, --tokenizer and --ray are for text")
    with _metered(options) as meter:
        manifest = prepare_music(
            options.files,
            options.out,
            codec=options.codec,
            valid=_valid(options.valid),
            copies=options.copies,
            seed=options.seed,
            progress=meter.update,
        )
    if options.json:
        splits = {name: {**vars(entry), "shards": len(entry.shards)} for name, entry in manifest.splits.items()}
        write_json({"directory": str(options.out), "splits": splits})
        return
    for name, entry in manifest.splits.items():
        print(f"{name}: {counted(entry.tokens, 'token')} in {counted(entry.documents, 'version')} of pieces")


def _valid(given: Sequence[str]) -> float | list[Path]:
    """Read --valid: a share, or files."""
    share = parse_share(given[0]) if len(given) == 1 else None
    if share is not None and share <= 0.5:
        return share
    for path in given:
        if share is not None or not Path(path).exists():
            raise UsageError(
                f"--valid must be a share of at most 50%, such as 5% or 0.05, or a file, not {quote(path)}"
            )
    return [Path(path) for path in given] or 0.0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ProgressMeter:
    """Shows progress and the time left on standard error: as a live line on a terminal, else as a line now and then."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._line = LiveLine(quiet=_SECONDS, shown=self._began)
        self._first: int | None = None

    def update(self, progress: "Progress") -> None:
        """Show the progress, at most every 0.2 s on a terminal and every 10 s elsewhere."""
        now = time.monotonic()
        if self._first is None:
            self._first = progress.done
        if not self._line.is_due(now):
            return
        self._line.shown = now
        text = progress_line(progress, progress.done - self._first, now - self._began)
        if self._line.is_live:
            self._line.draw(text)
        else:
            note(text)

    def clear(self) -> None:
        """Remove the line from the terminal."""
        self._line.clear()


def progress_line(progress: "Progress", read: int, seconds: float) -> str:
    """Describe the progress, of which `read` bytes took `seconds`.

    >>> from cutaway.data.prepare import Progress
    >>> progress_line(Progress(done=50_000_000, total=200_000_000, tokens=12_000_000), 50_000_000, 10)
    '25 %, 50.0 of 200.0 MB, 12,000,000 tokens, 5.0 MB/s, 30s left'
    """
    share = f"{progress.done / max(progress.total, 1):.0%}".replace("%", " %")
    line = f"{share}, {progress.done / 1e6:,.1f} of {progress.total / 1e6:,.1f} MB, {progress.tokens:,} tokens"
    if read == 0:
        return line  # the rate is not known yet
    rate = read / max(seconds, 1e-9)
    return f"{line}, {rate / 1e6:.1f} MB/s, {duration((progress.total - progress.done) / rate)} left"


def show(options: Namespace) -> None:
    """Show documents of a split, token by token."""
    from cutaway.data.dataset import open_dataset

    dataset = open_dataset(options.directory)
    split = dataset.split(options.split)
    first = check_int("--document", options.document, 0, split.n_documents - 1)
    check_int("--tokens", options.tokens, 1)
    indices = range(first, min(first + check_int("--n", options.n, 1), split.n_documents))
    if options.json:
        write_json(_document(dataset, split, indices, options.tokens))
        return
    bytes_per_token = split.n_bytes / split.n_tokens
    print(
        f"{split.name}: {counted(split.n_tokens, 'token')} in {counted(split.n_documents, 'document')}, "
        f"{split.n_bytes:,} bytes of text ({bytes_per_token:.2f} per token)"
    )
    if split.learned is not None:
        print(f"tokens that count in the loss are shown {_marked('like this', True)}")
    for index in indices:
        print()
        print("\n".join(_lines(dataset, split, index, options.tokens)))


def verify(options: Namespace) -> None:
    """Check that all files of a corpus are as they were written, and say so."""
    from cutaway.data.dataset import open_dataset

    dataset = open_dataset(options.directory)
    n_bytes = dataset.verify()
    n_shards = sum(len(split.shards) for split in dataset.manifest.splits.values())
    if options.json:
        write_json({"directory": str(dataset.directory), "shards": n_shards, "bytes": n_bytes})
    else:
        print(f"{safe(str(dataset.directory))}: as it was prepared: {counted(n_shards, 'shard')}, {n_bytes:,} bytes")


def _document(dataset: "Dataset", split: "Split", indices: Sequence[int], most: int) -> dict[str, object]:
    shown = []
    for index in indices:
        place = split.document(index)
        piece = slice(place.start, min(place.stop, place.start + most))
        ids = split.read([piece]).tolist()
        learned = None if split.learned is None else split.learned[piece].tolist()
        labels = [dataset.codec.label(token) for token in ids]
        length = place.stop - place.start
        shown.append({"document": index, "tokens": length, "ids": ids, "labels": labels, "learned": learned})
    return {
        "directory": str(dataset.directory),
        "split": split.name,
        "tokens": split.n_tokens,
        "documents": split.n_documents,
        "bytes": split.n_bytes,
        "tokenizer": dataset.manifest.tokenizer.name,
        "control_literals": dataset.manifest.control_literals,
        "shown": shown,
    }


def _lines(dataset: "Dataset", split: "Split", index: int, most: int) -> Iterator[str]:
    """Yield the lines of a document: its number, its tokens, and the count of those left out."""
    place = split.document(index)
    count = place.stop - place.start
    yield style(f"document {index:,}, {counted(count, 'token')}", BOLD, sys.stdout)
    piece = slice(place.start, min(place.stop, place.start + most))
    labels = [safe(dataset.codec.label(token)) for token in split.read([piece]).tolist()]
    learned = [None] * len(labels) if split.learned is None else split.learned[piece].tolist()
    line: list[tuple[str, bool | None]] = []
    for label, counts in zip(labels, learned, strict=True):
        if line and sum(width(word) + 1 for word, _ in line) + width(label) > columns() - 2:
            yield _joined(line)
            line = []
        line.append((label, counts))
        if label.endswith("\\n"):
            yield _joined(line)
            line = []
    if line:
        yield _joined(line)
    if count > most:
        yield style(f"… {counted(count - most, 'more token')}", DIM, sys.stdout)


def _joined(line: Sequence[tuple[str, bool | None]]) -> str:
    return style(_BOUNDARY, DIM, sys.stdout).join(_marked(label, learned) for label, learned in line)


def _marked(label: str, learned: bool | None) -> str:
    if not learned:
        return label
    return style(label, BLUE, sys.stdout) if _coloured() else f"⟦{label}⟧"


def _coloured() -> bool:
    return style("", BLUE, sys.stdout) != ""
