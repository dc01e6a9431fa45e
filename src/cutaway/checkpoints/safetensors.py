"""The safetensors format, read and written without a framework.

A file is the length of a header (8 bytes, little-endian), the header (JSON: name → dtype, shape, first and last byte),
and the tensors' bytes. Reading checks the whole header against the file's real length before anything is allocated.
Bytes are read, not memory-mapped: if a mapped file shrinks, the process is killed; if a file shrinks while it is read,
that is an error. Source: the section "Format" of the README of huggingface/safetensors.
"""

import json
import math
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import CheckpointError
from cutaway.formats import FLOATS, Array, StoredAs
from cutaway.numerics import FloatArray
from cutaway.untrusted import MAX_JSON_BYTES, open_ordinary, parse_object, quote, quote_name, raise_checkpoint_error

ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
FLOAT_CODES = {stored.code: stored for stored in FLOATS}
_NUMPY = {
    "BOOL": "?",
    "U8": "u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
    "I8": "i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_CODES = {np.dtype(code): name for name, code in _NUMPY.items()}
_MAX_RANK = 8
_CHUNK = 1 << 18  # numbers converted at a time, so that conversion needs no second copy of a tensor
_NOT_SAFETENSORS = {
    b"version ": "is a Git LFS pointer, not the weights themselves: fetch them with `git lfs pull`",
    b"PK\x03\x04": "is a zip archive, as pickled PyTorch checkpoints are, not safetensors; pickles are never loaded",
}

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class TensorEntry:
    """One tensor in a header; `start` is the offset in bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    n_bytes: int


def size_of(kind: StoredAs) -> int:
    """Return the size in bytes of a stored tensor of this dtype and shape.

    >>> size_of(("F16", (3, 4)))
    24
    """
    dtype, shape = kind
    return math.prod(shape) * ITEM_BYTES[dtype]


class TensorFile:
    """An open safetensors file. Raises CheckpointError if its header is invalid.

    The file stays open until the object is collected, so that replacing it on disk does not affect a model that is
    being loaded. Without `keep_open`, it is reopened for each read, so that a model may have more files than a process
    can open; a file that was replaced in the meantime is an error. Thread-safe.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "half.safetensors"
    ...     write_tensors(path, {"half": ("F16", (2,))}, [("half", np.array([0.5, 1], np.float32))])
    ...     file = TensorFile(path)
    >>> file.entries["half"].n_bytes, file.read("half").tolist()
    (4, [0.5, 1.0])
    """

    def __init__(self, path: Path, *, keep_open: bool = True) -> None:
        self.path = path
        self._lock = threading.Lock()
        file = open_ordinary(path)
        weakref.finalize(self, file.close)
        self._file: FileIO | None = file
        self._version = _version(file)
        self.n_bytes = os.fstat(file.fileno()).st_size
        self.entries = self._read_entries()
        if not keep_open:
            file.close()
            self._file = None

    def read(self, name: str) -> FloatArray:
        """Read a float32, float16 or bfloat16 tensor as float32. Raises CheckpointError if it is not finite."""
        tensor = np.empty(self.entries[name].shape, np.float32)
        flat = tensor.reshape(-1)
        done = 0
        for chunk in self.chunks(name):
            flat[done : done + chunk.size] = chunk
            done += chunk.size
        return tensor

    def chunks(self, name: str) -> Iterator[FloatArray]:
        """Read such a tensor in chunks, each (n,)."""
        entry = self.entries[name]
        step = _CHUNK * ITEM_BYTES[entry.dtype]
        for done in range(0, entry.n_bytes, step):
            data = self._read_bytes(entry.start + done, min(step, entry.n_bytes - done))
            chunk = FLOAT_CODES[entry.dtype].decode(data)
            if not np.isfinite(chunk).all():
                raise_checkpoint_error(self.path, f"{name} holds NaN or infinity")
            yield chunk

    def read_unchecked(self, name: str) -> Array:
        """Read a tensor in its stored dtype, which NumPy must have; the caller checks the values."""
        entry = self.entries[name]
        array: Array = self._read_bytes(entry.start, entry.n_bytes).view(_NUMPY[entry.dtype]).reshape(entry.shape)
        return array

    def _read_entries(self) -> dict[str, TensorEntry]:
        first = self._read_bytes(0, min(8, self.n_bytes)).tobytes()
        for magic, reason in _NOT_SAFETENSORS.items():
            if first.startswith(magic):
                raise_checkpoint_error(self.path, reason)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > self.n_bytes - 8:
            raise_checkpoint_error(
                self.path, f"is cut short or not safetensors: {self.n_bytes} bytes cannot hold its header"
            )
        if length > MAX_JSON_BYTES:
            raise_checkpoint_error(
                self.path, f"claims a header of {length} bytes; {MAX_JSON_BYTES} is more than any GPT-2 needs"
            )
        return _parse_header(self._read_bytes(8, length).tobytes(), self.path, self.n_bytes)

    def _read_bytes(self, start: int, count: int) -> Bytes:
        data = np.empty(count, np.uint8)
        rest = data.data
        with self._lock, self._opened() as file:
            try:
                file.seek(start)
                while rest and (read := file.readinto(rest)):
                    rest = rest[read:]
            except OSError as error:
                raise_checkpoint_error(self.path, f"cannot be read: {error.strerror}")
        if rest:
            raise_checkpoint_error(self.path, "was truncated while it was read")
        return data

    @contextmanager
    def _opened(self) -> Iterator[FileIO]:
        if self._file is not None:
            yield self._file
            return
        with open_ordinary(self.path) as file:
            if _version(file) != self._version:
                raise_checkpoint_error(self.path, "was replaced while it was read")
            yield file


def _version(file: FileIO) -> tuple[int, ...]:
    """Return values that change if another file takes the name of this one."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _parse_header(header: bytes, path: Path, file_bytes: int) -> dict[str, TensorEntry]:
    """Parse a header. Its tensors must fill the file from the header to the end, without gaps or overlaps."""
    if not header.startswith(b"{"):
        raise_checkpoint_error(path, "is not safetensors: its header is not a JSON object")
    raw = parse_object(header, path, "the header")
    metadata = raw.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise_checkpoint_error(path, "the header's __metadata__ must map text to text")
    data_start = 8 + len(header)
    entries = {name: _parse_entry(name, value, path, data_start) for name, value in raw.items()}
    end = data_start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].n_bytes)):
        if entry.start != end:
            raise_checkpoint_error(
                path, f"{quote_name(name)} starts at byte {entry.start} where {end} is expected: a hole or an overlap"
            )
        end += entry.n_bytes
    if end != file_bytes:
        raise_checkpoint_error(
            path, f"should be {end} bytes long, but is {file_bytes}: cut short, or with something added"
        )
    return entries


