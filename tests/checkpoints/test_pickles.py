"""Hostile pickles: none runs anything, each is an error of one line."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from cutaway.checkpoints import pickles
from cutaway.checkpoints.pickles import find_pickle, unpickled
from cutaway.errors import CheckpointError
from tests.checkpoints.hostile import hostile_files, payloads
from tests.cli.invoke import invoke

NAMES = sorted(hostile_files(""))
QUICK = ("bare.bin", "bomb.pt", "inst.pt", "model.safetensors", "reduce.pt", "stack_global.pt", "stretched.pt")


def test_there_are_more_than_forty() -> None:
    assert len(NAMES) > 40
    assert set(NAMES) >= set(QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_nothing_runs_and_one_line_says_why(tmp_path: Path, name: str) -> None:
    assert_refused(tmp_path, name)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_in_a_forked_process_either(tmp_path: Path, name: str) -> None:
    assert_refused(tmp_path, name)


def assert_refused(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(hostile_files(f"touch {canary}")[name]())
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
    for name in ("model.safetensors.index.json", "model.safetensors"):
        (tmp_path / name).touch()
        assert find_pickle(str(tmp_path)) is None
        (tmp_path / name).rename(tmp_path / "other.safetensors")
        assert find_pickle(str(tmp_path)) == tmp_path / "pytorch_model.bin"
    (tmp_path / "model.safetensors").touch()
    assert find_pickle(str(tmp_path / "model.safetensors")) is None


def test_the_optimizer_beside_safetensors_files_is_not_the_model(tmp_path: Path) -> None:
    for name in ("optimizer.pt", "part.safetensors"):
        (tmp_path / name).touch()
    assert find_pickle(str(tmp_path)) is None


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("module.pt", torch.nn.Linear(2, 2), "asks for torch.nn.modules.linear.Linear, and not only for tensors; save"),
        ("list.pt", [1, 2], "holds no tensors by name; save the model's state_dict alone"),
        (
            "other.pt",
            {"a": torch.ones(2)},
            "is not a GPT-2 of nanoGPT, minGPT or transformers: no wte.weight (it",
        ),
        ("text.pt", b"A robot", "is not a checkpoint that torch.save wrote, or is cut short"),
        ("empty.pt", b"", "is not a checkpoint that torch.save wrote, or is cut short (EOFError)"),
        ("python.pkl", pickle.dumps({"a": [1]}), "is not a checkpoint that torch.save wrote, or is cut short (Unpick"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_what_to_do(tmp_path: Path, name: str, content: object, reason: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    result = invoke("convert", str(path), str(tmp_path / "out"), "--allow-pickle", "--n-head", "1")
    assert result.code == 3
    assert f"{path}: {reason}" in result.error


@pytest.mark.usefixtures("forked")
def test_a_torchscript_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:  # as torch.jit.save writes it
        for name in ("data.pkl", "constants.pkl", "code/a.py", "version"):
            archive.writestr(f"script/{name}", "3")
    result = invoke("convert", str(path), str(tmp_path / "out"), "--allow-pickle")
    assert f"{path}: is a TorchScript program, and not only tensors; save the model's state_dict alone" in result.error


def test_of_a_directory_the_one_pickle_that_may_be_the_model_is_read(tmp_path: Path) -> None:
    def error() -> str:
        return invoke("convert", str(tmp_path), str(tmp_path / "out")).error

    assert "holds no checkpoint: config.json is missing" in error()
    (tmp_path / "ckpt.pt").write_bytes(b"PK\x03\x04")
    assert f"{tmp_path / 'ckpt.pt'}: is a pickle" in error()
    (tmp_path / "best.pt").write_bytes(b"PK\x03\x04")
    assert f"{tmp_path}: holds 2 pickles; name the one to convert: best.pt, ckpt.pt" in error()
    for number in (1, 2):
        (tmp_path / f"pytorch_model-0000{number}-of-00002.bin").touch()
    assert f"{tmp_path}: is a pickle in 2 files; save it as safetensors with transformers first" in error()
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04")  # as a Trainer leaves it, beside optimizer.pt
    assert "pytorch_model.bin: is a pickle, which can run code; --allow-pickle reads it" in error()
    (tmp_path / "adapter_model.safetensors").touch()
    assert find_pickle(str(tmp_path)) is None


def test_a_file_that_is_no_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("A robot")
    refused = invoke("convert", str(tmp_path / "notes.txt"), str(tmp_path / "out"))
    assert "notes.txt: is neither a directory with a checkpoint nor a pickle" in refused.error


def test_without_pytorch_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.checkpoints.pickles.find_spec", lambda _: None)
    (tmp_path / "ckpt.pt").write_bytes(b"PK\x03\x04")
    result = invoke("convert", str(tmp_path / "ckpt.pt"), str(tmp_path / "out"), "--allow-pickle")
    assert (result.code, "reading a pickle needs PyTorch: pip install torch" in result.error) == (5, True)


PROGRAM = """
import json, os, resource, socket, sys, types
from cutaway.errors import CheckpointError
def load(source, **options):
    done = []
    for name, attempt in {
        "socket": socket.socket,
        "file": lambda: open(source + ".new", "w"),
        "program": lambda: os.system("exit 0"),
    }.items():
        try:
            attempt()
            done.append(name)
        except OSError:
            pass
    limits = [resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)]
    raise CheckpointError(json.dumps([done, resource.RLIM_INFINITY in limits, options["weights_only"]]))
