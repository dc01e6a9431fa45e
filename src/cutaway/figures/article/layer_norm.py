"""A LayerNorm as a figure shows it, and as the formula has it."""

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.article.excerpts import apart, at, part
from cutaway.figures.panels import Grid, Number, Table, Words
from cutaway.numerics import FloatArray
from cutaway.trace import Trace

Float64 = NDArray[np.float64]


def norm_numbers(trace: Trace, name: str, layer: int, position: int) -> Table:
    """The two numbers that a block's LayerNorm takes from a token's vector."""
    mean, rstd = (at(trace, f"{name}.{kind}.{layer}", position, 0) for kind in ("mean", "rstd"))
    return norm_table(f"{name}.{layer}", mean, rstd)


def norm_table(name: str, mean: Number, rstd: Number) -> Table:
    """The same for any LayerNorm."""
    formula = "(x - mean) · rstd · weight + bias"
    return Table(
        Words(f"LayerNorm {name}: {formula}", f"层归一化 {name}：{formula}"),
        (Words("mean", "mean（均值）"), Words("rstd, 1 / standard deviation", "rstd（标准差的倒数）")),
        [(mean, rstd)],
    )


def normalised(trace: Trace, name: str, layer: int, position: int) -> Grid:
    """What a LayerNorm makes of a token's vector."""
    title = Words(f"the normalised vector {name}.{layer}", f"归一化后的向量 {name}.{layer}")
    return Grid(title, part(trace, f"{name}.{layer}", position), "signed")


def norm_difference(trace: Trace, name: str, x: str, layer: int, position: int) -> float:
    """How far a LayerNorm's output is from the formula, computed anew in float64 from its input."""
    mean, rstd, normal = exact_norm(trace, f"h.{layer}.ln_{name[-1]}", trace[x][position])
    return max(
        apart(trace[f"{name}.mean.{layer}"][position], mean),
        apart(trace[f"{name}.rstd.{layer}"][position], rstd),
        apart(trace[f"{name}.{layer}"][position], normal),
    )


def exact_norm(trace: Trace, tensor: str, row: FloatArray) -> tuple[Float64, Float64, Float64]:
    """The mean (1,), 1 / standard deviation (1,) and output (d,) of a LayerNorm, whose weights have that name, for a
    vector (d,), in float64.
    """
    exact = row.astype(np.float64)
    mean, rstd = exact.mean(keepdims=True), 1 / np.sqrt(exact.var(keepdims=True) + trace.config.layer_norm_epsilon)
    return mean, rstd, (exact - mean) * rstd * trace[f"{tensor}.weight"] + trace[f"{tensor}.bias"]
