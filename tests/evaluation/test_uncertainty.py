import math

import numpy as np
import pytest

from cutaway.evaluation.uncertainty import mean_error, ratio_error


def test_a_mean_has_the_textbook_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert mean_error(list(values)) == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    share = [True] * 30 + [False] * 10
    assert mean_error(share) == pytest.approx(math.sqrt(0.75 * 0.25 / 39))


def test_fewer_than_two_units_have_no_error() -> None:
    assert ratio_error([1.0], [2.0]) is None
    assert ratio_error([], []) is None


def test_the_error_of_a_ratio_is_the_spread_of_repeated_samples() -> None:
    """Documents of unequal length, each with a mean of its own: tokens of one document are not independent."""
    rng = np.random.default_rng(1)
    ratios = []
    errors = []
    for _ in range(2000):
        tokens = rng.integers(5, 200, size=40).astype(float)
        nats = tokens * rng.normal(4, 0.5, size=40)
        ratios.append(nats.sum() / tokens.sum())
        errors.append(ratio_error(list(nats), list(tokens)) or 0)
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.05)