torch = types.ModuleType("torch")
torch.__getattr__ = lambda name: type(name, (), {})
torch.load = load
torch.set_num_threads = print
sys.modules["torch"] = torch  # which takes seconds to import
from cutaway.checkpoints import unpickle
unpickle.main(*sys.argv[1:])
"""


def test_rights_are_given_up_before_the_pickle_is_read(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("ckpt.pt", "tensors", "answer")]
    files[0].write_bytes(b"PK")
    subprocess.run([sys.executable, "-c", PROGRAM, *map(str, files)], check=False, capture_output=True)
    assert json.loads(json.loads(files[2].read_text())["error"]) == [[], False, True]


def network(code: str) -> str:
    """Return the name of the network that a process is in after some code."""
    command = [sys.executable, "-c", f"{code}; import os; print(os.readlink('/proc/self/ns/net'))"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_the_process_that_reads_is_in_a_network_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if network("from cutaway.checkpoints import sandbox; sandbox.leave_network()") == network("pass"):
        pytest.skip("the system allows no namespaces")
    answer = 'open(arguments[2], "w").write(json.dumps({"skipped": os.readlink("/proc/self/ns/net")}))'
    boot = pickles._BOOT.replace("from cutaway.checkpoints import unpickle", "import os")
    monkeypatch.setattr(pickles, "_BOOT", boot.replace("unpickle.main(*arguments)", answer))
    (tmp_path / "ckpt.pt").write_bytes(b"PK")
    assert pickles._run(tmp_path / "ckpt.pt", tmp_path)["skipped"] != network("pass").strip()


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(CheckpointError, match="is not a file"), unpickled(tmp_path / "pipe.pt"):
        pass


def test_no_room_for_the_tensors_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "_BOOT", "import os; raise SystemExit(os.EX_IOERR)")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "ckpt.pt").write_bytes(b"PK")
    reason = rf"ckpt.pt: cannot be read: {tmp_path} has no room for its tensors, 2 bytes; set TMPDIR to a directory"
    with pytest.raises(CheckpointError, match=reason), unpickled(tmp_path / "ckpt.pt"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("code", "status"), [("ENOSPC", os.EX_IOERR), ("EACCES", 1)])
def test_the_program_says_that_its_disk_is_full(tmp_path: Path, code: str, status: int) -> None:
    program = f"""
import errno, pathlib
from cutaway.checkpoints import unpickle
with unpickle.Answer(pathlib.Path({str(tmp_path / "answer")!r})):
    raise OSError(errno.{code}, "no")
"""
    run = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert run.returncode == status
    assert ("error" in (tmp_path / "answer").read_text()) == (code == "EACCES")
