"""A LayerNorm of a block as a figure shows it, and as the formula has it."""

import numpy as np

from cutaway.figures.article.views import apart, at, part
from cutaway.figures.content import Grid, Table, Words
from cutaway.trace import Trace


def norm_numbers(trace: Trace, name: str, layer: int, position: int) -> Table:
    """The two numbers that a LayerNorm takes from a token's vector."""
    numbers = [at(trace, f"{name}.{kind}.{layer}", position, 0) for kind in ("mean", "rstd")]
    return Table(
        Words(
            f"LayerNorm {name}.{layer}: (x - mean) · rstd · weight + bias",
            f"层归一化 {name}.{layer}：(x - mean) · rstd · weight + bias",
        ),
        (Words("mean", "mean（均值）"), Words("rstd, 1 / standard deviation", "rstd（标准差的倒数）")),
        [numbers],
    )


def normalised(trace: Trace, name: str, layer: int, position: int) -> Grid:
    """What a LayerNorm makes of a token's vector."""
    title = Words(f"the normalised vector {name}.{layer}", f"归一化后的向量 {name}.{layer}")
    return Grid(title, part(trace, f"{name}.{layer}", position), "signed")


def norm_difference(trace: Trace, name: str, x: str, layer: int, position: int) -> float:
    """How far a LayerNorm's output is from the formula, computed anew in float64 from its input."""
    row = trace[x][position].astype(np.float64)
    tensor = f"h.{layer}.ln_{name[-1]}"
    mean, rstd = row.mean(), 1 / np.sqrt(row.var() + trace.config.layer_norm_epsilon)
    normal = (row - mean) * rstd * trace[f"{tensor}.weight"] + trace[f"{tensor}.bias"]
    return max(
        apart(trace[f"{name}.mean.{layer}"][position], np.array([mean])),
        apart(trace[f"{name}.rstd.{layer}"][position], np.array([rstd])),
        apart(trace[f"{name}.{layer}"][position], normal),
    )
