"""Pickles that try to run a command, or to exhaust what reads them: PyTorch's archives, its older files, and worse."""

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial

import torch

# PyTorch's files before 1.6 begin with these pickles: a magic number, the protocol's version, and about the system.
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03." + b"\x80\x02}q\x00."


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def call(module: str, name: str, argument: str) -> bytes:
    """Protocol 2: look a function up, and call it with one string."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + text(argument) + b"\x85R."


def payloads(command: str) -> Mapping[str, bytes]:
    """Pickles by the way in which they reach for `posix.system`, or for something like it."""
    python = f"__import__('os').system({command!r})"
    system = b"cposix\nsystem\n"
    return {
        "reduce": call("posix", "system", command),
        "reduce in protocol 0": system + b"(S" + repr(command).encode() + b"\ntR.",
        "inst": b"(S" + repr(command).encode() + b"\niposix\nsystem\n.",
        "obj": b"\x80\x02(" + system + text(command) + b"o.",
        "newobj": b"\x80\x02" + system + text(command) + b"\x85\x81.",
        "newobj_ex": b"\x80\x04" + system + text(command) + b"\x85}\x92.",
        "stack_global": b"\x80\x04" + short("posix") + short("system") + b"\x93" + text(command) + b"\x85R.",
        "stack_global of a path": b"\x80\x04"
        + short("torch")
        + short("os.system")
        + b"\x93"
        + text(command)
        + b"\x85R.",
        "build": b"\x80\x02ctorch.serialization\nStorageType\n)\x81}" + text("x") + system + b"sb.",
        "ext1": b"\x80\x02\x82\x01" + text(command) + b"\x85R.",
        "ext2": b"\x80\x02\x83\x01\x01" + text(command) + b"\x85R.",
        "ext4": b"\x80\x02\x84\x01\x01\x01\x01" + text(command) + b"\x85R.",
        "persistent id": b"P" + command.encode() + b"\n.",
        "binary persistent id": b"\x80\x02" + call("posix", "system", command)[2:-1] + b"Q.",
        "eval": call("builtins", "eval", python),
        "exec": call("__builtin__", "exec", python),
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncposix\nsystem\n"
        + text("__call__")
        + b"\x86R"
        + text(command)
        + b"\x85R.",
        "subprocess": call("subprocess", "getoutput", command),
        "runpy": call("runpy", "run_path", command),
        "import_module": call("importlib", "import_module", "antigravity"),
        "hub": call("torch.hub", "load_state_dict_from_url", "http://127.0.0.1/x"),
        "pickled code": call("marshal", "loads", command),
        "a nested torch.load": call("torch", "load", command),
        "many lists in lists": b"\x80\x02]q\x00"
        + b"".join(b"]q" + bytes([i]) + b"(h" + bytes([i - 1]) + b"h" + bytes([i - 1]) + b"e" for i in range(1, 250))
        + b".",
        "nested deeply": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "a text that claims to be large": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
        "a number that claims to be large": b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"x.",
        "memo far away": b"\x80\x02]r" + struct.pack("<I", (1 << 32) - 1) + b".",
        "no end": b"\x80\x02]",
        "nothing": b"\x80\x02.",
    }


def archive(pickle: bytes, compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """A PyTorch archive around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in {"data.pkl": pickle, "byteorder": b"little", "version": b"3\n", **more}.items():
            file.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def tar(pickle: bytes) -> bytes:
    """The archive of PyTorch's first versions."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(pickle)
            file.addfile(entry, io.BytesIO(pickle))
    return buffer.getvalue()


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def hostile_files(command: str) -> dict[str, Callable[[], bytes]]:
    """The makers of all hostile files by name: the pickles in an archive, and other containers of some of them."""
    raw = payloads(command)
    reduce = raw["reduce"]
    return {
        **{f"{name}.pt": partial(archive, pickle) for name, pickle in raw.items()},
        "bare.bin": lambda: reduce,
        "old.bin": lambda: LEGACY + reduce,
        "older.bin": lambda: tar(reduce),
        "archive in an archive.pt": lambda: archive(archive(reduce)),
        "compressed.pt": lambda: archive(reduce, zipfile.ZIP_DEFLATED),
        "bomb.pt": lambda: archive(reduce + bytes(200 << 20), zipfile.ZIP_DEFLATED),
        "model.safetensors": lambda: archive(reduce),
        "cut.pt": lambda: cut_in_half(saved({"wte.weight": torch.ones(9, 9)})),
        "stretched.pt": lambda: saved({"wte.weight": torch.zeros(1).expand(1 << 40)}),
        "no tensors.pt": lambda: saved({"model": {"wte.weight": "x"}}),
        "numbers for names.pt": lambda: saved({1: torch.ones(2)}),
        "sparse.pt": lambda: saved({"wte.weight": torch.eye(3).to_sparse()}),
        "not a number.pt": lambda: saved({"wte.weight": torch.full((3, 3), float("nan"))}),
    }


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]
