"""Hostile pickles: none runs anything, each is an error of one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cutaway.checkpoints.pickles import find_pickle, unpickled
from cutaway.errors import CheckpointError
from tests.checkpoints.hostile import hostile_files, payloads
from tests.cli.invoke import invoke

NAMES = sorted(hostile_files(""))
QUICK = {"reduce.pt", "inst.pt", "stack_global.pt", "bare.bin", "model.safetensors", "stretched.pt", "bomb.pt"}
PARAMETERS = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]


def test_there_are_more_than_forty() -> None:
    assert len(NAMES) > 40
    assert set(NAMES) >= QUICK


@pytest.mark.parametrize("name", PARAMETERS)
def test_nothing_runs_and_one_line_says_why(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(hostile_files(f"touch {canary}")[name])
    result = invoke("convert", str(tmp_path / name), str(tmp_path / "out"), "--allow-pickle", "--n-head", "1")
    assert result.code == 3
    assert name in result.error
    assert len(result.error) < 300 + len(str(tmp_path))
    assert "end with status" not in result.error
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_the_same_pickles_run_where_they_are_trusted(tmp_path: Path) -> None:
    """Without this the test above could pass because the pickles are harmless."""
    trusting = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
    for name in ("reduce", "inst", "stack_global", "newobj_ex", "obj", "eval", "getattr"):
        canary = tmp_path / name
        pickle = payloads(f"touch '{canary}'")[name]
        subprocess.run([sys.executable, "-c", trusting], input=pickle, check=False, capture_output=True)
        assert canary.exists() == (name != "newobj_ex"), name  # which takes classes only


def test_without_permission_nothing_is_read_and_the_line_says_how(tmp_path: Path) -> None:
    for name, data in {"ckpt.pt": b"PK\x03\x04", "pytorch_model.bin": b"\x80\x02"}.items():
        (tmp_path / name).write_bytes(data)
        result = invoke("convert", str(tmp_path / name), str(tmp_path / "out"))
        assert (result.code, "--allow-pickle reads it in a process without rights" in result.error) == (3, True)
    assert "pytorch_model.bin: is a pickle" in invoke("convert", str(tmp_path), str(tmp_path / "out")).error


def test_a_pickle_is_found_as_a_file_or_in_place_of_safetensors(tmp_path: Path) -> None:
    assert find_pickle("gpt2") is None
    assert find_pickle("~nobody-at-all/x") is None
    assert find_pickle("x" * 5000) is None
    assert find_pickle(str(tmp_path)) is None
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    assert find_pickle(str(tmp_path)) == tmp_path / "pytorch_model.bin"
    (tmp_path / "model.safetensors").touch()
    assert find_pickle(str(tmp_path)) is None
    assert find_pickle(str(tmp_path / "model.safetensors")) is None


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(CheckpointError, match="is not a file"), unpickled(tmp_path / "pipe.pt"):
        pass
