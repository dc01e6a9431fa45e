"""Every byte of a checkpoint directory, the manifest's own included, is checked."""

import json
from pathlib import Path

import pytest

from cutaway.errors import CheckpointError
from cutaway.training.manifest import check_manifest, fingerprint, write_manifest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(b"some bytes")
    (tmp_path / "b").write_bytes(b"more")
    write_manifest(tmp_path, 7)
    return tmp_path


def test_a_manifest_lists_files_step_and_environment(directory: Path) -> None:
    manifest = check_manifest(directory, 7)
    assert manifest["step"] == 7
    assert manifest["environment"] == fingerprint()
    assert manifest["files"] == {
        "a": {"bytes": 10, "sha256": "0d22cdcc10e6d049dbe1af5123d50873fdfc1a4f58306e58cb6241be9472014d"},
        "b": {"bytes": 4, "sha256": "187897ce0afcf20b50ba2b37dca84a951b7046f29ed5ab94f010619f69d6e189"},
    }


@pytest.mark.slow
def test_every_flipped_bit_of_the_manifest_is_found(directory: Path) -> None:
    path = directory / "manifest.json"
    data = path.read_bytes()
    for index in range(len(data)):
        flipped = bytearray(data)
        flipped[index] ^= 1 << index % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="manifest.json: "):
            check_manifest(directory, 7)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda d: (d / "a").write_bytes(b"some bytez"),
            r"a: is damaged: its SHA-256 differs from that of the saved file$",
        ),
        (lambda d: (d / "a").write_bytes(b"some byte"), r"a: is damaged: 9 bytes long, not 10$"),
        (lambda d: (d / "a").unlink(), r"a: is missing$"),
        (lambda d: (d / "c").touch(), r"c: is not listed in manifest.json$"),
        (lambda d: (d / "manifest.json").unlink(), r"manifest.json: cannot be read: No such file or directory$"),
        (
            lambda d: ((d / "a").unlink(), (d / "a").symlink_to("nowhere")),
            r": cannot be read: No such file or directory$",
        ),
        (lambda d: ((d / "a").unlink(), (d / "a").mkdir()), r"a: is damaged: \d+ bytes long, not 10$"),
    ],
)
def test_damage_is_named(directory: Path, damage: object, message: str) -> None:
    assert callable(damage)
    damage(directory)
    with pytest.raises(CheckpointError, match=message):
        check_manifest(directory, 7)


def test_hidden_files_of_the_system_are_ignored(directory: Path) -> None:
    (directory / ".DS_Store").touch()
    check_manifest(directory, 7)


def test_another_step_is_refused(directory: Path) -> None:
    with pytest.raises(CheckpointError, match=r"manifest.json: is of step 7, not 8$"):
        check_manifest(directory, 8)


def test_another_format_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "manifest.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("cutaway.training.manifest.FORMAT", "cutaway-checkpoint/2")
        write_manifest(directory, 7)
    assert json.loads((directory / "manifest.json").read_text())["format"] == "cutaway-checkpoint/2"
    with pytest.raises(
        CheckpointError, match=r"has the format 'cutaway-checkpoint/2'; this version reads cutaway-checkpoint/1$"
    ):
        check_manifest(directory, 7)
