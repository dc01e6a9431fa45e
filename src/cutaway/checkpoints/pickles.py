"""Untrusted pickled PyTorch checkpoints, converted to safetensors by a sandboxed process.

Only `cutaway convert --allow-pickle` uses this module. This process never opens the pickle: it runs `unpickle` as a
subprocess, and reads the resulting safetensors file with the checks for any untrusted file.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from cutaway.checkpoints.adapter import ADAPTER_WEIGHTS
from cutaway.checkpoints.directory import INDEX, WEIGHTS
from cutaway.checkpoints.safetensors import TensorFile
from cutaway.errors import EngineError
from cutaway.untrusted import open_ordinary, quote, raise_checkpoint_error, read_object

SECONDS = 120  # time limit of reading, plus one second for each `BYTES_A_SECOND`
BYTES_A_SECOND = 5 << 20
_MAGIC = (b"PK\x03\x04", b"\x80")  # of a zip archive, and of a pickle since protocol 2
_KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # PyTorch may need them to find its libraries
_BOOT = """\
import sys, json
paths, arguments = json.loads(sys.argv[1])
sys.path[:] = paths
from cutaway.checkpoints import sandbox
sandbox.leave_network()
from cutaway.checkpoints import unpickle
unpickle.main(*arguments)
"""


@dataclass(frozen=True)
class Unpickled:
    """The float tensors of a pickle, the names of its other tensors, and nanoGPT's hyperparameters, if it has them."""

    file: TensorFile
    skipped: tuple[str, ...]
    settings: Mapping[str, int]


def find_pickle(source: str) -> Path | None:
    """Return the pickle at a path, or in a directory without safetensors files; None for any other source.

    >>> find_pickle("gpt2") is None
    True
    """
    try:
        path = Path(source).expanduser()
        if path.is_file():
            with open_ordinary(path) as file:
                return path if file.read(4).startswith(_MAGIC) else None
        if path.is_dir() and not any((path / name).exists() for name in (WEIGHTS, INDEX, ADAPTER_WEIGHTS)):
            return next(iter(pickles_in(path)), None)
    except (OSError, RuntimeError):  # permission denied, name too long, unknown user: `open_checkpoint` reports it
        pass
    return None


def pickles_in(directory: Path) -> list[Path]:
    """List the pickles in a directory that may hold the model: transformers' file, or its shards, or else all pickles.

    If the directory holds any safetensors files, only transformers' files are considered.

    >>> pickles_in(Path("nowhere"))
    []
    """
    for patterns in (("pytorch_model.bin",), ("pytorch_model-*.bin",), ("*.pt", "*.pth", "*.ckpt")):
        if found := [path for pattern in patterns for path in sorted(directory.glob(pattern))]:
            is_transformers = patterns[0].startswith("pytorch_model")
            return found if is_transformers or not any(directory.glob("*.safetensors")) else []
    return []


@contextmanager
def unpickled(path: Path) -> Iterator[Unpickled]:
    """Read a pickle in a separate process; the tensors are available until the context ends.

    Raises CheckpointError if the pickle holds anything but tensors, EngineError without PyTorch.

    >>> from cutaway.errors import CheckpointError
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "ckpt.pt")
    ...     _ = path.write_bytes(b"cposix\\nsystem\\n(S'echo'\\ntR.")
    ...     try:
    ...         with unpickled(path):
    ...             pass
    ...     except CheckpointError as error:
    ...         print(str(error).removeprefix(directory))
    /ckpt.pt: asks for posix.system, and not only for tensors; save the model's state_dict alone
    """
    if find_spec("torch") is None:
        raise EngineError("reading a pickle needs PyTorch: pip install torch")
    open_ordinary(path).close()
    with TemporaryDirectory(prefix="cutaway-unpickle-") as directory:
        answer = _run(path, Path(directory))
        file = TensorFile(Path(directory) / "tensors")
        yield Unpickled(file, _names(answer.get("skipped")), _settings(answer.get("settings")))


def _run(path: Path, directory: Path) -> dict[str, object]:
    """Run the program in an empty directory, and return its answer."""
    result = directory / "result.json"
    empty = directory / "empty"
    empty.mkdir()
    arguments = [str(path.resolve()), str(directory / "tensors"), str(result)]
    paths = [str(Path(entry).resolve()) for entry in sys.path if entry]
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    alone = {"HOME": str(empty), "TMPDIR": str(empty), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-I", "-B", "-W", "ignore", "-c", _BOOT, json.dumps([paths, arguments])]
    try:
        process = subprocess.run(
            command,
            cwd=empty,
            env=kept | alone,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS + path.stat().st_size / BYTES_A_SECOND,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise_checkpoint_error(path, "took too long to be read")
    answer = read_object(result) if result.exists() and result.stat().st_size else {}
    if process.returncode == os.EX_IOERR:  # the program's exit status if the disk is full
        needed = f"{directory.parent} has no room for its tensors, {path.stat().st_size} bytes"
        raise_checkpoint_error(path, f"cannot be read: {needed}; set TMPDIR to a directory that has")
    if "error" in answer:
        raise_checkpoint_error(path, _line(answer["error"]))
    if process.returncode or not answer:
        raise_checkpoint_error(path, f"made the process that reads it {_end(process.returncode)}")
    return answer


def _line(text: object) -> str:
    """Quote text from the other process for a message, unless it is short and printable."""
    shown = str(text)
    return shown if shown.isprintable() and len(shown) <= 200 else quote(shown)


def _end(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "run out of processor time"
    return f"die of {signal.Signals(-code).name}" if code < 0 else f"end with status {code}"


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _settings(value: object) -> dict[str, int]:
    items = value.items() if isinstance(value, dict) else ()
    return {name: number for name, number in items if isinstance(number, int)}
