"""Test data on disk: text, or JSON Lines with a "text" each, plain or as .xz or .gz, with the SHA-256 of each file."""

import gzip
import hashlib
import lzma
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cutaway.data.json_lines import parse_json_line
from cutaway.errors import UsageError

_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.decompress, ".gz": gzip.decompress}


@dataclass(frozen=True)
class DataFile:
    """A file of test data as it lies on disk; the hash is that which `sha256sum` prints."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Corpus:
    """Documents, and the files that they come from."""

    documents: list[str]
    files: list[DataFile]


def read_corpus(paths: Sequence[Path]) -> Corpus:
    """Read the documents of files: a text file is one, a .jsonl file has one per line. All are held in memory.

    Raises UsageError, naming file and line, for what cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "two.jsonl"
    ...     _ = path.write_text('{"text": "one"}\\n{"text": "two"}\\n')
    ...     read_corpus([path]).documents
    ['one', 'two']
    """
    documents: list[str] = []
    files: list[DataFile] = []
    for path in paths:
        file, data = read_data(path)
        files.append(file)
        documents.extend(_documents(path, data))
    return Corpus(documents, files)


def read_data(path: Path) -> tuple[DataFile, bytes]:
    """Read a file and decompress it if it ends in .xz or .gz. Raises UsageError if that fails.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "robot.txt.gz"
    ...     _ = path.write_bytes(gzip.compress(b"A robot"))
    ...     read_data(path)[1]
    b'A robot'
    """
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return data_file(str(path), stored), _decompress(path, stored)


def data_file(path: str, data: bytes) -> DataFile:
    """Describe data by its size and hash.

    >>> data_file("-", b"A robot").sha256[:16]
    '8cbbd9219db8a180'
    """
    return DataFile(path, len(data), hashlib.sha256(data).hexdigest())


def decode_text(data: bytes, name: str) -> str:
    """Decode UTF-8. Raises UsageError naming the file and the first invalid byte.

    >>> decode_text(b"A robot", "a.txt")
    'A robot'
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 at byte {error.start}") from None


def json_lines(data: bytes, name: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each line's place ("file:line") and JSON object. Raises UsageError for a line that is not one.

    >>> list(json_lines(b'{"label": 3}', "a.jsonl"))
    [('a.jsonl:1', {'label': 3})]
    """
    for number, line in enumerate(data.removeprefix(BOM_UTF8).splitlines(), start=1):
        place = f"{name}:{number}"
        yield place, parse_json_line(line, place)


def text_field(record: dict[str, object], key: str, place: str) -> str:
    """Return a string of a JSON object. Raises UsageError if it is missing, or not text.

    >>> text_field({"text": "A robot"}, "text", "a.jsonl:1")
    'A robot'
    """
    value = record.get(key)
    if not isinstance(value, str) or (not value.isascii() and not _is_text(value)):
        raise UsageError(f'{place}: "{key}" is missing or is not text')
    return value


def _is_text(value: str) -> bool:
    """Return False for half of a surrogate pair, which JSON can hold and UTF-8 cannot."""
    try:
        return bool(value.encode())
    except UnicodeEncodeError:
        return False


def _documents(path: Path, data: bytes) -> list[str]:
    name = path.name.removesuffix(path.suffix) if path.suffix in _DECOMPRESS else path.name
    if name.endswith(".jsonl"):
        return [text_field(record, "text", place) for place, record in json_lines(data, str(path))]
    return [decode_text(data, str(path)).removeprefix("\ufeff")]  # the byte order mark of Windows


def _decompress(path: Path, stored: bytes) -> bytes:
    try:
        return _DECOMPRESS[path.suffix](stored) if path.suffix in _DECOMPRESS else stored
    except (lzma.LZMAError, OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: truncated or invalid {path.suffix} file: {error}") from None
