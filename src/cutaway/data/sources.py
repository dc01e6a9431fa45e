"""Files of text: plain, JSON Lines or Parquet, compressed or not, and folders of them."""

import errno
import gzip
import lzma
import os
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BufferedReader, RawIOBase
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from cutaway.errors import UsageError
from cutaway.untrusted import quote, quote_path

LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet",)
PLAIN = (".txt", ".text", ".md")
_IN_FOLDERS = (*PLAIN, ".jsonl", ".ndjson", *PARQUET)  # a file given by name may have any suffix
_OF_TOKENIZERS = ("merges.txt", "vocab.txt")  # of models and corpora that are in folders of text
Tap = Callable[[memoryview], object]
COMPRESSED = (".xz", ".gz", ".zst")
_ARCHIVES = (".zip", ".tar", ".tgz", ".txz", ".bz2", ".7z")
_COMPRESSED_READ = 1 << 14  # compressed bytes at a time; they may expand a thousandfold
_BUFFER = 1 << 20  # bytes; buffering makes reads return all the bytes requested, unlike the decompressors


@dataclass(frozen=True)
class SourceFile:
    """A file to read. `split` is "train" or "valid", or None if documents are drawn for them."""

    path: Path
    n_bytes: int
    split: str | None = None

    @property
    def kind(self) -> str:
        """Suffix that determines how to read the file, without the suffix of its compression.

        >>> SourceFile(Path("a.jsonl.xz"), 0).kind
        '.jsonl'
        """
        return kind_of(self.path)


def kind_of(path: Path) -> str:
    """Return the suffix that determines how to read a file, in lower case, without the suffix of its compression.

    >>> kind_of(Path("a.jsonl.xz")), kind_of(Path("README"))
    ('.jsonl', '')
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:-1] if suffixes[-1:] and suffixes[-1] in COMPRESSED else suffixes[-1:])


def is_plain_text(path: Path) -> bool:
    """Return True for a file that holds one text, not records.

    >>> is_plain_text(Path("poems.txt.xz")), is_plain_text(Path("pairs.jsonl"))
    (True, False)
    """
    return kind_of(path) not in (*LINES, *PARQUET)


def find_sources(paths: Iterable[Path], split: str | None = None) -> list[SourceFile]:
    """List the files, also those in folders, in the order of their paths, without hidden and tokenizer files.

    Raises UsageError for a path that is missing, or a folder without text.

    >>> find_sources([Path("nowhere.txt")])
    Traceback (most recent call last):
    cutaway.errors.UsageError: nowhere.txt: no such file or folder
    """
    return [source for path in paths for source in _find(path.expanduser(), split)]


def _find(path: Path, split: str | None) -> list[SourceFile]:
    try:
        if path.is_dir():
            files = [file for file in files_below(path) if _is_text(file) and file.is_file()]
            if not files:
                known = ", ".join(_IN_FOLDERS)
                raise UsageError(
                    f"{quote_path(path)}: no text in this folder (files {known}, or these as .xz, .gz, .zst)"
                )
            return [SourceFile(file, file.stat().st_size, split) for file in files]
        if path.exists():
            return [SourceFile(path, path.stat().st_size, split)]
    except OSError as error:
        raise UsageError(f"{quote_path(path)}: cannot be read: {error.strerror}") from None
    raise UsageError(f"{quote_path(path)}: no such file or folder")


def files_below(folder: Path) -> list[Path]:
    """List the files in a folder and its subfolders, sorted, without hidden files. Links to folders are not followed.

    Raises UsageError for a folder that cannot be read, and for a broken link.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     Path(directory, "a.txt").touch()
    ...     Path(directory, ".b.txt").touch()
    ...     [path.name for path in files_below(Path(directory))]
    ['a.txt']
    """
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    for path in found:
        if path.is_symlink() and not path.exists():
            raise UsageError(f"{quote_path(path)}: is a broken link; fix or remove it")
    return sorted(found)


def _refuse_folder(error: OSError) -> None:
    raise UsageError(f"{quote_path(Path(error.filename))}: cannot be read: {error.strerror}")


def _is_text(path: Path) -> bool:
    return kind_of(path) in _IN_FOLDERS and path.name not in _OF_TOKENIZERS


@contextmanager
def open_bytes(path: Path, tap: Tap | None = None) -> Iterator[tuple[BufferedReader, Callable[[], int]]]:
    """Open a file, decompress it by its suffix and skip a UTF-8 byte order mark.

    Yields the stream and a function that returns the position in the compressed file. `tap` is called with the
    compressed bytes as they are read; by the end of the stream it has received all of them. Raises UsageError, also
    while the stream is read, if the file cannot be read or decompressed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(f"{directory}/a.txt.gz")
    ...     _ = path.write_bytes(gzip.compress(b"A robot"))
    ...     with open_bytes(path) as (stream, _):
    ...         stream.read()
    b'A robot'
    """
    if kind_of(path) in _ARCHIVES:
        raise UsageError(f"{quote_path(path)}: {kind_of(path)} files are not read; unpack it, and give what is in it")
    invalid: tuple[type[Exception], ...] = (lzma.LZMAError, EOFError, gzip.BadGzipFile, zlib.error)
    suffix = path.suffix.lower()
    if suffix == ".zst":
        invalid += (extra("zstandard", ".zst files").ZstdError,)
    try:
        with path.open("rb") as raw, _decompressed(_tapped(raw, tap), suffix) as stream:
            if stream.peek(len(BOM_UTF8)).startswith(BOM_UTF8):
                stream.read(len(BOM_UTF8))
            yield stream, raw.tell
    except invalid as error:
        raise UsageError(f"{quote_path(path)}: truncated or invalid {suffix} file: {error}") from None
    except OSError as error:
        raise UsageError(f"{quote_path(path)}: cannot be read: {error.strerror or error}") from None


def decode_text(data: bytes, place: str, first_line: int = 1) -> str:
    """Decode UTF-8; `first_line` is the number of its first line. Raises UsageError naming line and byte if invalid.

    >>> decode_text(b"A robot", "a.txt")
    'A robot'
    >>> decode_text(b"A robot" + bytes([10, 255]), "a.txt")
    Traceback (most recent call last):
    cutaway.errors.UsageError: a.txt:2: not UTF-8 at byte 0; save the file as UTF-8
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if is_utf16(data):
            raise UsageError(f"{place}: is UTF-16; save it as UTF-8") from None
        start = data.rfind(b"\n", 0, error.start) + 1
        line = first_line + data.count(b"\n", 0, start)
        raise UsageError(f"{place}:{line}: not UTF-8 at byte {error.start - start}; save the file as UTF-8") from None


