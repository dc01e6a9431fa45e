"""Rights that are given up, tried by a process that gave them up: through Python, and past it through the C library."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

LINUX = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")

TRY = """
import ctypes, json, os, socket, sys, threading
from cutaway.checkpoints import sandbox
from pathlib import Path
directory = Path(sys.argv[1])
kept = (directory / "kept").open("w")
libc = ctypes.CDLL(None, use_errno=True)
numbers = ctypes.get_errno
alone = sandbox.leave_network()
enforced = sandbox.give_up_rights() if sys.argv[2] == "all" else sandbox._install_seccomp()
def attempt(action):
    try:
        done = action()
    except OSError as error:
        return type(error).__name__
    if not isinstance(done, int) or done >= 0:
        return "done"
    return "PermissionError" if numbers() in (1, 38) else numbers()
path = str(directory / "new").encode()
thread = threading.Thread(target=lambda: None)
tried = {
    "socket": attempt(socket.socket),
    "fork": attempt(os.fork),
    "exec": attempt(lambda: os.execv(sys.executable, [sys.executable, "-c", "1"])),
    "write": attempt(lambda: open(path, "w")),
    "append": attempt(lambda: open(directory / "there", "a")),
    "remove": attempt(lambda: os.remove(directory / "there")),
    "mkdir": attempt(lambda: os.mkdir(path)),
    "rename": attempt(lambda: os.rename(directory / "there", path)),
    "libc socket": attempt(lambda: libc.socket(2, 1, 0)),
    "libc system": attempt(lambda: -1 if libc.system(b"exit 7") != 7 << 8 else 0),
    "libc creat": attempt(lambda: libc.creat(path, 0o600)),
    "libc open": attempt(lambda: libc.open(path, 65, 0o600)),
    "libc unlink": attempt(lambda: libc.unlink(str(directory / "there").encode())),
    "read": attempt(lambda: open(directory / "there").read()),
    "thread": attempt(thread.start),
    "write to an open file": attempt(lambda: kept.write("kept")),
}
kept.close()
print(json.dumps({"tried": tried, "enforced": enforced, "alone": alone}))
"""
ALLOWED = {"read", "thread", "write to an open file"}


def tried(directory: Path, rights: str) -> dict[str, dict[str, str]]:
    (directory / "there").write_text("there")
    command = [sys.executable, "-W", "ignore", "-c", TRY, str(directory), rights]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    document: dict[str, dict[str, str]] = json.loads(result.stdout)
    assert (directory / "kept").read_text() == "kept"
    assert not (directory / "new").exists()
    assert (directory / "there").exists()
    return document


@pytest.mark.skipif(not LINUX, reason="the kernel's filter is for Linux")
def test_the_kernel_alone_refuses_everything_but_reading(tmp_path: Path) -> None:
    document = tried(tmp_path, "kernel")
    assert document["enforced"]
    assert {name for name, outcome in document["tried"].items() if outcome == "done"} == ALLOWED


def test_python_refuses_too(tmp_path: Path) -> None:
    document = tried(tmp_path, "all")
    outcomes = {name: outcome for name, outcome in document["tried"].items() if not name.startswith("libc")}
    assert {name for name, outcome in outcomes.items() if outcome == "done"} == ALLOWED
    assert set(outcomes.values()) == {"done", "PermissionError"}


def test_memory_and_file_sizes_are_limited(tmp_path: Path) -> None:
    code = """
import signal, sys
from cutaway.checkpoints import sandbox
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sandbox.limit_resources(64 << 20, 60, 1000)
try:
    bytearray(256 << 20)
except MemoryError:
    print("memory")
try:
    with open(sys.argv[1], "wb", buffering=0) as file:
        file.write(bytes(1000)); file.write(b"x")
except OSError:
    print("file")
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")], check=True, capture_output=True, text=True
    )
    expected = ["memory", "file"] if sys.platform == "linux" else ["file"]
    assert result.stdout.split() == expected
