"""Test data on disk: the records of files, with the SHA-256 of each file."""

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
    """A file of test data as it lies on disk; the hash is that which `sha256sum` prints."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Corpus:
    """Documents, and the files that they come from."""

    documents: list[Record]
    files: list[DataFile]


class _Hash:
    """The size and the hash of bytes that are read."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0

    def update(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._count += len(data)

    def file(self, path: str) -> DataFile:
        return DataFile(path, self._count, self._digest.hexdigest())


def read_corpus(paths: Sequence[Path]) -> Corpus:
    """Read the documents of files and folders, as training reads them: see `cutaway.data.records`.

    Files are decompressed as they are read; their texts are held in memory. Raises UsageError, naming file and line,
    for what cannot be read.

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
    """Read a file, decompressed as its suffix says. Raises UsageError if that fails.

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
    """Yield each line's place ("file:line") and JSON object; empty lines are skipped. Raises UsageError for another.

    >>> list(json_lines(b'{"label": 3}', "a.jsonl"))
    [('a.jsonl:1', {'label': 3})]
    """
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            place = f"{name}:{number}"
            yield place, parse_json_line(line, place)


def text_field(record: dict[str, object], key: str, place: str) -> str:
    """Return a string of a JSON object. Raises UsageError if it is missing, or not text.

    >>> text_field({"text": "A robot"}, "text", "a.jsonl:1")
    'A robot'
    """
    value = record.get(key)
    if not isinstance(value, str):
        raise UsageError(f'{place}: "{key}" is missing or is not text')
    return valid_unicode(value)