def is_utf16(data: bytes) -> bool:
    """Return True for data that begins with a UTF-16 byte order mark.

    >>> is_utf16("A robot".encode("utf-16"))
    True
    """
    return data.startswith((BOM_UTF16_LE, BOM_UTF16_BE))


class _Tapped(RawIOBase):
    """A stream that also passes its bytes to a function."""

    def __init__(self, raw: BufferedReader, tap: Tap) -> None:
        self._raw = raw
        self._tap = tap

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # or another buffer
        count = self._raw.readinto(buffer)
        self._tap(memoryview(buffer)[:count])
        return count


def _tapped(raw: BufferedReader, tap: Tap | None) -> BufferedReader:
    return raw if tap is None else BufferedReader(_Tapped(raw, tap), _BUFFER)


def _decompressed(raw: BufferedReader, suffix: str) -> BufferedReader:
    if suffix == ".gz":
        return BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER)
    if suffix == ".xz":
        return BufferedReader(_FramedStream(raw, lzma.LZMADecompressor, padding=b"\0"), _BUFFER)
    if suffix == ".zst":
        decompressor = extra("zstandard", ".zst files").ZstdDecompressor()
        return BufferedReader(_FramedStream(raw, decompressor.decompressobj), _BUFFER)
    return raw


class _Frame(Protocol):
    """A decompressor of one frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _FramedStream(RawIOBase):
    """Decompresses concatenated frames, each with a new decompressor; padding after a frame is skipped.

    Raises an error if the last frame is incomplete or a later frame is damaged; the streams of lzma and zstandard treat
    both as the end.
    """

    def __init__(self, raw: BufferedReader, start: Callable[[], _Frame], padding: bytes = b"") -> None:
        self._raw = raw
        self._start = start
        self._padding = padding
        self._frame = start()
        self._rest = b""  # bytes read past the end of the frame
        self._data = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # or another buffer
        """Decompress into a buffer; return the number of bytes, 0 at the end."""
        view = memoryview(buffer)
        while not self._data:
            compressed = self._rest or self._raw.read(_COMPRESSED_READ)
            if not compressed:
                return self._end()
            self._decompress(compressed)
        count = min(len(self._data), len(view))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

    def _decompress(self, compressed: bytes) -> None:
        if self._frame.eof:
            compressed = compressed.lstrip(self._padding)
            self._rest = b""
            if not compressed:
                return
            self._frame = self._start()
        self._data = self._frame.decompress(compressed)
        self._rest = self._frame.unused_data if self._frame.eof else b""

    def _end(self) -> int:
        if not self._frame.eof:
            raise EOFError("it ends within a frame")
        return 0


def extra(module: str, what: str) -> ModuleType:
    """Import a module of an optional package. Raises UsageError naming the package if it is missing.

    >>> extra("no_such_module", "Such files")
    Traceback (most recent call last):
    cutaway.errors.UsageError: Such files need the package no_such_module: pip install no_such_module
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        package = module.split(".", maxsplit=1)[0]
        wanted = "'ray[data]'" if package == "ray" else package
        raise UsageError(f"{what} need the package {package}: pip install {wanted}") from None


