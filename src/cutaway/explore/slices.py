"""Tensor slices such as `attn.5[1,:,2:5]`, computed without the rest of the tensor where possible.

The name is that of a tensor of the trace or the checkpoint. The brackets hold an index or a range for each of the first
axes, as in Python, possibly negative but without steps. Further axes are taken whole.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import show
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray, softmax
from cutaway.trace import Trace
from cutaway.trace.names import FINAL, Shape, attended

Index = int | slice
Values = FloatArray | NDArray[np.int64]

MAX_SLICES = 256
MAX_BYTES = 256 << 20  # of one response, as float32

_SLICE = re.compile(r"(?P<name>[A-Za-z0-9_.]{1,80})(\[(?P<indices>[-0-9:, ]{1,80})\])?", re.ASCII)
_INDEX = re.compile(r"(?P<index>-?[0-9]{1,9})|(?P<start>-?[0-9]{1,9})?:(?P<stop>-?[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """The elements of a tensor that a slice consists of.

    Element (i, j, …) of the slice is element `offset + i * steps[0] + j * steps[1] + …` of the tensor in C order.
    """

    tensor: str
    shape: Shape
    offset: int
    steps: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """The values of a slice, and where they are in their tensor."""

    values: Values
    origin: Origin


@dataclass(frozen=True)
class TensorSlice:
    """The name of a tensor, and an index or a range for each of its first axes."""

    name: str
    indices: tuple[Index, ...] = ()

    def shape_in(self, shape: Shape) -> Shape:
        """Return the shape of this slice of a tensor; raises UsageError for an index out of range.

        >>> parse_slice("attn.5[1,:,2:5]").shape_in((12, 9, 9))
        (9, 3)
        """
        if len(self.indices) > len(shape):
            raise UsageError(f"{self.name} has {len(shape)} axes, not {len(self.indices)}")
        lengths = []
        for axis, (index, length) in enumerate(zip(self.indices, shape, strict=False)):
            if isinstance(index, slice):
                lengths.append(len(range(*index.indices(length))))
            elif not -length <= index < length:
                raise UsageError(f"index {index} is out of range for axis {axis} of {self.name}, of size {length}")
        return (*lengths, *shape[len(self.indices) :])

    def origin_in(self, shape: Shape) -> Origin:
        """Return the offset and the steps of this slice of a tensor; the indices must be in range.

        >>> parse_slice("attn.5[1,:,2:5]").origin_in((12, 9, 9))
        Origin(tensor='attn.5', shape=(12, 9, 9), offset=83, steps=(9, 1))
        """
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        offset = 0
        steps = []
        for index, length, stride in zip(self.indices, shape, strides, strict=False):
            if isinstance(index, slice):
                offset += range(*index.indices(length)).start * stride
                steps.append(stride)
            else:
                offset += index % length * stride
        return Origin(self.name, shape, offset, (*steps, *strides[len(self.indices) :]))


def parse_slice(text: str) -> TensorSlice:
    """Parse a slice; raises UsageError for invalid syntax.

    >>> parse_slice("wte.weight[340]")
    TensorSlice(name='wte.weight', indices=(340,))
    """
    match = _SLICE.fullmatch(text)
    if match is None:
        raise UsageError(f"invalid slice {text!r:.80}; the syntax is attn.5[1,:,2:5]")
    indices = match["indices"]
    return TensorSlice(match["name"], tuple(_parse_index(part, text) for part in indices.split(",")) if indices else ())


def _parse_index(part: str, text: str) -> Index:
    match = _INDEX.fullmatch(part.strip())
    if match is None:
        raise UsageError(f"invalid index {part!r:.40} in {text!r:.80}; use a number or a range such as 2:5")
    if match["index"]:
        return int(match["index"])
    start, stop = (int(number) if number else None for number in (match["start"], match["stop"]))
    return slice(start, stop)


def read_slices(trace: Trace, texts: Sequence[str], check: Callable[[], None]) -> dict[str, Part]:
    """Return the part that each slice selects, by the slice's text; `check` is called before each is computed.

    Raises UsageError for invalid syntax, an unknown tensor, an index out of range, and more than `MAX_SLICES` or
    `MAX_BYTES`.

    >>> import cutaway
    >>> found = read_slices(cutaway.load().trace([32, 9379]), ["attn.5[1]"], check=lambda: None)
    >>> found["attn.5[1]"].values.shape, found["attn.5[1]"].origin.offset
    ((2, 2), 4)
    """
    slices = {text: parse_slice(text) for text in texts}
    if not 0 < len(slices) <= MAX_SLICES:
        raise UsageError(f"ask for 1 to {MAX_SLICES} slices, not {len(slices)}")
    tensors = {**trace.shapes(), **trace.config.tensor_shapes()}
    for part in slices.values():
        if part.name not in tensors:
            raise UsageError(
                f"unknown tensor {show(part.name)}; a trace has resid.pre.0, attn.0, logits and others, "
                "a checkpoint wte.weight and others"
            )
    shapes = {text: part.shape_in(tensors[part.name]) for text, part in slices.items()}
    if 4 * sum(map(math.prod, shapes.values())) > MAX_BYTES:
        raise UsageError(f"the response would exceed {MAX_BYTES} bytes; ask for fewer or smaller slices")
    attention = _Attention(trace)
    return {
        text: Part(_compute(trace, part, shapes[text], attention, check), part.origin_in(tensors[part.name]))
        for text, part in slices.items()
    }


class _Attention:
    """The attention of some heads of a layer, computed once for all slices of a request: most ask for one head."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._heads: tuple[int, int, int] | None = None
        self._found: dict[str, FloatArray] = {}

    def of(self, layer: int, first: int, stop: int) -> dict[str, FloatArray]:
        """Return the result of `Trace.attention`; the last one is cached."""
        if self._heads != (layer, first, stop):
            self._found = self._trace.attention(layer, first, stop)
            self._heads = (layer, first, stop)
        return self._found


def _compute(trace: Trace, part: TensorSlice, shape: Shape, attention: _Attention, check: Callable[[], None]) -> Values:
    check()
    kind, _, layer = part.name.rpartition(".")
    if kind in attended(trace.config):
        if math.prod(shape) == 0:  # the range of heads may be empty, which `attention` does not accept
            return np.zeros(shape, np.float32)
        first, stop, indices = _span(part.indices, trace.config.n_head)
        return attention.of(int(layer), first, stop)[kind][indices]
    if part.name in FINAL:
        first, stop, indices = _span(part.indices, len(trace))
        return _read_out(trace, part.name, first, stop)[indices]
    return trace[part.name][part.indices]


def _span(indices: tuple[Index, ...], length: int) -> tuple[int, int, tuple[Index, ...]]:
    """Split off the first axis: the range [first, stop) of its `length` to compute, and the indices within it."""
    if not indices:
        return 0, length, ()
    if isinstance(indices[0], slice):
        first, stop, _ = indices[0].indices(length)
        return first, stop, (slice(None), *indices[1:])
    index = indices[0] % length
    return index, index + 1, (0, *indices[1:])


def _read_out(trace: Trace, name: str, first: int, stop: int) -> FloatArray:
    """Compute rows [first, stop) of a tensor after the last block; a trace would compute all rows."""
    read = trace.read_out(trace[trace.final_residual][first:stop])
    return softmax(read["logits"]) if name == "probs" else read[name]
