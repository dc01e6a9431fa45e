import gzip
import hashlib
import lzma
from pathlib import Path

import pytest

from cutaway.errors import UsageError
from cutaway.evaluation.corpus import read_corpus, read_data

LINES = b'{"text": "one"}\n{"title": "x", "text": "two\\u2028lines"}\n'


def written(directory: Path, name: str, data: bytes) -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "documents"),
    [
        ("a.txt", "é\r\n\n".encode(), ["é\r\n\n"]),
        ("no-suffix", b'{"text": "one"}', ['{"text": "one"}']),
        ("a.jsonl", LINES, ["one", "two\u2028lines"]),
        ("a.jsonl.xz", lzma.compress(LINES), ["one", "two\u2028lines"]),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0), ["one", "two\u2028lines"]),
        ("a.txt.xz", lzma.compress(b"text"), ["text"]),
        ("a.gz", gzip.compress(b"text", mtime=0), ["text"]),
        ("empty.jsonl", b"", []),
    ],
)
def test_reads_documents_and_hashes_the_file_on_disk(
    tmp_path: Path, name: str, data: bytes, documents: list[str]
) -> None:
    path = written(tmp_path, name, data)
    corpus = read_corpus([path, path])
    assert corpus.documents == documents * 2
    assert corpus.files[0] == corpus.files[1]
    file = corpus.files[0]
    assert (file.path, file.bytes, file.sha256) == (str(path), len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("a.txt", b"a\xff", "a.txt is not UTF-8 at byte 1"),
        ("a.jsonl", b'{"text": "a"}\nx\n', "a.jsonl:2: not valid JSON"),
        ("a.jsonl", b'{"text": "a"}\n\n', "a.jsonl:2: not valid JSON"),
        ("a.jsonl", b'"a"\n', "a.jsonl:1: must be a JSON object, not 'a'"),
        ("a.jsonl", b'{"title": "a"}\n', 'a.jsonl:1: "text" is missing or is not text'),
        ("a.jsonl", b'{"text": 5}\n', 'a.jsonl:1: "text" is missing or is not text'),
        ("a.jsonl", b'{"text": "\\ud83e"}\n', 'a.jsonl:1: "text" is missing or is not text'),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: not valid JSON"),
        ("a.jsonl.xz", lzma.compress(LINES)[:-5], "truncated or invalid .xz file"),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-5], "truncated or invalid .gz file"),
        ("a.gz", b"no gzip", "truncated or invalid .gz file"),
    ],
)
def test_refuses_invalid_files(tmp_path: Path, name: str, data: bytes, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_corpus([written(tmp_path, name, data)])
    assert part in str(caught.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read .*none: No such file"):
        read_data(tmp_path / "none")
