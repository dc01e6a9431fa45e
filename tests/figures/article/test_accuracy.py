"""Exact values, and the difference of the model's from them."""

import numpy as np

from cutaway.figures.article.accuracy import linear, relative_error, span, within
from tests.figures.drawing import make_trace


def test_differences_are_relative_to_the_largest_number() -> None:
    small = np.array([0.5, -0.25])
    large = np.array([500.0, -250.0])
    assert relative_error(small + 0.125, small) == 0.125
    assert relative_error(large + 0.125, large) == 0.125 / 500
    assert relative_error(np.empty(0), np.empty(0)) == 0
    assert np.isnan(relative_error(np.array([np.nan]), np.array([1.0])))


def test_within_and_span_put_numbers_into_words() -> None:
    assert (within(0, "x").en, within(0, "x").zh) == ("exactly", "没有误差")
    assert (within(2.5e-7, "x").en, within(2.5e-7, "x").zh) == ("within 2.5e−07", "误差在 2.5e−07 以内")
    assert [number.tensor for number in within(2.5e-7, "x").numbers()] == ["x"]
    assert (span(np.array([-1e10, -1e10]), "x").en, span(np.array([-2.0, 0.5]), "x").en) == ("−1e10", "−2 … 0.5")


def test_a_linear_layer_adds_its_bias() -> None:
    trace = make_trace("tiny 7")
    np.testing.assert_allclose(linear(trace, "ln1.0", "h.0.attn.c_attn", 4), trace["qkv.0"][4], atol=1e-4)
