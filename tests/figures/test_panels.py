"""Cells know where in a tensor their numbers stand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices

from cutaway.figures.labels import plural
from cutaway.figures.panels import Number, cells, computed, signed_limit


@st.composite
def tensors_and_parts(draw: st.DrawFn) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], object]:
    """A tensor whose numbers tell them apart, and an index of basic slices that leaves at most two axes."""
    shape = draw(array_shapes(min_dims=1, max_dims=4, max_side=5))
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return array, draw(basic_indices(shape, min_dims=0, max_dims=min(2, len(shape))))


@given(tensors_and_parts())
def test_every_cell_has_the_index_of_its_number(
    case: tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], object],
) -> None:
    array, index = case
    part = array[index]  # type: ignore[call-overload]
    if not isinstance(part, np.ndarray):  # a single number, which is no view any more
        part = array.reshape(-1)[int(part) : int(part) + 1]
    shown = cells("x", array, part)
    assert shown.values.shape == np.atleast_2d(part).shape
    assert shown.shape == array.shape
    for row, column in np.ndindex(*shown.values.shape):
        assert array[shown.index(row, column)] == shown.values[row, column]


def test_zero_weights_of_later_keys_are_not_visible() -> None:
    attn = np.tril(np.ones((2, 4, 4), np.float32))
    attn[1, 2, 0] = 0  # small, not masked
    attn[1, 0, 3] = 0.5  # as without a mask
    for index in ((1,), (1, 2), (slice(None), 2), (1, slice(1, 3), slice(2, 4)), (1, 0)):
        shown = cells("attn.5", attn, attn[index])
        masked = [
            key > query and attn[head, query, key] == 0
            for head, query, key in (shown.index(*place) for place in np.ndindex(*shown.values.shape))
        ]
        assert (shown.visible == -np.inf).ravel().tolist() == masked
        assert (cells("v.5", attn, attn[index]).visible == attn[index]).all()


def test_cells_accept_up_to_two_axes() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (cells("x", array).values == array).all()
    assert cells("x", array).index(1, 2) == (1, 2)
    assert cells("x", array[0]).values.shape == (1, 3)


def test_rejects_a_copy() -> None:
    array = np.arange(6, dtype=np.float32)
    with pytest.raises(AssertionError, match="a copy does not know where it comes from"):
        cells("x", array, array[[1, 2]])


def test_cells_require_a_contiguous_tensor() -> None:
    with pytest.raises(AssertionError):
        cells("x", np.zeros((2, 3), np.float32).T)


def test_whole_numbers_are_shown_as_floats() -> None:
    assert cells("ids", np.array([3, 1])).values.dtype == np.float32


@given(st.integers(1, 5), st.integers(1, 5))
def test_a_computed_number_has_an_index_in_its_own_table(rows: int, columns: int) -> None:
    table = np.arange(rows * columns).reshape(rows, columns)
    shown = computed("x + y", table)
    assert shown.tensor == "x + y"
    assert all(shown.index(*place) == place for place in np.ndindex(rows, columns))
    assert (shown.values == table).all()


@pytest.mark.parametrize(("values", "shape"), [(2.5, (1, 1)), ([1, 2], (1, 2)), ([[1], [2]], (2, 1))])
def test_scalars_and_vectors_become_tables(values: object, shape: tuple[int, int]) -> None:
    assert computed("x", np.asarray(values)).values.shape == shape


@pytest.mark.parametrize(
    ("values", "limit"), [([1, -3, 2], 3), ([0, 0], 1), ([], 1), ([np.inf, -np.inf, 2, np.nan], 2)]
)
def test_a_signed_scale_ends_at_the_largest_magnitude(values: list[float], limit: float) -> None:
    assert signed_limit(np.array(values, np.float32)) == limit


@pytest.mark.parametrize(
    ("form", "text"), [(".4f", "0.1235"), (".2%", "12.35 %"), (".0%", "12 %"), (".1e", "1.2e−01"), ("g", "0.12345")]
)
def test_a_number_is_printed_in_its_format(form: str, text: str) -> None:
    assert Number(0.12345, "attn.0", (0, 1, 1), form).text == text


@pytest.mark.parametrize(("count", "said"), [(0, "0 heads"), (1, "1 head"), (2, "2 heads"), (50_257, "50,257 heads")])
def test_plural_agrees_with_its_number(count: int, said: str) -> None:
    assert plural(count, "head") == said