def count_rows(path: Path) -> int:
    """Count the rows of a Parquet file. Raises UsageError if it is not one.

    >>> from tempfile import TemporaryDirectory
    >>> import pyarrow
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(f"{directory}/a.parquet")
    ...     import_module("pyarrow.parquet").write_table(pyarrow.table({"text": ["one", "two"]}), path)
    ...     count_rows(path)
    2
    """
    with _parquet_file(path) as file:
        count: int = file.metadata.num_rows
    return count


def parquet_rows(path: Path, wanted: Container[str], tap: Tap | None = None) -> Iterator[dict[str, object]]:
    """Yield the rows of a Parquet file, with only the wanted columns. Raises UsageError if it has none of them.

    >>> next(parquet_rows(Path("nowhere.parquet"), ["text"]))
    Traceback (most recent call last):
    cutaway.errors.UsageError: nowhere.parquet: cannot be read: No such file or directory
    """
    with _parquet_file(path, tap) as file:
        names: Sequence[str] = file.schema_arrow.names
        columns = [name for name in names if name in wanted]
        if not columns:
            raise UsageError(f"{quote_path(path)}: no column of text; its columns are {quote(list(names))}")
        number = 1
        for batch in file.iter_batches(batch_size=16, columns=columns):
            for row in range(len(batch)):
                yield _parquet_row(batch.slice(row, 1), f"{quote_path(path)}:{number}")
                number += 1


def _parquet_row(batch: Any, place: str) -> dict[str, object]:
    """Return the only row of a batch. Raises UsageError, prefixed by `place`, for text that is not UTF-8."""
    try:
        [row] = batch.to_pylist()
    except UnicodeDecodeError:  # Arrow itself does not check
        raise UsageError(f"{place}: not UTF-8; write the file with text in UTF-8") from None
    found: dict[str, object] = row
    return found


@contextmanager
def _parquet_file(path: Path, tap: Tap | None = None) -> Iterator[Any]:
    """Open a Parquet file. Raises UsageError, also while it is read, if it cannot be read."""
    parquet = extra("pyarrow.parquet", "Parquet files")
    arrow = import_module("pyarrow")
    place = quote_path(path)
    try:
        if tap is not None:
            with path.open("rb") as raw:
                while data := raw.read(_BUFFER):
                    tap(memoryview(data))
        with parquet.ParquetFile(path) as file:
            yield file
    except FileNotFoundError as error:
        raise UsageError(f"{place}: cannot be read: {os.strerror(error.errno or errno.ENOENT)}") from None
    except (arrow.ArrowException, OSError) as error:
        raise UsageError(f"{place}: not a readable Parquet file: {quote(str(error))}") from None
