"""Standard errors of means and ratios.

A test set is a sample of n independent units: documents, examples or windows. A score such as nats per token is a ratio
of two totals, R = ΣL / ΣT, and units differ in length, so the tokens of one unit are not independent draws. To first
order R - ρ = Σ(L - ρT) / ΣT, a sum of n independent terms of mean 0, which gives

    standard error of R = sqrt(n / (n - 1) · Σ(L - R·T)²) / ΣT,

the estimate of a ratio in cluster sampling (Cochran, "Sampling Techniques", section 2.11, for units drawn from a large
population). With T = 1 it is the standard error of a mean, and for 0-and-1 values sqrt(p(1 - p) / (n - 1)).
"""

import math
from collections.abc import Sequence

import numpy as np


def ratio_error(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Estimate the standard error of sum(numerators) / sum(denominators) over independent units; None for fewer than 2.

    >>> ratio_error([1.0, 3.0], [1.0, 1.0])
    1.0
    >>> ratio_error([6.0, 2.0], [3.0, 1.0])
    0.0
    """
    n = len(numerators)
    if n < 2:
        return None
    counts = np.asarray(denominators, np.float64)
    values = np.asarray(numerators, np.float64)
    residuals = values - values.sum() / counts.sum() * counts
    return math.sqrt(n / (n - 1) * float(residuals @ residuals)) / float(counts.sum())


def mean_error(values: Sequence[float]) -> float | None:
    """Estimate the standard error of a mean; None for fewer than two values.

    >>> mean_error([True, False, True, False])
    0.28867513459481287
    """
    return ratio_error(values, [1.0] * len(values))
