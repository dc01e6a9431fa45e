"""A save is interrupted at every step it takes: what is on the disk is the old checkpoint or the new one, whole."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cutaway import disk
from cutaway.checkpoints import replace

# Runs in a process of its own, because what watches every file operation (an audit hook) can never be taken away again.
INTERRUPTED_SAVES = """
import ctypes, os, shutil, sys
from pathlib import Path
import numpy as np
from cutaway.checkpoints import Checkpoint, save_checkpoint
from tests.random_weights import random_weights
from cutaway.config import GPT2Config
from cutaway.errors import CheckpointError

root, fault, exchange, overwrite = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "exchange", sys.argv[4] == "overwrite"
target = root / "model"
OLD = random_weights(GPT2Config(n_vocab=9, n_ctx=4, n_embd=4, n_head=1, n_layer=1), seed=1)
NEW = random_weights(GPT2Config(n_vocab=7, n_ctx=4, n_embd=8, n_head=1, n_layer=2), seed=2)
WATCHED = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.listdir", "os.scandir"}
WATCHED |= {"ctypes.dlopen"}

def holds(directory, weights):
    try:
        checkpoint = Checkpoint(directory, "x")
    except CheckpointError:
        return False
    return checkpoint.config == weights.config and all(
        np.array_equal(checkpoint.read(name), weights.read(name)) for name in weights.config.tensor_shapes())

def interrupt(step):
    steps = iter(range(step, -1, -1))
    def hook(event, arguments):
        here = event == "ctypes.dlopen" or str(root) in str(arguments)
        if event in WATCHED and here and next(steps, None) == 0:
            if fault == "kill":
                os._exit(9)
            raise OSError(5, "Input/output error")
    sys.addaudithook(hook)
    return steps

def save_interrupted_at(step):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = interrupt(step)
    try:
        save_checkpoint(target, NEW, max_shard_bytes=500, overwrite=overwrite)
    except CheckpointError:
        os._exit(1)
    except BaseException as error:
        print("unexpected", repr(error), flush=True)
        os._exit(2)
    os._exit(0 if next(left, None) is None else 7)

os.fsync = lambda descriptor: None  # a process that dies takes nothing with it that it has written
if not exchange:
    ctypes.CDLL = lambda name: None
for step in range(10**6):
    shutil.rmtree(root)
    root.mkdir()
    if overwrite:
        save_checkpoint(target, OLD)
        (target / "notes.md").write_text("mine")
        (target / "logs").mkdir()
        (target / "logs" / "log.txt").write_text("mine")
    code = save_interrupted_at(step)
    assert code in (0, 1, 7, 9), code
    if target.exists() and overwrite:
        assert (target / "notes.md").read_text() == (target / "logs" / "log.txt").read_text() == "mine", step
    new, old = holds(target, NEW), overwrite and holds(target, OLD)
    if overwrite and not exchange and not target.exists():
        old = any(holds(path, OLD) for path in root.iterdir())
    assert new or old or not overwrite, (step, sorted(root.rglob("*")))
    assert new or code not in (0, 7), step
    save_checkpoint(target, NEW, overwrite=True)
    assert holds(target, NEW), step
    assert [path.name for path in root.iterdir()] == ["model"], (step, sorted(root.rglob("*")))
    if overwrite:
        assert (target / "notes.md").read_text() == (target / "logs" / "log.txt").read_text() == "mine", step
    if code == 7:  # it was over before it came to that step
        break
