"""Panels of a LayerNorm, and its computation in float64."""

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.article.accuracy import relative_error
from cutaway.figures.article.excerpts import at, part
from cutaway.figures.panels import Grid, LocalizedText, Number, Table
from cutaway.numerics import FloatArray
from cutaway.trace import Trace

Float64 = NDArray[np.float64]


def norm_numbers(trace: Trace, name: str, layer: int, position: int) -> Table:
    """Tabulate the mean and rstd that a block's LayerNorm computes for a token."""
    mean, rstd = (at(trace, f"{name}.{kind}.{layer}", position, 0) for kind in ("mean", "rstd"))
    return norm_table(f"{name}.{layer}", mean, rstd)


def norm_table(name: str, mean: Number, rstd: Number) -> Table:
    """Tabulate a mean and an rstd under the formula of LayerNorm."""
    formula = "(x - mean) · rstd · weight + bias"
    return Table(
        LocalizedText(f"LayerNorm {name}: {formula}", f"层归一化 {name}：{formula}"),
        (LocalizedText("mean", "mean（均值）"), LocalizedText("rstd, 1 / standard deviation", "rstd（标准差的倒数）")),
        [(mean, rstd)],
    )


def normalised(trace: Trace, name: str, layer: int, position: int) -> Grid:
    """Draw a LayerNorm's output for a token."""
    title = LocalizedText(f"the normalised vector {name}.{layer}", f"归一化后的向量 {name}.{layer}")
    return Grid(title, part(trace, f"{name}.{layer}", position), "signed")


def norm_difference(trace: Trace, name: str, x: str, layer: int, position: int) -> float:
    """Return the relative error of a LayerNorm's output, compared with float64."""
    mean, rstd, normal = exact_norm(trace, f"h.{layer}.ln_{name[-1]}", trace[x][position])
    return max(
        relative_error(trace[f"{name}.mean.{layer}"][position], mean),
        relative_error(trace[f"{name}.rstd.{layer}"][position], rstd),
        relative_error(trace[f"{name}.{layer}"][position], normal),
    )


def exact_norm(trace: Trace, tensor: str, row: FloatArray) -> tuple[Float64, Float64, Float64]:
    """Compute mean (1,), 1 / standard deviation (1,) and output (d,) of a LayerNorm for a vector (d,), in float64.

    `tensor` names its weights, as in "h.0.ln_1".
    """
    exact = row.astype(np.float64)
    mean = exact.mean(keepdims=True)
    rstd = 1 / np.sqrt(exact.var(keepdims=True) + trace.config.layer_norm_epsilon)
    return mean, rstd, (exact - mean) * rstd * trace[f"{tensor}.weight"] + trace[f"{tensor}.bias"]


def norm_error(name: str, x: str, tensor: str, suffix: str) -> str:
    """Return the formula of the error of a LayerNorm's mean, rstd and output, given its input vector `x`.

    `name` names the output and `tensor` the weights; `suffix` is the layer and the index.
    """
    mean = f"{name}.mean{suffix}"
    rstd = f"{name}.rstd{suffix}"
    normal = f"{name}{suffix}"
    return (
        f"max([error({mean}, mean({x})), error({rstd}, rstd({x})), "
        f"error({normal}, layer_norm({x}, {tensor}.weight, {tensor}.bias))])"
    )
