import gzip
import hashlib
import lzma
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zstandard import ZstdCompressor

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
        ("blank.jsonl", b'\n{"text": "a"}\r\n\n', ["a"]),
        ("a.jsonl", b'{"text": "\\ud83e"}\n', ["\ufffd"]),
        ("a.txt.zst", ZstdCompressor().compress(b"text"), ["text"]),
        ("a.JSONL.GZ", gzip.compress(LINES, mtime=0), ["one", "two\u2028lines"]),
    ],
)
def test_reads_documents_and_hashes_the_file_on_disk(
    tmp_path: Path, name: str, data: bytes, documents: list[str]
) -> None:
    path = written(tmp_path, name, data)
    corpus = read_corpus([path, path])
    assert [document.turns[0].completion for document in corpus.documents] == documents * 2
    assert corpus.files[0] == corpus.files[1]
    file = corpus.files[0]
    assert (file.path, file.bytes, file.sha256) == (str(path), len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("a.txt", b"a\xff", "a.txt:1: not UTF-8 at byte 1"),
        ("a.jsonl", b'{"text": "a"}\nx\n', "a.jsonl:2: not valid JSON"),
        ("a.txt", "a".encode("utf-16"), "a.txt: is UTF-16; save it as UTF-8"),
        ("a.jsonl", b'"a"\n', "a.jsonl:1: must be a JSON object, {"),
        ("a.jsonl", b'{"title": "a"}\n', "a.jsonl:1: must be {"),
        ("a.jsonl", b'{"text": 5}\n', "a.jsonl:1: 'text' must be text, not 5"),
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


def test_hashes_a_parquet_file_and_the_files_of_a_folder(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one", "two"], "id": [1, 2]}), tmp_path / "b.parquet")
    written(tmp_path, "a.txt", b"three")
    corpus = read_corpus([tmp_path])
    assert [document.turns[0].completion for document in corpus.documents] == ["three", "one", "two"]
    assert [document.place for document in corpus.documents[1:]] == [f"{tmp_path}/b.parquet:{n}" for n in (1, 2)]
    for name, file in zip(("a.txt", "b.parquet"), corpus.files, strict=True):
        data = (tmp_path / name).read_bytes()
        assert (file.path, file.bytes) == (str(tmp_path / name), len(data))
        assert file.sha256 == hashlib.sha256(data).hexdigest()


def test_reads_a_pipe_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(pipe.write_bytes, b"A robot")
        corpus = read_corpus([pipe])
        writing.result()
    assert corpus.documents[0].turns[0].completion == "A robot"
    assert corpus.files[0].sha256 == hashlib.sha256(b"A robot").hexdigest()


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none: cannot be read: No such file"):
        read_data(tmp_path / "none")
