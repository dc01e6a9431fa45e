"""Writing a prepared corpus part by part, so that an interrupted preparation resumes after the last complete part.

`progress.jsonl` holds the plan in its first line, then one line for each part whose shards are flushed to disk. The
manifest is written last and replaces it.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cutaway.data.blocks import PASSAGE, PartId
from cutaway.data.dataset import DOCUMENTS, LEARNED, TOKENIZER, TOKENS, hash_tokenizer, shard_files
from cutaway.data.encode import EncodedBlock, EncodedSplit, id_type
from cutaway.data.manifest import MANIFEST, SPLITS, Manifest, ShardEntry, Source, SplitEntry, TokenizerEntry
from cutaway.data.sources import PLAIN, SourceFile
from cutaway.disk import hash_files, replacing_file, sync
from cutaway.errors import CutawayError, UsageError
from cutaway.layout import counted
from cutaway.tokenizer.codec import TokenCodec
from cutaway.untrusted import quote_path

PROGRESS = "progress.jsonl"


@dataclass(frozen=True)
class WrittenSplit:
    """A shard that is flushed to disk, with counts that its `ShardEntry` does not hold."""

    shard: ShardEntry
    bytes: int
    learned_tokens: int
    masked: bool


@dataclass(frozen=True)
class WrittenPart:
    """The shards of a part."""

    part: PartId
    splits: Mapping[str, WrittenSplit]
    control_literals: int
    has_conversations: bool


class CorpusPlan(Protocol):
    """Everything that determines the bytes of a corpus, except the tokenizer."""

    @property
    def sources(self) -> tuple[SourceFile, ...]: ...

    @property
    def valid_share(self) -> float: ...

    def document(self) -> dict[str, object]:
        """Describe the plan for comparison."""


class CorpusWriter:
    """Writes encoded blocks, in order, to shards; each part has its own shards.

    As a context manager it removes its files if an expected error occurs before the first part is complete. Raises
    UsageError, before anything is written, if the directory holds another corpus, or parts of another plan.
    """

    def __init__(self, directory: Path, tokenizer: TokenCodec, name: str, inputs: CorpusPlan) -> None:
        self.directory = directory
        self._inputs = inputs
        self._parts: list[WrittenPart] = []
        self._open: list[EncodedBlock] = []
        self._versions = [_version(source.path) for source in inputs.sources]
        self._new_folders = [path for path in (directory, *directory.parents) if not path.exists()]
        self._check_directory()
        with TemporaryDirectory() as scratch:
            tokenizer.write(Path(scratch))
            self._tokenizer = describe_tokenizer(tokenizer, name, Path(scratch))
        plan = {"tokenizer": asdict(self._tokenizer), **inputs.document()}
        if (directory / PROGRESS).exists():
            self._resume(directory / PROGRESS, plan)
        directory.mkdir(parents=True, exist_ok=True)
        if not self._parts:
            self._log(plan)
        (directory / TOKENIZER).mkdir(exist_ok=True)
        tokenizer.write(directory / TOKENIZER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, CutawayError) and not self._parts:
            self._discard()

    @property
    def done(self) -> frozenset[PartId]:
        """Parts whose shards are flushed to disk."""
        return frozenset(part.part for part in self._parts)

    @property
    def tokens(self) -> int:
        """Number of tokens added so far."""
        written = sum(split.shard.tokens for part in self._parts for split in part.splits.values())
        return written + sum(len(split.ids) for block in self._open for split in block.splits.values())

    def add(self, block: EncodedBlock) -> None:
        """Add a block to its part; if the part is new, first write the shards of the previous part.

        Raises CutawayError if writing fails.
        """
        if self._open and self._open[0].part != block.part:
            with _write_errors(self.directory):
                self._write_part()
        self._open.append(block)

    def finish(self) -> Manifest:
        """Write the last shards and the manifest.

        Raises UsageError if a requested split has no text or a file has changed since the preparation began; the files
        written so far are removed first. Raises CutawayError if writing fails.
        """
        with _write_errors(self.directory):
            return self._finish()

    def _finish(self) -> Manifest:
        if self._open:
            self._write_part()
        try:
            self._check_unchanged()
            self._check_not_empty()
        except UsageError:
            self._discard()
            raise
        parts = self._masked_parts()
        manifest = Manifest(
            tokenizer=self._tokenizer,
            dtype=id_type(self._tokenizer.n_vocab),
            splits={name: entry for name in SPLITS if (entry := _summed(part.splits.get(name) for part in parts))},
            sources=describe_sources(self._inputs),
            control_literals=sum(part.control_literals for part in parts),
            masked=any(split.masked for part in parts for split in part.splits.values()),
            options=describe_options(self._inputs),
            has_conversations=any(part.has_conversations for part in parts),
        )
        manifest.write(self.directory)
        (self.directory / PROGRESS).unlink()
        return manifest

    def _check_directory(self) -> None:
        place = quote_path(self.directory)
        if (self.directory / MANIFEST).exists():
            raise UsageError(f"{place}: holds a prepared corpus already; choose another --out, or remove it")
        if self.directory.exists() and not self.directory.is_dir():
            raise UsageError(f"{place}: is not a directory; choose another --out")
        is_begun = (self.directory / PROGRESS).exists()  # written first and removed last
        if self.directory.exists() and not is_begun and any(self.directory.iterdir()):
            raise UsageError(f"{place}: is not an empty directory; choose another --out")

    def _resume(self, path: Path, plan: Mapping[str, object]) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]  # a crash can truncate the last line
        if len(whole) < 2:  # no part was finished
            shutil.rmtree(self.directory / TOKENIZER, ignore_errors=True)
            os.truncate(path, 0)
            return
        os.truncate(path, sum(map(len, whole)))
        if whole[0] != _line(plan):
            raise UsageError(
                f"{quote_path(self.directory)}: holds part of another corpus (other files, tokenizer or options); "
                "choose another --out, or remove it"
            )
        try:
            self._parts = [_read_part(line) for line in whole[1:]]
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{quote_path(path)}: damaged; remove {quote_path(self.directory)}") from None
        for shard, masked in ((split.shard, split.masked) for part in self._parts for split in part.splits.values()):
            files = self._files(shard, masked)
            if not all(path.is_file() for path in files) or hash_files(files) != shard.sha256:
                raise UsageError(
                    f"{quote_path(self.directory / shard.file)}: missing or changed since it was written; "
                    f"remove {quote_path(self.directory)} and prepare again"
                )

    def _write_part(self) -> None:
        splits = {}
        for name in SPLITS:
            blocks = [block.splits[name] for block in self._open if name in block.splits]
            if blocks:
                splits[name] = self._write_shard(f"{name}-{len(self._parts):05d}", blocks)
        literals = sum(block.control_literals for block in self._open)
        has_conversations = any(block.has_conversations for block in self._open)
        part = WrittenPart(self._open[0].part, splits, literals, has_conversations)
        self._log(asdict(part))
        self._parts.append(part)
        self._open = []

    def _write_shard(self, stem: str, blocks: list[EncodedSplit]) -> WrittenSplit:
        ids = np.concatenate([block.ids for block in blocks])
        starts = np.cumsum([0, *(len(block.ids) for block in blocks)])
        begins = [block.begins + start for block, start in zip(blocks, starts, strict=False)]
        masked = any(block.learned is not None for block in blocks)
        learned = np.concatenate([_mask(block) for block in blocks]) if masked else None
        shard = ShardEntry(f"{stem}{TOKENS}", len(ids), sum(map(len, begins)), "")
        arrays = {TOKENS: ids, DOCUMENTS: np.concatenate(begins), **({} if learned is None else {LEARNED: learned})}
        for suffix, array in arrays.items():
            _write_array(self.directory / f"{stem}{suffix}", array)
        shard = replace(shard, sha256=hash_files(self._files(shard, masked)))
        n_learned = len(ids) if learned is None else int(learned.sum())
        return WrittenSplit(shard, sum(block.n_bytes for block in blocks), n_learned, masked)

    def _masked_parts(self) -> list[WrittenPart]:
        """Give every shard a mask if any shard has one."""
        masked = [split.masked for part in self._parts for split in part.splits.values()]
        if any(masked) == all(masked):
            return self._parts
        return [
            replace(part, splits={name: self._with_mask(split) for name, split in part.splits.items()})
            for part in self._parts
        ]

    def _with_mask(self, split: WrittenSplit) -> WrittenSplit:
        if split.masked:
            return split
        [*_, path] = self._files(split.shard, masked=True)
        _write_array(path, np.ones(split.shard.tokens, np.bool_))
        shard = replace(split.shard, sha256=hash_files(self._files(split.shard, masked=True)))
        return replace(split, shard=shard, masked=True)

    def _check_unchanged(self) -> None:
        """Raise UsageError if a source has been modified or removed: a mix of old and new text may have been read."""
        for source, before in zip(self._inputs.sources, self._versions, strict=True):
            now = _version(source.path)
            if now is None or now != before or now[0] != source.n_bytes:
                raise UsageError(
                    f"{quote_path(source.path)}: has changed since the preparation began; prepare a copy of it, "
                    "or wait until it is whole"
                )

    def _check_not_empty(self) -> None:
        splits = {name: [part.splits[name].shard for part in self._parts if name in part.splits] for name in SPLITS}
        share = self._inputs.valid_share
        if not splits["train"]:
            n_files = counted(sum(source.split != "valid" for source in self._inputs.sources), "file")
            drawn = f"; all of it was drawn for valid: give a smaller {self._ways_out()}"
            raise UsageError(f"nothing to train on in {n_files}{drawn if splits['valid'] and share else ''}")
        held = sum(source.split == "valid" for source in self._inputs.sources)
        if held and not splits["valid"]:
            raise UsageError(f"nothing to validate on in {counted(held, 'file')}")
        if share and not splits["valid"]:
            documents = counted(sum(shard.documents for shard in splits["train"]), "document")
            if self._are_texts() and len(self._inputs.sources) == 1:
                documents = f"the passages of {PASSAGE:,} characters of the text"
            raise UsageError(f"--valid {100 * share:g}% draws none of {documents}; give a larger {self._ways_out()}")

    def _are_texts(self) -> bool:
        return all(source.kind in ("", *PLAIN) for source in self._inputs.sources)

    def _ways_out(self) -> str:
        if self._are_texts() and len(self._inputs.sources) > 1:
            return "share, a file to validate on, or all texts as one, of which passages are drawn"
        return "share, or a file to validate on"

    def _discard(self) -> None:
        """Remove all files written, so that the next preparation can start from scratch."""
        for split in (split for part in self._parts for split in part.splits.values()):
            for path in self._files(split.shard, split.masked):
                path.unlink(missing_ok=True)
        shutil.rmtree(self.directory / TOKENIZER, ignore_errors=True)
        (self.directory / PROGRESS).unlink(missing_ok=True)
        with suppress(OSError):  # a folder is not empty
            for path in self._new_folders:
                path.rmdir()

    def _files(self, shard: ShardEntry, masked: bool) -> list[Path]:
        return shard_files(self.directory, shard, masked=masked)

    def _log(self, document: Mapping[str, object]) -> None:
        with (self.directory / PROGRESS).open("ab") as file:
            file.write(_line(document))
        sync(self.directory / PROGRESS)


def describe_sources(plan: CorpusPlan) -> tuple[Source, ...]:
    """Describe the files of a plan for the manifest.

    >>> from cutaway.data.inputs import Inputs
    >>> plan = Inputs((SourceFile(Path("a.txt"), 5),), valid_share=0.0, field="text", block_bytes=100, part_bytes=100)
    >>> describe_sources(plan)
    (Source(path='a.txt', bytes=5, split=None),)
    """
    return tuple(Source(str(source.path), source.n_bytes, source.split) for source in plan.sources)


def describe_options(plan: CorpusPlan) -> dict[str, object]:
    """Describe a plan for the manifest, except for its files.

    >>> from cutaway.data.inputs import Inputs
    >>> describe_options(Inputs((), valid_share=0.1, field="text", block_bytes=100, part_bytes=200))
    {'valid_share': 0.1, 'field': 'text', 'block_bytes': 100, 'part_bytes': 200}
    """
    return {name: value for name, value in vars(plan).items() if name != "sources"}


def describe_tokenizer(tokenizer: TokenCodec, name: str, directory: Path) -> TokenizerEntry:
    """Describe a tokenizer whose files are in a directory.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> with TemporaryDirectory() as directory:
    ...     Tokenizer.gpt2().save(directory)
    ...     describe_tokenizer(Tokenizer.gpt2(), "gpt2", Path(directory)).eos
    50256
    """
    return TokenizerEntry(name, tokenizer.n_vocab, tokenizer.bos, tokenizer.eos, hash_tokenizer(directory))


@contextmanager
def _write_errors(directory: Path) -> Iterator[None]:
    """Turn write errors into a one-line CutawayError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CutawayError(
            f"{quote_path(directory)}: cannot be written: {reason}; fix that, and the same command continues"
        ) from None


def _version(path: Path) -> tuple[int, int] | None:
    """Return the size and modification time of a file; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _mask(block: EncodedSplit) -> NDArray[np.bool_]:
    return np.ones(len(block.ids), np.bool_) if block.learned is None else block.learned


def _write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array as `np.save` does, whose error on a full disk lacks the reason."""
    with replacing_file(path) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


def _line(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _read_part(line: bytes) -> WrittenPart:
    document = json.loads(line)
    splits = {
        name: WrittenSplit(**{**split, "shard": ShardEntry(**split["shard"])})
        for name, split in document["splits"].items()
    }
    lot, part = document["part"]
    return WrittenPart((lot, part), splits, document["control_literals"], document.get("has_conversations", False))


def _summed(splits: "Iterable[WrittenSplit | None]") -> SplitEntry | None:
    there = [split for split in splits if split is not None]
    if not there:
        return None
    shards = tuple(split.shard for split in there)
    return SplitEntry(
        tokens=sum(shard.tokens for shard in shards),
        documents=sum(shard.documents for shard in shards),
        bytes=sum(split.bytes for split in there),
        learned_tokens=sum(split.learned_tokens for split in there),
        shards=shards,
    )
