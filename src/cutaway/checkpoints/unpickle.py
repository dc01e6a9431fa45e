"""Converts pickled tensors to safetensors: the program that `pickles` runs in a separate process. Nothing imports it.

A pickle is a program. It is run by PyTorch's restricted unpickler, which allows only tensors and plain containers. If
the unpickler has a vulnerability, the process still has no network, cannot start programs, and can write only to the
two files that it has opened.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from cutaway.checkpoints import sandbox
from cutaway.checkpoints.safetensors import write_tensors_to
from cutaway.errors import CheckpointError
from cutaway.formats import Array
from cutaway.untrusted import quote_name

# Keys of the model's tensors in a training loop's checkpoint, and of the hyperparameters in nanoGPT's.
MODEL_KEYS = ("model", "state_dict", "model_state_dict")
SETTINGS_KEY = "model_args"
SETTINGS = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size", "bias")

MOST_TENSORS = 10_000
SPARE_MEMORY = 512 << 20
CODES = {torch.float32: "F32", torch.float64: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_INSTEAD = "save the model's state_dict alone"
_BOILERPLATE = ("Weights only load failed", "Please file an issue", "Check the documentation")  # of PyTorch's messages
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def main(source: str, tensors: str, result: str) -> None:
    """Read the pickle `source`; write its float tensors to `tensors`, and other information as JSON to `result`.

    It permanently restricts the process, so call it in a separate one.

    >>> import subprocess, sys
    >>> from tempfile import TemporaryDirectory
    >>> code = "import sys; from cutaway.checkpoints.unpickle import main; main(*sys.argv[1:])"
    >>> with TemporaryDirectory() as d:
    ...     torch.save({"x": torch.ones(2)}, f"{d}/x.pt")
    ...     _ = subprocess.run([sys.executable, "-c", code, f"{d}/x.pt", f"{d}/tensors", f"{d}/answer"], check=True)
    ...     Path(d, "answer").read_text()
    '{"skipped": [], "settings": {}}'
    """
    size = Path(source).stat().st_size
    with Answer(Path(result)) as answer, Path(tensors).open("xb") as file:
        torch.set_num_threads(1)
        sandbox.limit_resources(2 * size + SPARE_MEMORY, 60 + size // (20 << 20), 2 * size + (16 << 20))
        sandbox.give_up_rights()
        loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=_is_zip(source))
        state = _find_state(loaded)
        floats = {name: tensor for name, tensor in state.items() if tensor.dtype in CODES}
        _check_sizes(state, size)
        kinds = {name: (CODES[tensor.dtype], tuple(tensor.shape)) for name, tensor in floats.items()}
        write_tensors_to(file, kinds, _arrays(floats))
        skipped = sorted(state.keys() - floats.keys())
        answer.write({"skipped": skipped, "settings": _find_settings(loaded)})


def _is_zip(source: str) -> bool:
    """Return True for the format since PyTorch 1.6, whose tensors can be memory-mapped."""
    with Path(source).open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _find_state(loaded: object) -> dict[str, torch.Tensor]:
    """Find the tensors by name: in the object itself, or under one of `MODEL_KEYS`. Raises CheckpointError if none."""
    if isinstance(loaded, Mapping):
        inner = next((loaded[key] for key in MODEL_KEYS if isinstance(loaded.get(key), Mapping)), loaded)
        state = {name: value for name, value in inner.items() if isinstance(value, torch.Tensor)}
        if state and all(isinstance(name, str) for name in state):
            return state
    raise CheckpointError(f"holds no tensors by name; {_INSTEAD}")


def _find_settings(loaded: object) -> dict[str, int]:
    """Find nanoGPT's hyperparameters that are integers or booleans; {} if there are none."""
    settings = loaded.get(SETTINGS_KEY) if isinstance(loaded, Mapping) else None
    if not isinstance(settings, Mapping):
        return {}
    return {name: settings[name] for name in SETTINGS if isinstance(settings.get(name), int)}


def _check_sizes(state: Mapping[str, torch.Tensor], file_bytes: int) -> None:
    """Raise CheckpointError for tensors that are not plain, or whose total is much larger than the file.

    Views can be larger than the storage that they share.
    """
    if len(state) > MOST_TENSORS:
        raise CheckpointError(f"holds {len(state)} tensors; {MOST_TENSORS} is more than any GPT-2 needs")
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise CheckpointError(f"{quote_name(name)} is not a plain tensor")
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if total > 2 * file_bytes:  # a tied head is counted twice
        raise CheckpointError(f"claims tensors of {total} bytes in a file of {file_bytes}")


def _arrays(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, Array]]:
    for name, tensor in state.items():
        yield name, tensor.detach().to(torch.float32).contiguous().numpy()


class Answer:
    """The file for the answer, opened before the process is restricted; an exception becomes the answer "error"."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SystemExit(os.EX_IOERR)  # the disk is too full even for the answer
        with self._file:
            if error is not None:
                self.write({"error": describe(error)})

    def write(self, document: Mapping[str, object]) -> None:
        json.dump(document, self._file)


def describe(error: BaseException) -> str:
    """Describe an error in one line: what is wrong with the file, and what to save instead.

    >>> describe(ValueError("Unsupported global: GLOBAL posix.system was not allowed"))
    "asks for posix.system, and not only for tensors; save the model's state_dict alone"
    >>> describe(EOFError())
    'is not a checkpoint that torch.save wrote, or is cut short (EOFError)'
    """
    text = str(error)
    asked = _GLOBAL.search(text)
    if isinstance(error, CheckpointError):
        return text
    if isinstance(error, MemoryError) or "allocate" in text:
        return "needs more memory than its size allows"
    if asked:
        return f"asks for {quote_name(asked[1])}, and not only for tensors; {_INSTEAD}"
    if "TorchScript" in text:
        return f"is a TorchScript program, and not only tensors; {_INSTEAD}"
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith(_BOILERPLATE)]
    reason = ": ".join([type(error).__name__, *(quote_name(line) for line in lines[-1:])])
    return f"is not a checkpoint that torch.save wrote, or is cut short ({reason})"
