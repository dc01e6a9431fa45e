"""The grammar `name[1,:,2:5]`, and the least that must be computed for it.

The name is that of a tensor of a trace or of the checkpoint. In brackets stand, for its first axes, an index or a range
as in Python, negative ones too; a step has no use here. Axes that are not named are whole.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.numerics import FloatArray, softmax
from cutaway.trace import Trace
from cutaway.trace.names import ATTENDED, FINAL, Shape

Place = int | slice
Numbers = FloatArray | NDArray[np.int64]

MAX_SELECTIONS = 256
MAX_BYTES = 256 << 20  # of one answer, as float32

_SELECTION = re.compile(r"(?P<name>[A-Za-z0-9_.]{1,80})(\[(?P<places>[-0-9:, ]{1,80})\])?", re.ASCII)
_PLACE = re.compile(r"(?P<index>-?[0-9]{1,9})|(?P<first>-?[0-9]{1,9})?:(?P<last>-?[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True)
class Selection:
    """A tensor's name and the places along its first axes."""

    name: str
    places: tuple[Place, ...] = ()


def parse(text: str) -> Selection:
    """A selection as it is written; raises UsageError where it is none."""
    match = _SELECTION.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r:.80} is no selection; one looks like attn.5[1,:,2:5]")
    written = match["places"]
    return Selection(match["name"], tuple(_place(part, text) for part in written.split(",")) if written else ())


def _place(part: str, text: str) -> Place:
    match = _PLACE.fullmatch(part.strip())
    if match is None:
        raise UsageError(f"{part!r:.40} in {text!r:.80} is neither an index nor a range such as 2:5")
    if match["index"]:
        return int(match["index"])
    first, last = (int(number) if number else None for number in (match["first"], match["last"]))
    return slice(first, last)


def selected_shape(selection: Selection, shape: Shape) -> Shape:
    """The shape of what is selected from a tensor of that shape; raises UsageError where there is no such place."""
    if len(selection.places) > len(shape):
        raise UsageError(f"{selection.name} has {len(shape)} axes, not {len(selection.places)}")
    chosen = []
    for axis, (place, length) in enumerate(zip(selection.places, shape, strict=False)):
        if isinstance(place, slice):
            chosen.append(len(range(*place.indices(length))))
        elif not -length <= place < length:
            raise UsageError(f"index {place} is outside axis {axis} of {selection.name}, which has {length}")
    return (*chosen, *shape[len(selection.places) :])


def select(trace: Trace, texts: Sequence[str], check: Callable[[], None]) -> dict[str, Numbers]:
    """What is selected, by the texts of the selections; `check` is called before each is computed.

    Raises UsageError for a selection that is none, an unknown tensor, and more than one answer holds.
    """
    selections = {text: parse(text) for text in texts}
    if not 0 < len(selections) <= MAX_SELECTIONS:
        raise UsageError(f"ask for 1 to {MAX_SELECTIONS} selections, not {len(selections)}")
    shapes = {**trace.shapes(), **trace.config.tensor_shapes()}
    for selection in selections.values():
        if selection.name not in shapes:
            raise UsageError(
                f"there is no tensor {selection.name!r:.60}; a trace has resid.pre.0, attn.0, logits and others, "
                "a checkpoint wte.weight and others"
            )
    wanted = {text: selected_shape(selection, shapes[selection.name]) for text, selection in selections.items()}
    if 4 * sum(map(math.prod, wanted.values())) > MAX_BYTES:
        raise UsageError(f"that is more than the {MAX_BYTES} bytes of one answer; ask for a part at a time")
    return {text: _compute(trace, selections[text], shape, check) for text, shape in wanted.items()}


def _compute(trace: Trace, selection: Selection, shape: Shape, check: Callable[[], None]) -> Numbers:
    check()
    kind, _, layer = selection.name.rpartition(".")
    if kind in ATTENDED:
        if math.prod(shape) == 0:  # perhaps of no head at all
            return np.zeros(shape, np.float32)
        first, last, places = _span(selection.places, trace.config.n_head)
        return trace.attention(int(layer), first, last)[kind][places]
    if selection.name in FINAL:
        first, last, places = _span(selection.places, len(trace))
        return _read_out(trace, selection.name, first, last)[places]
    return trace[selection.name][selection.places]


def _span(places: tuple[Place, ...], length: int) -> tuple[int, int, tuple[Place, ...]]:
    """The first and the last + 1 along the first axis, which is so long, and the places within that part."""
    if not places:
        return 0, length, ()
    if isinstance(places[0], slice):
        first, last, _ = places[0].indices(length)
        return first, last, (slice(None), *places[1:])
    index = places[0] % length
    return index, index + 1, (0, *places[1:])


def _read_out(trace: Trace, name: str, first: int, last: int) -> FloatArray:
    """Rows of what comes after the last block: those tokens' logits alone, where a trace would compute all."""
    read = trace.read_out(trace[trace.final_residual][first:last])
    return softmax(read["logits"]) if name == "probs" else read[name]
