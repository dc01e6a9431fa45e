"""The int8 scheme: what it loses, what it does not, and that outlier channels cost nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cutaway.errors import UsageError
from cutaway.formats import FORMATS, QuantisedMatrix, quantise
from cutaway.formats.int8 import BLOCK_SIZE
from cutaway.numerics import FloatArray
from cutaway.tensors import TensorSpec

MATRICES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 70)),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


def normal(outputs: int, inputs: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((outputs, inputs), dtype=np.float32)


def steps(quantised: QuantisedMatrix) -> FloatArray:
    """The distance between neighbouring values of each entry."""
    inputs = quantised.values.shape[1]
    return np.repeat(quantised.scales.astype(np.float32), BLOCK_SIZE, axis=1)[:, :inputs] * quantised.input_scales


@given(MATRICES)
def test_every_entry_is_within_half_a_step(matrix: FloatArray) -> None:
    quantised = quantise(matrix)
    error = np.abs(quantised.dequantise().astype(np.float64) - matrix)
    nothing = 1e-37 * quantised.input_scales.astype(np.float64) + 1e-44  # where float32 itself runs out of exponents
    assert (error <= 0.501 * steps(quantised).astype(np.float64) + nothing).all()
    assert np.abs(quantised.values.astype(int)).max() <= 127


@given(MATRICES)
def test_dequantise_is_the_documented_formula(matrix: FloatArray) -> None:
    q = quantise(matrix)
    for o, i in np.ndindex(*matrix.shape):
        expected = np.float32(q.values[o, i]) * np.float32(q.scales[o, i // BLOCK_SIZE]) * q.input_scales[i]
        assert q.dequantise()[o, i] == expected


def test_the_error_of_a_normal_matrix() -> None:
    matrix = normal(256, 320)
    error = np.sqrt(np.mean((quantise(matrix).dequantise() - matrix) ** 2))
    assert error < 0.0085


def test_outlier_channels_change_nothing() -> None:
    matrix = normal(48, 96)
    gains = np.ones(96, np.float32)
    gains[[3, 40, 95]] = [128, 1 / 256, 1024]
    plain = quantise(matrix)
    scaled = quantise(matrix * gains)
    assert np.array_equal(plain.values, scaled.values)
    assert np.array_equal(plain.scales, scaled.scales)
    assert np.array_equal(plain.input_scales * gains, scaled.input_scales)


def test_zeros_stay_zero() -> None:
    matrix = normal(8, 64)
    matrix[2] = 0
    matrix[:, 5] = 0
    quantised = quantise(matrix)
    assert (quantised.scales[2] == 0).all()
    assert quantised.input_scales[5] == 1
    assert not quantised.dequantise()[2].any()
    assert not quantised.dequantise()[:, 5].any()


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("width", [32, 33])
def test_what_is_stored_of_zeros_can_be_loaded(width: int, zero: float) -> None:
    matrix = normal(4, width)
    matrix[2] = zero
    spec = TensorSpec("wte.weight", (4, width), "embedding")
    arrays = FORMATS["int8"].store(spec, matrix)
    assert not np.signbit(arrays[".scales"]).any()
    assert not FORMATS["int8"].load(spec, arrays).dequantise()[2].any()


def test_a_scale_of_negative_zero_is_one_of_zero() -> None:
    """Earlier versions wrote it for blocks of zeros."""
    spec = TensorSpec("wte.weight", (4, 32), "embedding")
    matrix = normal(4, 32)
    matrix[2] = 0
    arrays = dict(FORMATS["int8"].store(spec, matrix))
    arrays[".scales"] = np.where(arrays[".scales"] == 0, np.float16(-0.0), arrays[".scales"])
    assert not FORMATS["int8"].load(spec, arrays).dequantise()[2].any()


@pytest.mark.parametrize(("largest", "fits"), [(3.39e38, True), (np.finfo(np.float32).max, False)])
def test_what_is_stored_of_the_largest_numbers_can_be_loaded(largest: float, fits: bool) -> None:
    matrix = normal(4, 32)
    matrix[2, 3] = largest
    spec = TensorSpec("wte.weight", (4, 32), "embedding")
    if fits:
        FORMATS["int8"].load(spec, FORMATS["int8"].store(spec, matrix))
        return
    with pytest.raises(UsageError, match=r"^wte\.weight holds a number too large for int8; use float32$"):
        FORMATS["int8"].store(spec, matrix)


def test_a_block_of_tiny_weights_does_not_become_zero() -> None:
    matrix = normal(2, 64)
    matrix[0, :32] *= np.float32(1e-5)  # its scale is far below float16's smallest normal number
    tiny = quantise(matrix).dequantise()[0, :32]
    assert np.abs(tiny - matrix[0, :32]).max() < 0.2 * np.abs(matrix[0, :32]).max()


def test_quantises_views_and_large_matrices_alike() -> None:
    matrix = normal(3000, 700)
    whole = quantise(matrix)
    view = quantise(np.asfortranarray(matrix))
    some = quantise(matrix[1490:1510] / whole.input_scales)
    assert np.array_equal(whole.values, view.values)
    assert np.array_equal(whole.scales, view.scales)
    assert whole.values.flags.c_contiguous
    assert view.values.flags.c_contiguous
    assert some.values.shape == (20, 700)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rejects_non_finite_numbers(value: float) -> None:
    matrix = normal(4, 40)
    matrix[1, 33] = value
    with pytest.raises(UsageError, match="NaN or infinity"):
        quantise(matrix)


@pytest.mark.parametrize(("scale", "input_scale"), [(65504, 3e38), (65504, 1e32), (60000, 1e37)])
def test_rejects_a_product_of_scales_beyond_float32(scale: float, input_scale: float) -> None:
    spec = TensorSpec("wte.weight", (2, 32), "embedding")
    arrays: dict[str, Any] = {
        "": np.full((2, 32), 100, np.int8),
        ".scales": np.full((2, 1), scale, np.float16),
        ".input_scales": np.ones(32, np.float32),
    }
    FORMATS["int8"].load(spec, arrays)
    arrays[".input_scales"][7] = input_scale
    with pytest.raises(UsageError, match=r"^wte\.weight holds a number too large for float32$"):
        FORMATS["int8"].load(spec, arrays)
    arrays[""][:, 7] = 0
    assert np.isfinite(FORMATS["int8"].load(spec, arrays).dequantise()).all()
