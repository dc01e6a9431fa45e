"""Statistics of heads against plain loops over patterns that are known, and over those of a random model."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cutaway.checkpoints import ArrayWeights
from cutaway.errors import UsageError
from cutaway.numerics import FloatArray
from cutaway.trace import Trace
from cutaway.trace.heads import NEARLY, HeadStatistics, aligner, atlas, head_statistics, search, without_first
from tests.tiny import random_ids, tiny_weights
from tests.trace.tracing import small_models, texts, trace_of

WEIGHTS = tiny_weights()
IDS = random_ids(WEIGHTS.config, 30)
TRACE = trace_of(WEIGHTS, IDS)
TEXT = [7, 8, 9, 7, 8, 7]  # the same tokens before: of 3 it is 0, of 4 it is 1, of 5 they are 0 and 3
NO_TWO_ALIKE = [1, 2, 3, 4, 5, 6]


class Painted(Trace):
    """A trace whose heads look where they are told to: `rows[i]` is the weights of query i, the same in all heads."""

    rows: FloatArray

    def attention(self, layer: int, first: int, stop: int) -> dict[str, FloatArray]:
        return {"attn": np.stack([self.rows] * (stop - first))}


def painted(ids: list[int], looks: dict[int, dict[int, float]]) -> Trace:
    """Query i gives its weight to keys as `looks[i]` says, otherwise to itself."""
    trace = Painted(WEIGHTS.config, WEIGHTS.arrays, None, ids)
    trace.rows = np.eye(len(ids), dtype=np.float32)
    for query, keys in looks.items():
        trace.rows[query] = 0
        for key, weight in keys.items():
            trace.rows[query, key] = weight
    return trace


def statistics(looks: dict[int, dict[int, float]], ids: list[int] = TEXT) -> HeadStatistics:
    return head_statistics(painted(ids, looks), 0)[0]


def test_share_on_the_first_token() -> None:
    found = statistics({query: {0: 1.0} for query in range(1, 6)}, NO_TWO_ALIKE)
    assert (found.first, found.largest, found.entropy) == (1, 0, 0)
    assert found.labels == {"first token": 1.0}


def test_share_on_the_previous_token() -> None:
    found = statistics({query: {query - 1: 0.75, query: 0.25} for query in range(1, 6)}, NO_TWO_ALIKE)
    assert (found.previous, found.largest) == (0.75, 0.75)
    assert found.first == pytest.approx(0.75 / 5)
    assert found.entropy == pytest.approx(-5 / 6 * (0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert found.labels == {"previous token": 0.75}


def test_share_on_duplicate_tokens() -> None:
    found = statistics({3: {0: 1.0}, 4: {1: 1.0}, 5: {0: 0.25, 3: 0.5, 5: 0.25}})
    assert found.duplicate == pytest.approx(2.75 / 3)
    assert found.labels == {"duplicate token": found.duplicate}


def test_share_of_induction() -> None:
    found = statistics({3: {1: 1.0}, 4: {2: 0.5, 4: 0.5}, 5: {1: 0.25, 4: 0.5, 5: 0.25}})
    assert found.induction == pytest.approx((1 + 0.5 + 0.75) / 3)
    assert found.labels == {"induction": found.induction}


def test_unavailable_measurements_are_none() -> None:
    alone = head_statistics(trace_of(WEIGHTS, [5]), 1)[2]
    assert alone == HeadStatistics(1, 2, 0.0, None, None, None, None, None)
    assert alone.labels == {}
    no_repeats = statistics({}, NO_TWO_ALIKE)
    assert (no_repeats.duplicate, no_repeats.induction) == (None, None)
    assert (no_repeats.first, no_repeats.largest) == (0, 1)


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def by_loops(attn: FloatArray, ids: list[int]) -> list[float | None]:
    """The definitions, read aloud."""
    n = len(ids)
    earlier = {i: [j for j in range(i) if ids[j] == ids[i]] for i in range(n) if ids[i] in ids[:i]}
    return [
        mean([sum(-float(w) * math.log(w) for w in row if w > 0) for row in attn]),
        mean([float(attn[i, 0]) for i in range(1, n)]),
        mean([float(attn[i, i - 1]) for i in range(1, n)]),
        mean([sum(float(attn[i, j]) for j in keys) for i, keys in earlier.items()]),
        mean([sum(float(attn[i, j + 1]) for j in keys) for i, keys in earlier.items()]),
        max((float(attn[i, j]) for i in range(n) for j in range(1, n)), default=None),
    ]


@settings(max_examples=15)
@given(data=st.data(), weights=small_models())
def test_statistics_equal_the_definitions(data: st.DataObject, weights: ArrayWeights) -> None:
    ids = data.draw(texts(weights.config))
    trace = trace_of(weights, ids)
    layer = data.draw(st.integers(0, weights.config.n_layer - 1))
    for head, found in enumerate(head_statistics(trace, layer)):
        assert (found.layer, found.head) == (layer, head)
        ours = [found.entropy, found.first, found.previous, found.duplicate, found.induction, found.largest]
        for number, expected in zip(ours, by_loops(trace[f"attn.{layer}"][head], ids), strict=True):
            assert number == (None if expected is None else pytest.approx(expected, abs=1e-5))


def test_search_ranks_every_head_by_its_weight() -> None:
    found = search(TRACE, 20, [3, 5, 3])
    assert {place[:2] for place in found} == {(layer, head) for layer in range(2) for head in range(3)}
    assert [weight for *_, weight in found] == sorted((weight for *_, weight in found), reverse=True)
    for layer, head, weight in found:
        assert weight == pytest.approx(float(TRACE[f"attn.{layer}"][head, 20, [3, 5]].sum()), abs=1e-6)


def test_no_head_attends_to_later_tokens() -> None:
    assert {weight for *_, weight in search(TRACE, 4, [5, 29])} == {0}


@pytest.mark.parametrize(
    ("query", "keys", "complaint"),
    [
        (30, [0], "query must be from -30 to 29"),
        (-31, [0], "query must be from -30 to 29"),
        (1.0, [0], "query must be a whole number"),
        (0, [30], "a key position must be from -30 to 29"),
        (0, [0, -31], "a key position must be from -30 to 29"),
        (0, [True], "a key position must be a whole number"),
        (0, [], "at least one key position"),
    ],
)
def test_rejects_invalid_positions(query: int, keys: list[int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        search(TRACE, query, keys)
    assert "\n" not in str(caught.value)


def test_rejects_an_invalid_layer() -> None:
    for look in (head_statistics, atlas):
        with pytest.raises(UsageError, match="layer must be from 0 to 1"):
            look(TRACE, 2)


def pictures(trace: Trace, layer: int, size: int = 64) -> NDArray[np.uint8]:
    return atlas(trace, layer, size)[1]


def test_an_atlas_has_statistics_and_thumbnails() -> None:
    assert atlas(TRACE, 1)[0] == atlas(TRACE, 1, 8, leave_first=True)[0] == head_statistics(TRACE, 1)


def test_thumbnails_of_short_texts_have_a_cell_for_each_weight() -> None:
    cells = pictures(TRACE, 1)
    assert cells.shape == (3, 30, 30)
    assert cells.dtype == np.uint8
    np.testing.assert_array_equal(cells, np.rint(255 * np.sqrt(TRACE["attn.1"])))


@pytest.mark.parametrize("size", [1, 7, 29])
def test_thumbnails_of_long_texts_are_max_pooled(size: int) -> None:
    cells = pictures(TRACE, 0, size)
    attn = TRACE["attn.0"]
    edges = [i * 30 // size for i in range(size + 1)]
    for row in range(size):
        for column in range(size):
            part = attn[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
            np.testing.assert_array_equal(cells[:, row, column], np.rint(255 * np.sqrt(part.max(axis=(1, 2)))))


def test_labels_need_half_of_the_weight() -> None:
    below = float(np.nextafter(0.5, 0))
    found = HeadStatistics(0, 0, entropy=1.0, first=0.5, previous=below, duplicate=0.55, induction=None, largest=1.0)
    assert found.labels == {"first token": 0.5, "duplicate token": 0.55}


def test_max_pooling_keeps_a_single_large_weight() -> None:
    trace = painted(random_ids(WEIGHTS.config, 48), {40: {2: 1.0}})
    assert pictures(trace, 0, 16)[0, 13, 0] == 255
    assert pictures(painted([1, 2], {1: {0: 0.0001, 1: 0.9999}}), 0)[0, 1, 0] == 3


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_rejects_invalid_sizes(size: int) -> None:
    with pytest.raises(UsageError, match="size must be"):
        atlas(TRACE, 0, size)


@pytest.mark.parametrize("size", [7, 30])
def test_thumbnails_without_the_first_token_show_renormalised_weights(size: int) -> None:
    shown = without_first(TRACE["attn.1"])
    starts = np.arange(size) * 30 // size
    largest = np.maximum.reduceat(np.maximum.reduceat(shown, starts, axis=1), starts, axis=2)
    np.testing.assert_array_equal(atlas(TRACE, 1, size, leave_first=True)[1], np.rint(255 * np.sqrt(largest)))


def test_without_the_first_token_the_others_sum_to_one() -> None:
    attn = TRACE["attn.0"]
    shown = without_first(attn)
    np.testing.assert_array_equal(shown[:, 0], attn[:, 0])
    assert not shown[:, 1:, 0].any()
    np.testing.assert_allclose(shown.sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(shown[:, 9, 2] / shown[:, 9, 5], attn[:, 9, 2] / attn[:, 9, 5], rtol=1e-5)


def test_without_the_first_token_a_row_may_be_empty() -> None:
    shown = without_first(np.array([[1, 0], [1, 0]], np.float32))
    np.testing.assert_array_equal(shown, [[1, 0], [0, 0]])


@pytest.mark.parametrize("n_source", [3, 12, 30])
def test_the_aligner_covers_the_source_nearly_best_and_is_the_last_of_those(n_source: int) -> None:
    layer, head, links = aligner(TRACE, n_source)
    coverage: dict[tuple[int, int], float] = {}
    for number in range(2):
        for each in range(3):
            weights = TRACE[f"attn.{number}"][each]
            most = [max(weights[query, key] for query in range(n_source - 1, 30)) for key in range(1, n_source - 1)]
            coverage[number, each] = float(np.mean(most))
    best = [max(coverage[number, each] for each in range(3)) for number in range(2)]
    assert layer == max(number for number in range(2) if best[number] >= NEARLY * max(best) - 1e-6)
    assert coverage[layer, head] == pytest.approx(best[layer], abs=1e-6)
    assert sorted(query for query, *_ in links) == list(range(n_source - 1, 30))
    assert [weight for *_, weight in links] == sorted((weight for *_, weight in links), reverse=True)
    for query, key, weight in links:
        inside = TRACE[f"attn.{layer}"][head, query, 1 : n_source - 1]
        assert key == 1 + int(inside.argmax())
        assert weight == pytest.approx(float(inside.max()), abs=1e-6)


def test_a_source_without_words_is_an_error() -> None:
    with pytest.raises(UsageError, match="n_source must be from 3 to 30, not 2"):
        aligner(TRACE, 2)
