"""Statistics of performances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.music.performance import Note, Performance
from cutaway.music.statistics import longest_copy, measure, overlap
from tests.music.test_performance import performances

IDS = st.lists(st.integers(0, 3), max_size=12)


@given(first=performances(), second=performances())
def test_histograms_are_shares(first: Performance, second: Performance) -> None:
    measured = measure([first, second])
    assert measured.notes == len(first.notes) + len(second.notes)
    for histogram in (measured.pitch_classes, measured.pitches, measured.velocities):
        assert histogram.sum() == pytest.approx(1 if measured.notes else 0)
    gaps = max(0, len(first.notes) - 1) + max(0, len(second.notes) - 1)
    assert measured.gaps.sum() == pytest.approx(1 if gaps else 0)


def test_rates_by_hand() -> None:
    piece = Performance.of([Note(0, 1, 60, 80), Note(0.12, 1, 64, 83), Note(3, 4, 61, 40)])
    measured = measure([piece])
    assert measured.density == pytest.approx(3 / 4)
    assert measured.polyphony == pytest.approx((1 + 0.88 + 1) / 4)
    assert measured.pitch_classes.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0, 1 / 3, *[0] * 7])
    assert np.flatnonzero(measured.velocities).tolist() == [10, 20]
    assert np.flatnonzero(measured.gaps).tolist() == [2, 40]


def test_nothing_has_no_statistics() -> None:
    measured = measure([])
    assert (measured.notes, measured.density, measured.polyphony) == (0, 0, 0)
    assert measured.gaps.sum() == 0


def test_overlap_is_the_share_in_common() -> None:
    assert overlap(np.array([1.0, 0]), np.array([0, 1.0])) == 0
    assert overlap(np.array([0.2, 0.8]), np.array([0.2, 0.8])) == 1


@given(ids=IDS, documents=st.lists(IDS, max_size=3))
def test_the_longest_copy_is_that_of_all_runs(ids: list[int], documents: list[list[int]]) -> None:
    runs = [ids[i:j] for i in range(len(ids)) for j in range(i + 1, len(ids) + 1)]
    found = [run for run in runs for d in documents if any(d[k : k + len(run)] == run for k in range(len(d)))]
    assert longest_copy(ids, documents) == max(map(len, found), default=0)


def test_a_copy_begins_at_a_whole_id() -> None:
    assert longest_copy([0x0201], [[0x0100, 0x0002]]) == 0
