import hashlib
import os
from pathlib import Path

import pytest

from cutaway.disk import hash_files, replacing_file, sync


def test_a_file_keeps_its_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing_file(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(ValueError, match="a fault"):
        write_half(path)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path: Path) -> None:
    with replacing_file(path) as file:
        file.write(b"half")
        raise ValueError("a fault")


def test_the_content_is_on_the_disk_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, path.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing_file(path) as file:
        file.write(b"newer")
    assert synced == [(5, "old")]


def test_a_directory_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    sync(tmp_path)
    assert synced == [tmp_path.stat().st_ino]


def test_files_are_hashed_as_one(tmp_path: Path) -> None:
    parts = [b"a robot ", b"x" * 3_000_000]
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    assert hash_files(paths) == hashlib.sha256(b"".join(parts)).hexdigest()
    with pytest.raises(FileNotFoundError):
        hash_files([tmp_path / "c"])


def test_what_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "a")