def _parse_entry(name: str, value: object, path: Path, data_start: int) -> TensorEntry:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(first), int(last)], **more} if not more:
            pass
        case _:
            raise_checkpoint_error(
                path, f"{quote_name(name)} must have a dtype, a shape and two data_offsets, not {quote(value)}"
            )
    if dtype not in ITEM_BYTES:
        raise_checkpoint_error(path, f"{quote_name(name)} has the unknown dtype {quote(dtype)}")
    if len(shape) > _MAX_RANK or not all(type(n) is int and n >= 0 for n in shape):
        raise_checkpoint_error(path, f"{quote_name(name)} has the impossible shape {quote(shape)}")
    n_bytes = size_of((dtype, tuple(shape)))
    if first < 0 or last - first != n_bytes:
        raise_checkpoint_error(
            path, f"{quote_name(name)} needs {n_bytes} bytes, but its data_offsets are {quote([first, last])}"
        )
    return TensorEntry(dtype, tuple(shape), data_start + first, n_bytes)


def write_tensors(path: Path, kinds: Mapping[str, StoredAs], tensors: Iterable[tuple[str, Array]]) -> None:
    """Write a new safetensors file; see `write_tensors_to`. Raises OSError if writing fails.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "gain.safetensors"
    ...     write_tensors(path, {"gain": ("F32", (3,))}, [("gain", np.ones(3, np.float32))])
    ...     path.read_bytes()[8:60]
    b'{"__metadata__":{"format":"pt"},"gain":{"dtype":"F32'
    """
    with path.open("xb") as file:
        write_tensors_to(file, kinds, tensors)


