"""Files to prepare: found, opened and decompressed."""

import errno
import gzip
import lzma
import os
from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cutaway.data.sources import SourceFile, decode_text, extra, find_sources, open_bytes, parquet_rows
from cutaway.errors import UsageError

DATA = b"".join(b"line %d\n" % number for number in range(50_000))
PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def test_folders_are_read_in_order_without_what_is_no_text(tmp_path: Path) -> None:
    names = (
        "b.txt",
        "a/z.jsonl.xz",
        "a/y.parquet",
        "c.png",
        ".git/d.txt",
        "README",
        "e.md.zst",
        "m/merges.txt",
        "m/vocab.txt",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    found = [str(source.path.relative_to(tmp_path)) for source in find_sources([tmp_path])]
    assert found == ["a/y.parquet", "a/z.jsonl.xz", "b.txt", "e.md.zst"]


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    (tmp_path / "a.txt").write_text("text")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match=f"^{tmp_path}: cannot be read: Permission denied$"):
        find_sources([tmp_path])


@pytest.mark.parametrize("target", ["nowhere", "a.txt"])
def test_a_link_to_nothing_in_a_folder_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "b.txt").write_text("text")
    (tmp_path / "a.txt").symlink_to(target)
    with pytest.raises(UsageError, match=r"a\.txt: is a broken link; fix or remove it"):
        find_sources([tmp_path])


def test_links_to_files_are_read_and_those_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "b.txt").write_text("text")
    (tmp_path / "texts" / "a.txt").symlink_to(tmp_path / "b.txt")
    (tmp_path / "texts" / "above").symlink_to("..")
    os.mkfifo(tmp_path / "texts" / "pipe.txt")
    assert [source.path.name for source in find_sources([tmp_path / "texts"])] == ["a.txt"]


def test_a_file_that_is_named_may_be_called_anything(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("text")
    assert find_sources([tmp_path / "README"], "valid") == [SourceFile(tmp_path / "README", 4, "valid")]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing: no such file or folder"):
        find_sources([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="no text in this folder"):
        find_sources([tmp_path])


@pytest.mark.parametrize("suffix", ["", *PACKED])
def test_files_are_decompressed_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACKED[suffix](DATA) if suffix else DATA)
    with open_bytes(path) as (stream, position):
        assert stream.read(1000) == DATA[:1000]
        assert stream.read() == DATA[1000:]
        assert stream.read() == b""
        assert position() == path.stat().st_size


@pytest.mark.parametrize("suffix", PACKED)
def test_concatenated_files_are_read_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACKED[suffix](DATA) + PACKED[suffix](b"more"))
    with open_bytes(path) as (stream, _):
        assert stream.read() == DATA + b"more"


def test_padding_between_frames_of_xz_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(DATA) + bytes(1 << 15) + lzma.compress(b"more") + bytes(4))
    with open_bytes(path) as (stream, _):
        assert stream.read() == DATA + b"more"


@pytest.mark.parametrize("suffix", PACKED)
def test_a_damaged_frame_after_a_whole_one_is_not_taken_for_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    packed = PACKED[suffix](DATA)
    for rest in (b"junk", b"\xff" + packed[1:], packed[:3]):
        path.write_bytes(packed + rest)
        with (
            pytest.raises(UsageError, match=f"a{suffix}: truncated or invalid {suffix} file"),
            open_bytes(path) as (stream, _),
        ):
            stream.read()


@pytest.mark.parametrize("suffix", PACKED)
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    packed = PACKED[suffix](DATA)
    for data in (b"plain text that is not compressed", packed[: len(packed) // 2], packed[:-1]):
        path.write_bytes(data)
        with (
            pytest.raises(UsageError, match=f"a{suffix}: truncated or invalid {suffix} file"),
            open_bytes(path) as (s, _),
        ):
            s.read()


@pytest.mark.parametrize("name", ["enwik8.zip", "set.tar.gz", "set.tgz", "a.jsonl.bz2"])
def test_an_archive_is_not_taken_for_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"plain text"))
    with pytest.raises(UsageError, match=rf"{name}: \.\w+ files are not read; unpack it"), open_bytes(tmp_path / name):
        pass


@pytest.mark.parametrize("suffix", PACKED)
@given(data=st.binary(max_size=3000), size=st.integers(1, 500))
def test_files_are_read_in_pieces_of_any_size(
    suffix: str, data: bytes, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"pieces{suffix}"
    path.write_bytes(PACKED[suffix](data))
    with open_bytes(path) as (stream, _):
        assert b"".join(iter(lambda: stream.read(size), b"")) == data.removeprefix(BOM_UTF8)


@pytest.mark.parametrize("suffix", ["", *PACKED])
def test_a_tap_gets_the_bytes_on_disk_and_a_byte_order_mark_is_skipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACKED[suffix](BOM_UTF8 + DATA) if suffix else BOM_UTF8 + DATA)
    stored = bytearray()
    with open_bytes(path, stored.extend) as (stream, _):
        assert stream.read() == DATA
    assert stored == path.read_bytes()


def write_parquet(path: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return path


def test_parquet_gives_rows_of_text(tmp_path: Path) -> None:
    texts: list[object] = [f"text {number}" for number in range(50)]
    path = write_parquet(tmp_path / "a.parquet", body=texts, other=list(range(50)))
    assert [row["body"] for row in parquet_rows(path, ["body", "title"])] == texts
    with pytest.raises(UsageError, match=r"no column of text; its columns are \['body', 'other'\]"):
        list(parquet_rows(path, ["text"]))


def test_text_of_parquet_that_is_not_utf8_is_named_by_its_row(tmp_path: Path) -> None:
    data = pa.py_buffer(b"one" * 20 + b"\xff\xfe!" + b"two" * 20)
    offsets = pa.array(range(0, 126, 3), pa.int32()).buffers()[1]
    pq.write_table(
        pa.table({"text": pa.Array.from_buffers(pa.string(), 41, [None, offsets, data])}), tmp_path / "a.parquet"
    )
    rows = parquet_rows(tmp_path / "a.parquet", ["text"])
    assert [next(rows)["text"] for _ in range(20)] == ["one"] * 20
    with pytest.raises(UsageError, match=r"a\.parquet:21: not UTF-8"):
        next(rows)


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("text")
    with pytest.raises(UsageError, match="a.parquet: not a readable Parquet file"):
        list(parquet_rows(tmp_path / "a.parquet", ["text"]))


def test_a_missing_package_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(UsageError, match=r"need the package no_such: pip install no_such"):
        extra("no_such", "Such files")


def test_bytes_that_are_not_utf8_are_named_by_the_line_of_the_file() -> None:
    with pytest.raises(UsageError, match=r"^a\.txt:8: not UTF-8 at byte 1; save the file as UTF-8$"):
        decode_text(b"one\ne\xff", "a.txt", first_line=7)
