"""Compare a page with what the model computes: numbers that are printed, and the colours of cells."""

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.colours import named_colour, paint, scale_table
from cutaway.numerics import FloatArray
from cutaway.trace import Trace

Entry = Mapping[str, str]  # a printed number: its text, its tensor, its index
MASKED = np.frombuffer(bytes.fromhex(named_colour("masked")[1:]), np.uint8).astype(int)
NEAR = 2  # how far a channel of a colour may be off: a picture's colours are rounded on their way to the screen


def is_tensor(trace: Trace, name: str) -> bool:
    """True if that names a tensor of the trace or of the checkpoint; otherwise it is a formula."""
    return name in trace.shapes() or name in trace.config.tensor_shapes()


def is_weight(name: str) -> bool:
    """True if that names attention weights, which are read as percent."""
    return re.fullmatch(r"attn\.\d+", name) is not None


def value_at(trace: Trace, entry: Entry) -> float:
    """The number itself; fails where the index has not as many places as the tensor has axes."""
    array = trace[entry["tensor"]]
    index = tuple(map(int, entry["index"].split(",")))
    assert len(index) == array.ndim, entry
    return float(array[index])


def printed(text: str) -> tuple[float, float]:
    """A number as it is printed, and half of its last place; of "< 0.01 %" the middle, and what lies around it."""
    if text.startswith("< "):
        most, _ = printed(text[2:])
        return most / 2, most / 2
    digits = text.replace(",", "").replace("−", "-").replace("∞", "inf").removesuffix("%").strip()
    scale = 0.01 if text.endswith("%") else 1.0
    match = re.fullmatch(r"[-+]?(?:inf|\d+(?:\.(\d+))?(?:e([-+]?\d+))?)", digits)
    assert match, f"{text!r} is no number"
    places = len(match[1] or "") - int(match[2] or 0)
    return scale * float(digits), scale * 0.5 * 10.0**-places


def wrong_numbers(trace: Trace, entries: Iterable[Entry]) -> list[str]:
    """Those that are not their tensor's within the digits printed."""
    wrong = []
    for entry in entries:
        if is_tensor(trace, entry["tensor"]):
            value = value_at(trace, entry)
            (shown, within) = printed(entry["text"])
            masked = shown == -np.inf and value <= -1e9  # a score that the mask takes out is drawn as none
            if not masked and abs(value - shown) > within + 2e-6 * max(1.0, abs(value)):
                wrong.append(f"{entry['tensor']}[{entry['index']}] is {value}, and {entry['text']!r} is shown")
    return wrong


def grid_values(trace: Trace, grid: Mapping[str, object]) -> FloatArray:
    """The numbers (rows, columns) that a grid says it shows."""
    tensor = np.asarray(trace[str(grid["tensor"])])
    offset = int(str(grid["offset"]))
    (down, across) = map(int, str(grid["steps"]).split(","))
    assert ",".join(map(str, tensor.shape)) == grid["shape"]
    rows, columns = np.ogrid[: int(str(grid["rows"])), : int(str(grid["columns"]))]
    values: FloatArray = tensor.reshape(-1)[offset + rows * down + columns * across]
    return values


def wrong_cells(trace: Trace, grid: Mapping[str, object]) -> list[str]:
    """The cells whose readout is another number than the tensor has there, or whose colour is another number's."""
    values = grid_values(trace, grid)
    wrong = []
    limit = float(str(grid["limit"])) if "limit" in grid else 0.0  # of a scale that several vectors share
    all_values = np.append(values.ravel().clip(-limit, limit), [limit, -limit]) if limit else values.ravel()
    painted = paint(all_values, grid["scale"])[: values.size].reshape(*values.shape, 3)  # type: ignore[arg-type]
    cells = grid["cells"]
    assert isinstance(cells, list)
    for cell in cells:
        value = value_at(trace, cell)
        (shown, _) = printed(cell["text"])
        at = cell["row"], cell["column"]
        if value != values[at] or (np.float32(shown) != np.float32(value) and not (shown == -np.inf and value <= -1e9)):
            wrong.append(f"{cell['tensor']}[{cell['index']}] is {value}, {values[at]} and {cell['text']!r} are shown")
        query, key = [0, 0, *map(int, cell["index"].split(","))][-2:]
        is_masked = is_weight(cell["tensor"]) and value == 0 and key > query
        colour = MASKED if is_masked else painted[at].astype(int)
        if "colour" in cell and np.abs(colour - cell["colour"]).max() > NEAR:
            wrong.append(f"{cell['tensor']}[{cell['index']}] is {colour}, and {cell['colour']} is shown")
    return wrong


def picture_of(weights: FloatArray) -> NDArray[np.int64]:
    """A head's pattern (T, T) as the atlas paints it: (T, T, 3)."""
    levels = np.rint(255 * np.sqrt(weights)).astype(int)
    return np.where(np.triu(levels == 0, 1)[..., None], MASKED, scale_table("sequential")[levels])