def write_tensors_to(file: BinaryIO, kinds: Mapping[str, StoredAs], tensors: Iterable[tuple[str, Array]]) -> None:
    """Write to an empty file. `tensors` come in any order, and each is released once it is written.

    Float arrays are converted to the dtype in `kinds`, rounding to nearest, ties to even. Raises CheckpointError naming
    the tensor if a number would become infinite.

    >>> from io import BytesIO
    >>> file = BytesIO()
    >>> write_tensors_to(file, {"gain": ("F16", (2,))}, [("gain", np.ones(2, np.float32))])
    >>> file.getvalue()[-4:].hex()
    '003c003c'
    """
    header, starts = build_header(kinds, {"format": "pt"})  # transformers requires the framework's name
    if len(header) - 8 > MAX_JSON_BYTES:
        raise CheckpointError(f"{len(kinds)} tensors are too many for one file: save it in several")
    file.write(header)
    for name, tensor in tensors:
        dtype, shape = kinds[name]
        assert tensor.shape == shape, name
        file.seek(starts[name])
        _write_numbers(file, name, tensor.reshape(-1), dtype)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as a new safetensors file, each in its own dtype. Raises as `write_tensors` does.

    Raises CheckpointError also for a dtype that safetensors does not have.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "arrays.safetensors")
    ...     write_arrays(path, {"step": np.array(7), "seen": np.array([True, False])})
    ...     read_arrays(path)
    {'step': array(7), 'seen': array([ True, False])}
    """
    for name, array in arrays.items():
        if array.dtype not in _CODES:
            raise CheckpointError(f"{name} has the dtype {array.dtype}, which safetensors has not")
    write_tensors(path, {name: (_CODES[a.dtype], a.shape) for name, a in arrays.items()}, arrays.items())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a safetensors file, each in its own dtype. Raises CheckpointError if it is invalid.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "arrays.safetensors")
    ...     write_arrays(path, {"moment": np.zeros(2, np.float32)})
    ...     read_arrays(path)["moment"]
    array([0., 0.], dtype=float32)
    """
    file = TensorFile(path)
    for name, entry in file.entries.items():
        if entry.dtype not in _NUMPY:
            raise_checkpoint_error(path, f"{quote_name(name)} is stored as {entry.dtype}, which NumPy has not")
    return {name: file.read_unchecked(name) for name in file.entries}


def build_header(
    kinds: Mapping[str, StoredAs], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, dict[str, int]]:
    """Return the header, prefixed by its length and padded to 8 bytes, and the offset at which each tensor starts.

    The offsets are in the order of the file, the widest dtypes first, so that every tensor is aligned.

    >>> header, starts = build_header({"ids": ("I32", (2,)), "x": ("F64", (3,))})
    >>> len(header) % 8, starts["x"] == len(header), starts["ids"] - starts["x"]
    (0, True, 24)
    """
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    offsets: dict[str, int] = {}
    end = 0
    widest_first = sorted(kinds.items(), key=lambda item: -ITEM_BYTES[item[1][0]])
    for name, (dtype, shape) in widest_first:
        offsets[name] = end
        end = end + size_of((dtype, shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offsets[name], end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, {name: 8 + len(text) + offset for name, offset in offsets.items()}


def _write_numbers(file: BinaryIO, name: str, numbers: Array, dtype: str) -> None:
    for start in range(0, numbers.size, _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        if not np.isfinite(chunk).all():
            raise CheckpointError(f"{name} holds NaN or infinity")
        stored = FLOAT_CODES.get(dtype)
        encoded = stored.encode(chunk) if stored else np.ascontiguousarray(chunk, _NUMPY[dtype]).view(np.uint8)
        if stored and not np.isfinite(stored.decode(encoded)).all():
            raise CheckpointError(f"{name} holds a number too large for {stored.name}; use float32")
        file.write(encoded.data)
