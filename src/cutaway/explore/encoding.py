"""Tensors in the safetensors format, as the page receives them and as exported files hold them.

Token ids are sent as I32, other tensors in the requested encoding: `f32` exactly, `f16` rounded to nearest, `u8sqrt` as
255 times the square root of a probability, which keeps most of the 256 levels for small ones: neighbouring levels are
at most 1/127 apart. Source: the section "Format" of the README of huggingface/safetensors.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from cutaway.checkpoints.safetensors import build_header
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray
from cutaway.web.responses import Content

EncodedTensor = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint8] | NDArray[np.int32]

ENCODINGS = ("f32", "f16", "u8sqrt")
_DTYPES = {"float32": "F32", "float16": "F16", "uint8": "U8", "int32": "I32"}


def tensors_content(tensors: Mapping[str, EncodedTensor], metadata: Mapping[str, str] | None = None) -> Content:
    """Serialise named tensors, and metadata if there is any, as a safetensors body.

    >>> body = tensors_content({"ids": np.array([3, 4], np.int32)}).body
    >>> int.from_bytes(body[:8], "little"), body[-8:]
    (56, b'\\x03\\x00\\x00\\x00\\x04\\x00\\x00\\x00')
    """
    return Content(b"".join(tensor_parts(tensors, metadata)), "application/octet-stream")


def tensor_parts(
    tensors: Mapping[str, EncodedTensor], metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | memoryview]:
    """Yield the parts of a safetensors body: its header, and each tensor, which is not copied.

    >>> parts = tensor_parts({"ids": np.array([3, 4], np.int32)})
    >>> [len(part) for part in parts]
    [64, 8]
    """
    header, starts = build_header({name: (_DTYPES[t.dtype.name], t.shape) for name, t in tensors.items()}, metadata)
    yield header
    yield from (np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data for name in starts)


def encode(name: str, values: FloatArray | NDArray[np.int64], encoding: str) -> EncodedTensor:
    """Convert a tensor to an encoding; raises UsageError, with the name, if the encoding cannot represent it.

    >>> encode("attn.0", np.array([0, 0.25, 1], np.float32), "u8sqrt").tolist()
    [0, 128, 255]
    """
    if values.dtype.kind == "i":
        return values.astype(np.int32)  # vocabularies have fewer than 2**31 tokens
    floats = values.astype(np.float32, copy=False)
    if encoding == "f16":
        return _to_f16(name, floats)
    return _to_u8sqrt(name, floats) if encoding == "u8sqrt" else floats


def _to_f16(name: str, values: FloatArray) -> NDArray[np.float16]:
    halves = values.astype(np.float16)
    if not np.array_equal(np.isfinite(halves), np.isfinite(values)):
        raise UsageError(f"{name} has values too large for f16; ask for f32")
    return halves


def _to_u8sqrt(name: str, values: FloatArray) -> NDArray[np.uint8]:
    if not ((values >= 0) & (values <= 1)).all():
        raise UsageError(f"u8sqrt is for values from 0 to 1, and {name} has others; ask for f32")
    levels: NDArray[np.uint8] = np.rint(255 * np.sqrt(values)).astype(np.uint8)
    return levels