print(step, "steps")
"""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "error"])
@pytest.mark.parametrize(
    ("exchange", "overwrite"), [("exchange", "overwrite"), ("renames", "overwrite"), ("exchange", "new")]
)
def test_a_save_that_is_interrupted_at_any_step(tmp_path: Path, fault: str, exchange: str, overwrite: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    command = [sys.executable, "-c", INTERRUPTED_SAVES, str(root), fault, exchange, overwrite]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[0]) > 15


def test_files_are_synced_before_they_are_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    install = replace._install

    def logged_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        events.extend(path.name for path in (tmp_path, *tmp_path.rglob("*")) if os.path.samestat(path.stat(), status))

    monkeypatch.setattr(os, "fsync", logged_fsync)

    def logged_install(staging: Path, target: Path) -> None:
        events.append("install")
        install(staging, target)

    monkeypatch.setattr(replace, "_install", logged_install)
    with replace.replacing(tmp_path / "x", belongs=lambda _: True) as staging:
        (staging / "a").write_text("a")
        (staging / "b").write_text("b")
    assert sorted(events[:2]) == ["a", "b"]
    assert events[2:] == [staging.name, "install", tmp_path.name]


def test_another_running_save_is_left_alone(tmp_path: Path) -> None:
    busy = tmp_path / ".x.saving-1-01234567"  # of a process that is there
    dead = tmp_path / ".x.saving-4194305-01234567-old"  # of one that cannot be: the number is too large
    ours = tmp_path / f".x.saving-{os.getpid()}-01234567"  # of one that had our number before us
    for leftover in (busy, dead, ours):
        leftover.mkdir()
        (leftover / "a").write_text("a")
    with replace.replacing(tmp_path / "x", belongs=lambda _: True) as staging:
        (staging / "a").write_text("new")
    assert busy.exists()
    assert not dead.exists()
    assert not ours.exists()


def test_the_directory_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x").chmod(0o2750)
    (tmp_path / "x" / "other").touch()
    with replace.replacing(tmp_path / "x", belongs=lambda _: False) as staging:
        (staging / "a").touch()
    assert (tmp_path / "x").stat().st_mode & 0o7777 == 0o2750
    assert (tmp_path / "x" / "other").exists()


def is_new(name: str) -> bool:
    return name == "a"


def save(target: Path) -> None:
    with replace.replacing(target, belongs=is_new) as staging:
        (staging / "a").write_text("new")


def listing(directory: Path) -> dict[str, str]:
    """The relative path and the content of each file, through no link."""
    found = {path.relative_to(directory): path for path in directory.rglob("*") if not path.is_dir()}
    return {str(name): str(path.readlink()) if path.is_symlink() else path.read_text() for name, path in found.items()}


OTHERS = {"notes.md": "mine", ".hidden": "mine", "logs/1/log.txt": "mine", "logs/a": "mine", "link": "nowhere"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A directory that holds an old file of ours, and a person's files, directories and links."""
    target = tmp_path / "x"
    for name, text in {"a": "old", **OTHERS}.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if name == "link":
            (target / name).symlink_to(text)
        else:
            (target / name).write_text(text)
    return target


