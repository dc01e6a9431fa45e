"""Test data on disk: the documents of files, and the SHA-256 of each file."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cutaway.data.json_lines import parse_json_line
from cutaway.data.records import Record, read_documents, valid_unicode
from cutaway.data.sources import find_sources, open_bytes
from cutaway.errors import UsageError


@dataclass(frozen=True)
class DataFile:
    """A file of test data on disk; the hash is the one that `sha256sum` prints."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Corpus:
    """Documents and their source files."""

    documents: list[Record]
    files: list[DataFile]


class _Hash:
    """Accumulates the size and the hash of data."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0

    def update(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._count += len(data)

    def file(self, path: str) -> DataFile:
        return DataFile(path, self._count, self._digest.hexdigest())


def read_corpus(paths: Sequence[Path]) -> Corpus:
    """Read the documents of files and folders in the same way as training (see `cutaway.data.records`).

    Files are decompressed while they are read; all texts are held in memory. Raises UsageError, naming file and line,
    if something cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "two.jsonl"
    ...     _ = path.write_text('{"text": "one"}\\n{"text": "two"}\\n')
    ...     [document.turns[0].completion for document in read_corpus([path]).documents]
    ['one', 'two']
    """
    documents: list[Record] = []
    files: list[DataFile] = []
    for source in find_sources(paths):
        read = _Hash()
        documents.extend(read_documents(source.path, tap=read.update))
        files.append(read.file(str(source.path)))
    return Corpus(documents, files)


def read_data(path: Path) -> tuple[DataFile, bytes]:
    """Read a file, decompressing it according to its suffix. Raises UsageError if that fails.

    >>> import gzip
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "robot.txt.gz"
    ...     _ = path.write_bytes(gzip.compress(b"A robot"))
    ...     read_data(path)[1]
    b'A robot'
    """
    read = _Hash()
    with open_bytes(path, read.update) as (stream, _):
        data = stream.read()
    return read.file(str(path)), data


def data_file(path: str, data: bytes) -> DataFile:
    """Describe data by its size and hash.

    >>> data_file("-", b"A robot").sha256[:16]
    '8cbbd9219db8a180'
    """
    read = _Hash()
    read.update(data)
    return read.file(path)


def json_lines(data: bytes, name: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the place ("file:line") and JSON object of each non-empty line. Raises UsageError if one is not an object.

    >>> list(json_lines(b'{"label": 3}', "a.jsonl"))
    [('a.jsonl:1', {'label': 3})]
    """
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            place = f"{name}:{number}"
            yield place, parse_json_line(line, place)


def text_field(record: dict[str, object], key: str, place: str) -> str:
    """Return a string of a JSON object. Raises UsageError if it is missing or not a string.

    >>> text_field({"text": "A robot"}, "text", "a.jsonl:1")
    'A robot'
    """
    value = record.get(key)
    if not isinstance(value, str):
        raise UsageError(f'{place}: "{key}" is missing or is not text')
    return valid_unicode(value)
