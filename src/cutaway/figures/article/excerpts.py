"""Parts of a trace's tensors, as figures show them."""

import numpy as np

from cutaway.figures.figure import Selection
from cutaway.figures.labels import position_text, token_labels
from cutaway.figures.panels import Bars, Cells, Grid, LocalizedText, Number, Text, cells
from cutaway.trace import Trace

MOST_BARS = 48  # tokens with a bar each
MOST_ROWS = 16  # tokens with a row each
MOST_WEIGHTS = (16, 96)  # rows and columns of a weight matrix that are shown
MOST_COLUMNS = 192  # numbers of each vector if several are stacked
SHEET = 96  # maximum row length of a folded vector


def part(trace: Trace, name: str, *index: int | slice) -> Cells:
    """Return a row or a table of a tensor: `part(trace, "attn.5", 1, 8)` is attn.5[1, 8]."""
    array = np.ascontiguousarray(trace[name])
    return cells(name, array, array[index])


def at(trace: Trace, name: str, *index: int, form: str = ".4f") -> Number:
    """Return one number of a tensor."""
    return Number(float(trace[name][index]), name, index, form)


def sheet(trace: Trace, name: str, position: int) -> Cells:
    """Fold a long vector into rows of equal length, as long as possible up to `SHEET`; if the rows would be too short,
    into one row.
    """
    array = trace[name]
    across = next((n for n in range(SHEET, 15, -1) if array.shape[-1] % n == 0), array.shape[-1])
    return cells(name, array, array[position].reshape(-1, across))


def weight_grid(trace: Trace, name: str) -> Grid:
    """Draw a weight matrix; if it is large, only every n-th row and column."""
    rows, columns = trace[name].shape
    down, across = (-(-size // most) for size, most in zip((rows, columns), MOST_WEIGHTS, strict=True))
    thinned = [(down, "row", "行"), (across, "column", "列")]
    en = " and ".join(f"one {axis} in {step}" for step, axis, _ in thinned if step > 1)
    zh = "、".join(f"每 {step} {axis}取一{axis}" for step, _, axis in thinned if step > 1)
    title = f"{name}, {rows:,} × {columns:,}"
    words = LocalizedText(f"{title}: {en}", f"{title}：{zh}") if en else title
    return Grid(words, part(trace, name, slice(None, None, down), slice(None, None, across)), "signed")


def weights_and_bias(trace: Trace, matrix: str) -> tuple[Grid, Grid]:
    """Draw a weight matrix, and the biases of the columns shown."""
    weight = weight_grid(trace, f"{matrix}.weight")
    name = f"{matrix}.bias"
    size = trace[f"{matrix}.bias"].size
    step = weight.cells.steps[1]
    words = LocalizedText(f"{name}, one in {step} of {size:,}", f"{name}，{size:,} 个，每 {step} 个取一个")
    return weight, Grid(words if step > 1 else name, part(trace, name, slice(None, None, step)), "signed")


def few_columns(width: int) -> tuple[slice, LocalizedText]:
    """Return the columns to show of wide, stacked vectors, and a note about them for the title."""
    said = LocalizedText(
        f", the first {MOST_COLUMNS} of {width:,} numbers", f"，{width:,} 个数中的前 {MOST_COLUMNS} 个"
    )
    return slice(MOST_COLUMNS), said if width > MOST_COLUMNS else LocalizedText("", "")


def token_weights(trace: Trace, title: Text, weights: Cells, marked: tuple[int, ...] = ()) -> Bars | Grid:
    """Draw a bar for the weight of each token, or one strip if there are more than `MOST_BARS`."""
    if weights.values.size > MOST_BARS:
        return Grid(title, weights, "share")
    return Bars(title, token_labels(trace)[: weights.values.size], weights, "share", marked)


def window(trace: Trace, position: int) -> slice:
    """Return the tokens to show of a long text: `MOST_ROWS` around a position."""
    start = max(0, min(position - 3 * MOST_ROWS // 4, len(trace) - MOST_ROWS))
    return slice(start, min(start + MOST_ROWS, len(trace)))


def omitted_tokens(trace: Trace) -> LocalizedText:
    """Describe how many tokens are shown; empty if all are."""
    rows = len(range(*window(trace, 0).indices(len(trace))))
    if rows == len(trace):
        return LocalizedText("", "")
    return LocalizedText(f"{rows} of {len(trace):,} tokens are shown.", f"图中是 {len(trace):,} 个词元里的 {rows} 个。")


def with_count(title: LocalizedText, shown: int, total: int) -> LocalizedText:
    """Add the number of tokens shown to a title, unless all are shown.

    >>> with_count(LocalizedText("the keys", "各个键"), 8, 1024).en
    'the keys: 8 of 1,024 tokens shown'
    """
    if shown == total:
        return title
    return LocalizedText(
        f"{title.en}: {shown} of {total:,} tokens shown", f"{title.zh}：显示 {total:,} 个词元中的 {shown} 个"
    )


def selection_text(chosen: Selection) -> LocalizedText:
    """Name the layer, the head and the position; the position is counted from 1 and also given as an index."""
    spot = position_text(chosen.position)
    return LocalizedText(
        f"layer {chosen.layer}, head {chosen.head} (counted from 0), {spot.en}",
        f"层 {chosen.layer}、头 {chosen.head}（从 0 数起），{spot.zh}",
    )
