"""What travels to the page: JSON, and tensors in the safetensors format, whose bytes are a file as well.

Token ids travel as I32, other tensors in the encoding that was asked for: `f32` as they are, `f16` rounded to the
nearest, `u8sqrt` as 255 times the square root of a share, so that small shares keep most of the 256 steps: two
neighbouring ones are at most 1/127 apart. Source: the section "Format" of the README of huggingface/safetensors.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.numerics import FloatArray

Tensor = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint8] | NDArray[np.int32]

ENCODINGS = ("f32", "f16", "u8sqrt")
_CODES = {"float32": "F32", "float16": "F16", "uint8": "U8", "int32": "I32"}


@dataclass(frozen=True)
class Content:
    """The body of an answer, and what it is."""

    body: bytes
    media_type: str


def tensors_content(tensors: Mapping[str, Tensor]) -> Content:
    """A safetensors body with these tensors under these names."""
    widest_first = dict(sorted(tensors.items(), key=lambda item: -item[1].itemsize))  # so every tensor is aligned
    bodies = [np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data for tensor in widest_first.values()]
    return Content(b"".join([_header(widest_first), *bodies]), "application/octet-stream")


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    """The header's length and the header."""
    entries, end = {}, 0
    for name, tensor in tensors.items():
        offsets = [end, end := end + tensor.nbytes]
        entries[name] = {"dtype": _CODES[tensor.dtype.name], "shape": tensor.shape, "data_offsets": offsets}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def encode(name: str, numbers: FloatArray | NDArray[np.int64], encoding: str) -> Tensor:
    """A tensor as it travels; raises UsageError where the encoding cannot hold its numbers."""
    if numbers.dtype.kind == "i":
        return numbers.astype(np.int32)  # a vocabulary has fewer than 2**31 tokens
    floats = numbers.astype(np.float32, copy=False)
    if encoding == "f16":
        return _halves(name, floats)
    return _roots(name, floats) if encoding == "u8sqrt" else floats


def _halves(name: str, numbers: FloatArray) -> NDArray[np.float16]:
    halves = numbers.astype(np.float16)
    if not np.array_equal(np.isfinite(halves), np.isfinite(numbers)):
        raise UsageError(f"{name} holds numbers too large for f16; ask for f32")
    return halves


def _roots(name: str, shares: FloatArray) -> NDArray[np.uint8]:
    if not ((shares >= 0) & (shares <= 1)).all():
        raise UsageError(f"u8sqrt is for shares from 0 to 1, which {name} are not all; ask for f32")
    roots: NDArray[np.uint8] = np.rint(255 * np.sqrt(shares)).astype(np.uint8)
    return roots


def json_content(document: object) -> Content:
    """A JSON body."""
    return Content(_dumps(document), "application/json")


def json_line(document: object) -> bytes:
    """A line of JSON in a stream of them."""
    return _dumps(document) + b"\n"


def _dumps(document: object) -> bytes:
    """JSON has no NaN and no infinity; what interventions can make of a number is null then, as in the figures."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(document), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def one_line(error: BaseException) -> str:
    """What an error says, on one line that is not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:397]}..."
