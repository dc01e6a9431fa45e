"""A save is interrupted at every step it takes: what is on the disk is the old checkpoint or the new one, whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "ctypes.dlopen"}

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
    code = save_interrupted_at(step)
    assert code in (0, 1, 7, 9), code
    new, old = holds(target, NEW), overwrite and holds(target, OLD)
    if overwrite and not exchange and not target.exists():
        old = any(holds(path, OLD) for path in root.iterdir())
    assert new or old or not overwrite, (step, sorted(root.rglob("*")))
    assert new or code not in (0, 7), step
    save_checkpoint(target, NEW, overwrite=True)
    assert holds(target, NEW), step
    assert [path.name for path in root.iterdir()] == ["model"], (step, sorted(root.rglob("*")))
    if overwrite:
        assert (target / "notes.md").read_text() == "mine", step
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
