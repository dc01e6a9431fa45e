"""Reference values in float64, and errors relative to them."""

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.panels import Number
from cutaway.figures.statement import Statement
from cutaway.trace import Trace

TOLERANCE = 1e-4  # as in the tests of the engines' float32


def relative_error(numbers: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Return max |numbers - expected| / max(1, max |expected|); 0 for empty arrays."""
    assert numbers.shape == expected.shape, (numbers.shape, expected.shape)
    if not numbers.size:
        return 0.0
    return float(np.abs(numbers - expected).max() / max(1.0, float(np.abs(expected).max())))


def max_difference(numbers: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Return max |numbers - others|; 0 for empty arrays."""
    return float(np.abs(numbers - others).max(initial=0))


def within(difference: float, formula: str) -> Statement:
    """Describe a difference in words; `formula` says how it is computed."""
    if not difference:
        return Statement("exactly", "没有误差")
    return Statement("within {off}", "误差在 {off} 以内", off=Number(difference, formula, form=".1e"))


def span(values: NDArray[np.floating], tensor: str) -> Statement:
    """Describe the range of a tensor: its minimum and maximum, or a single number if they are equal."""
    low = Number(float(values.min()), f"min({tensor})", form="g")
    high = Number(float(values.max()), f"max({tensor})", form="g")
    if low.value == high.value:
        return Statement("{low}", "{low}", low=low)
    return Statement("{low} … {high}", "{low} … {high}", low=low, high=high)


def linear(trace: Trace, x: str, matrix: str, position: int) -> NDArray[np.float64]:
    """Multiply a token's vector by a weight matrix and add the bias, in float64: (columns,)."""
    row = trace[x][position].astype(np.float64)
    exact: NDArray[np.float64] = row @ trace[f"{matrix}.weight"] + trace[f"{matrix}.bias"]
    return exact


def exact_scores(trace: Trace, layer: int, position: int, keys: int) -> NDArray[np.float64]:
    """Compute the scaled scores (H, keys) of a token's query with the first keys, before the mask, in float64."""
    q, k = (trace[f"{kind}.{layer}"].astype(np.float64) for kind in "qk")
    scores: NDArray[np.float64] = np.einsum("hd,htd->ht", q[:, position], k[:, :keys])
    scores += relative_part(trace, layer)[:, position, :keys]
    return scores / trace.config.attention_divisor(layer)


def relative_part(trace: Trace, layer: int) -> NDArray[np.float64]:
    """Return the term (H, T, T) that relative attention adds to q · k; zeros in a model without relative attention."""
    if not trace.config.relative_positions:
        return np.zeros((trace.config.n_head, len(trace), len(trace)))
    return trace[f"scores_rel.{layer}"].astype(np.float64)
