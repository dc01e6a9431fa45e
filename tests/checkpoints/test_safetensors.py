"""Our safetensors reader and writer against the library that defines the format, and against files that are none."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from cutaway.checkpoints.safetensors import TensorFile, write_tensors
from cutaway.errors import CheckpointError
from cutaway.formats import Array

NAME = "h.0.ln_1.bias"
TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Float32 numbers of every magnitude, halfway cases of the narrow dtypes among them."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(shape) * 10.0 ** generator.integers(-9, 4, shape)
    ties = torch.from_numpy(values).bfloat16().float().numpy() * np.float32(1 + 2**-9)
    return np.where(generator.random(shape) < 0.3, ties, values).astype(np.float32)


def raw_file(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_we_read_what_the_library_writes(tmp_path: Path, dtype: str) -> None:
    tensors = {"a": torch.from_numpy(numbers(5, 7)).to(TORCH[dtype]), "b": torch.arange(3).to(TORCH[dtype])}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    file = TensorFile(tmp_path / "x.safetensors")
    for name, tensor in tensors.items():
        assert file.entries[name].dtype == dtype
        assert np.array_equal(file.read(name), tensor.float().numpy())


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_safetensors_library_reads_our_files(tmp_path: Path, dtype: str) -> None:
    tensors = {"a": numbers(50, 70), "b": numbers(3), "c": numbers(1, 1, 4)}
    write_tensors(tmp_path / "x", {name: (dtype, t.shape) for name, t in tensors.items()}, tensors.items())
    loaded = safetensors.torch.load_file(tmp_path / "x")
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], torch.from_numpy(tensor).to(TORCH[dtype]))


def test_int8_and_float16_go_through_as_they_are_and_every_tensor_is_aligned(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    tensors: dict[str, Array] = {
        "q": generator.integers(-127, 128, (5, 7)).astype(np.int8),
        "s": generator.random((5, 1)).astype(np.float16),
        "c": numbers(7),
    }
    kinds = {"q": ("I8", (5, 7)), "s": ("F16", (5, 1)), "c": ("F32", (7,))}
    write_tensors(tmp_path / "x", kinds, reversed(tensors.items()))
    loaded = safetensors.numpy.load_file(tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    assert all(np.array_equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert np.array_equal(file.read_unchecked("q"), tensors["q"])
    assert all(file.entries[name].start % tensor.itemsize == 0 for name, tensor in tensors.items())


def test_tensors_of_many_chunks(tmp_path: Path) -> None:
    tensor = numbers(1100, 2000)
    write_tensors(tmp_path / "x", {"a": ("F32", tensor.shape)}, [("a", tensor)])
    assert np.array_equal(TensorFile(tmp_path / "x").read("a"), tensor)


@pytest.mark.parametrize(("dtype", "value"), [("F16", 65520.0), ("BF16", 3.4e38)])
def test_a_number_that_would_become_infinite_is_an_error(tmp_path: Path, dtype: str, value: float) -> None:
    with pytest.raises(CheckpointError, match=r"^h.0.ln_1.bias holds a number too large for b?float16; use float32$"):
        write_tensors(tmp_path / "x", {NAME: (dtype, (1,))}, [(NAME, np.array([value], np.float32))])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_numbers_are_neither_written_nor_read(tmp_path: Path, value: float) -> None:
    tensor = np.array([1, value], np.float32)
    with pytest.raises(CheckpointError, match=r"^a holds NaN or infinity"):
        write_tensors(tmp_path / "x", {"a": ("F32", (2,))}, [("a", tensor)])
    safetensors.numpy.save_file({"a": tensor}, tmp_path / "y")
    with pytest.raises(CheckpointError, match=r"y: a holds NaN or infinity$"):
        TensorFile(tmp_path / "y").read("a")


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BAD_HEADERS: list[tuple[object, str]] = [
    (b" {}", "its header is not a JSON object"),
    (b"{", "the header is not valid JSON"),
    (b"{}x", "the header is not valid JSON: Extra data"),
    (b'{"a":1,"a":1}', "the key 'a' appears twice"),
    (b'{"a\\ud800":' + json.dumps(GOOD).encode() + b',"a\\ud800":1}', r"the key 'a\\ud800' appears twice"),
    (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the header is nested too deeply"),
    (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', "NaN is not a number in JSON"),
    (b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', "'1e999' is too large"),
    (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', "a whole number of 5000 digits"),
    (b'{"\xff":1}', "the header is not valid JSON: 'utf-8' codec"),
    ({"__metadata__": {"format": 1}, "a": GOOD}, "__metadata__ must map text to text"),
    ({"__metadata__": [], "a": GOOD}, "__metadata__ must map text to text"),
    ({"a": 7}, "a must have a dtype, a shape and two data_offsets"),
    ({"a": GOOD | {"more": 1}}, "a must have a dtype, a shape and two data_offsets"),
    ({"a": GOOD | {"data_offsets": [0, 8, 8]}}, "a must have a dtype, a shape and two data_offsets"),
    ({"a": GOOD | {"data_offsets": [0.0, 8.0]}}, "a must have a dtype, a shape and two data_offsets"),
    ({"a": GOOD | {"dtype": "F33"}}, "a has the unknown dtype 'F33'"),
    ({"a": GOOD | {"dtype": "F33\n" * 1000}}, r"a has the unknown dtype 'F33\\nF33"),
    ({"a": GOOD | {"shape": [-2]}}, r"a has the impossible shape \[-2\]"),
    ({"a": GOOD | {"shape": [2.0]}}, r"a has the impossible shape \[2.0\]"),
    ({"a": GOOD | {"shape": [True]}}, r"a has the impossible shape \[True\]"),
    ({"a": GOOD | {"shape": [2] + [1] * 8}}, "a has the impossible shape"),
    ({"a": GOOD | {"shape": [3]}}, r"a needs 12 bytes, but its data_offsets are \[0, 8\]"),
    ({"a": GOOD | {"shape": [2**63, 2**63, 2]}}, r"a needs \d+ bytes, but"),
    ({"a": GOOD | {"data_offsets": [8, 0]}}, "a needs 8 bytes, but"),
    ({"a": GOOD | {"data_offsets": [-8, 0]}}, "a needs 8 bytes, but"),
    ({"a": GOOD | {"data_offsets": [2**63, 2**63 + 8]}}, "a starts at byte"),
    ({"a": GOOD | {"data_offsets": [4, 12]}}, "a hole or an overlap"),
    ({"a": GOOD, "b": GOOD}, "a hole or an overlap"),
    ({"a": GOOD, "b": GOOD | {"data_offsets": [4, 12]}}, "a hole or an overlap"),
    ({"a": GOOD, "b": GOOD | {"data_offsets": [8, 16]}}, "cut short, or with something added"),
    ({}, "cut short, or with something added"),
]


@pytest.mark.parametrize(("header", "reason"), BAD_HEADERS)
def test_rejects_invalid_headers_in_one_line(tmp_path: Path, header: object, reason: str) -> None:
    path = raw_file(tmp_path / "x.safetensors", header, bytes(8))
    with pytest.raises(CheckpointError, match=rf"x\.safetensors: .*{reason}") as error:
        TensorFile(path)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < len(str(path)) + 250


def test_rejects_every_truncation_and_addition(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "x", {"a": GOOD}, bytes(8))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut short"):
            TensorFile(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="something added"):
        TensorFile(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes cannot hold its header"),
        (b"\xff" * 64, "64 bytes cannot hold its header"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(64), "is a zip archive, as pickled"),
        ((2**20 + 1).to_bytes(8, "little") + b" " * (2**20 + 1), "claims a header of 1048577 bytes"),
    ],
)
def test_rejects_other_files(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"x: .*{reason}"):
        TensorFile(tmp_path / "x")


def test_rejects_missing_files_directories_and_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, reason in [("none", "cannot be read: No such file"), (".", "is not a file"), ("pipe", "is not a file")]:
        with pytest.raises(CheckpointError, match=reason):
            TensorFile(tmp_path / name)


def test_a_truncated_file_is_an_error_and_a_replaced_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x"
    safetensors.numpy.save_file({"a": numbers(100)}, path)
    file = TensorFile(path)
    safetensors.numpy.save_file({"a": numbers(100, seed=1)}, tmp_path / "y")
    (tmp_path / "y").replace(path)
    assert np.array_equal(file.read("a"), numbers(100))
    file = TensorFile(path)
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(CheckpointError, match="was truncated while it was read"):
        file.read("a")


def test_a_file_that_is_opened_for_each_read_is_the_same_file_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x"
    safetensors.numpy.save_file({"a": numbers(100)}, path)
    file = TensorFile(path, keep_open=False)
    assert np.array_equal(file.read("a"), numbers(100))
    safetensors.numpy.save_file({"a": numbers(100, seed=1)}, tmp_path / "y")
    (tmp_path / "y").replace(path)
    with pytest.raises(CheckpointError, match=r"x: was replaced while it was read$"):
        file.read("a")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"x: cannot be read: No such file"):
        file.read("a")


def test_threads_may_read_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads whose reads are interleaved: each is held up between its seek and its read."""
    tensors = {"a": numbers(64, seed=1), "b": numbers(64, seed=2)}
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    file = TensorFile(tmp_path / "x.safetensors")
    assert file._file is not None
    slow = SlowFile(file._file)
    monkeypatch.setattr(file, "_file", slow)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(5):
            for name, read in zip(tensors, threads.map(file.read, tensors), strict=True):
                assert np.array_equal(read, tensors[name])
    assert slow.seeks == 10


class SlowFile:
    """A file that lets other threads run after each seek."""

    def __init__(self, file: FileIO) -> None:
        self.file = file
        self.seeks = 0

    def seek(self, start: int) -> None:
        self.file.seek(start)
        self.seeks += 1
        time.sleep(0.01)

    def readinto(self, buffer: memoryview) -> int:
        return self.file.readinto(buffer)