def no_links(*names: object, **options: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def no_exchange(name: object) -> object:
    return object()


@pytest.fixture(params=["exchange and links", "renames", "copies"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """File systems that exchange directories and link files, that do not exchange, and that do not link."""
    if request.param == "renames":
        monkeypatch.setattr(ctypes, "CDLL", no_exchange)
    if request.param == "copies":
        monkeypatch.setattr(os, "link", no_links)
    return str(request.param)


def test_other_files_are_in_place_at_the_moment_of_the_exchange(
    target: Path, file_system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "_retire", lambda *arguments: None)  # a process killed right after
    save(target)
    assert listing(target) == {"a": "new", **OTHERS}


def test_other_files_keep_their_identity(target: Path) -> None:
    (target / "notes.md").chmod(0o600)
    (target / "logs").chmod(0o700)
    before = (target / "notes.md").stat()
    save(target)
    after = (target / "notes.md").stat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert (target / "logs").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("failing", ["sync", "_link_others", "_install", "_exchange", "_retire"])
def test_other_files_stay_when_a_step_fails(
    target: Path, file_system: str, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(replace, failing, fail)
        if failing == "_retire":  # the new file is in place: no error
            save(target)
        else:
            with pytest.raises(OSError, match="Input/output error"):
                save(target)
    assert listing(target) == {"a": "new" if failing == "_retire" else "old", **OTHERS}
    save(target)
    assert listing(target) == {"a": "new", **OTHERS}
    assert [path.name for path in target.parent.iterdir()] == ["x"]


def test_a_save_succeeds_when_only_the_parent_cannot_be_synced(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = disk.sync

    def sync_but_the_parent(path: Path) -> None:
        if path == target.parent:
            raise OSError(errno.EIO, "Input/output error")
        sync(path)

    monkeypatch.setattr(replace, "sync", sync_but_the_parent)
    save(target)
    assert listing(target) == {"a": "new", **OTHERS}


def test_a_file_added_during_the_save_is_kept(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install = replace._install

    def add_and_install(staging: Path, target: Path) -> None:
        (target / "logs" / "late.txt").write_text("mine")
        (target / "late.md").write_text("mine")
        install(staging, target)

    monkeypatch.setattr(replace, "_install", add_and_install)
    save(target)
    assert listing(target) == {"a": "new", **OTHERS, "late.md": "mine", "logs/late.txt": "mine"}


def test_a_directory_with_the_name_of_a_file_is_left_alone(target: Path) -> None:
    (target / "a").unlink()
    (target / "a").mkdir()
    (target / "a" / "b").write_text("mine")
    with pytest.raises(OSError, match="a is not a file"):
        save(target)
    assert listing(target) == {"a/b": "mine", **OTHERS}
    assert [path.name for path in target.parent.iterdir()] == ["x"]


def leave(target: Path, suffix: str = "") -> Path:
    leftover = target.with_name(f".{target.name}.saving-4194305-01234567{suffix}")
    leftover.mkdir()
    (leftover / "a").write_text("of a save that was killed")
    return leftover


def test_leftovers_are_removed_before_anything_is_written(target: Path) -> None:
    leftover = leave(target)
    with replace.replacing(target, belongs=is_new):
        assert not leftover.exists()


def test_a_leftover_that_cannot_be_removed_is_no_error(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leftover = leave(target)
    unlink = Path.unlink

    def unlink_elsewhere(path: Path, missing_ok: bool = False) -> None:
        if path.parent == leftover:
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_elsewhere)
    save(target)
    assert listing(target) == {"a": "new", **OTHERS}


def test_the_old_directory_comes_back_if_the_process_died_between_two_renames(target: Path) -> None:
    target.rename(leave(target, "-old") / "old")  # as the first rename leaves it
    aside = target.with_name(".x.saving-4194305-01234567-old")
    shutil.copytree(aside / "old", aside, dirs_exist_ok=True, symlinks=True)
    shutil.rmtree(aside / "old")
    leave(target)
    with pytest.raises(OSError, match="full"), replace.replacing(target, belongs=is_new):
        raise OSError(errno.ENOSPC, "the disk is full")
    assert listing(target) == {"a": "old", **OTHERS}


def test_a_second_save_in_this_process_is_left_alone(target: Path) -> None:
    with replace.replacing(target, belongs=is_new) as staging:
        (staging / "a").write_text("first")
        save(target)
        assert staging.exists()
    assert listing(target) == {"a": "first", **OTHERS}


def as_owner_without_rights(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to remove files from read-only directories, as the system does, though not for root."""
    unlink = Path.unlink

    def unlink_if_allowed(path: Path, missing_ok: bool = False) -> None:
        if not path.parent.stat().st_mode & 0o200:
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_if_allowed)


def test_read_only_directories_leave_nothing_behind(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_owner_without_rights(target, monkeypatch)
    for directory in (target / "logs" / "1", target):
        directory.chmod(0o555)
    save(target)
    assert listing(target) == {"a": "new", **OTHERS}
    assert [path.name for path in target.parent.iterdir()] == ["x"]
    for directory in (target / "logs" / "1", target):
        assert directory.stat().st_mode & 0o777 == 0o555
        directory.chmod(0o755)


def test_a_mount_point_is_refused_before_anything_is_written(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == target)
    with (
        pytest.raises(OSError, match="x is a mount point: choose a directory in it"),
        replace.replacing(target, is_new),
    ):
        raise AssertionError
    assert listing(target) == {"a": "old", **OTHERS}


def test_files_that_are_copied_are_synced(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    synced: list[Path] = []
    monkeypatch.setattr(replace, "sync", synced.append)
    save(target)
    assert {path.name for path in synced} >= {"notes.md", ".hidden", "log.txt"}


def test_a_mount_point_in_the_directory_is_refused(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == target / "logs")
    with pytest.raises(OSError, match="logs is a mount point"):
        save(target)
    assert listing(target) == {"a": "old", **OTHERS}
    assert [path.name for path in target.parent.iterdir()] == ["x"]


def test_the_old_directory_is_back_at_once_where_the_second_rename_fails(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", no_exchange)
    rename = Path.rename

    def rename_once(path: Path, to: Path) -> Path:
        if to == target and not path.name.endswith("-old") and not target.exists():
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", rename_once)
    with pytest.raises(OSError, match="Input/output error"):
        save(target)
    assert listing(target) == {"a": "old", **OTHERS}
    assert [path.name for path in target.parent.iterdir()] == ["x"]
