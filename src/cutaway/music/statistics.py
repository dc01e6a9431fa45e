"""Statistics of performances, to compare generated with human ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.music.performance import Performance

Histogram = NDArray[np.float64]  # shares that sum to 1, or zeros if there is nothing to count

GAP_SECONDS = 0.05  # bin width of the times between onsets
N_GAPS = 41  # the last bin counts two seconds and more


@dataclass(frozen=True)
class Statistics:
    """Counts, rates and histograms of performances.

    `density` is notes per second, `polyphony` the mean number of notes sounding at once. The histograms are
    `pitch_classes` (12,) from C to B, `pitches` (128,), `velocities` (32,) in steps of 4, and `gaps` (41,), the times
    between consecutive onsets in steps of 50 ms.
    """

    notes: int
    seconds: float
    density: float
    polyphony: float
    pitch_classes: Histogram
    pitches: Histogram
    velocities: Histogram
    gaps: Histogram


def measure(performances: Sequence[Performance]) -> Statistics:
    """Compute the statistics of several performances together.

    >>> from cutaway.music.performance import Note
    >>> measured = measure([Performance.of([Note(0.0, 1.0, 60, 80), Note(0.5, 2.0, 67, 80)])])
    >>> measured.notes, measured.density, measured.polyphony, float(measured.pitch_classes[7])
    (2, 1.0, 1.25, 0.5)
    """
    notes = [note for performance in performances for note in performance.notes]
    seconds = sum(performance.seconds for performance in performances)
    gaps = [np.diff([note.onset for note in performance.notes]) for performance in performances]
    pitches = np.array([note.pitch for note in notes], np.int64)
    steps = np.floor(np.concatenate([*gaps, []]) / GAP_SECONDS + 1e-9).astype(np.int64)
    return Statistics(
        notes=len(notes),
        seconds=seconds,
        density=len(notes) / seconds if seconds else 0.0,
        polyphony=sum(note.offset - note.onset for note in notes) / seconds if seconds else 0.0,
        pitch_classes=_shares(pitches % 12, 12),
        pitches=_shares(pitches, 128),
        velocities=_shares(np.array([note.velocity // 4 for note in notes], np.int64), 32),
        gaps=_shares(np.minimum(steps, N_GAPS - 1), N_GAPS),
    )


def _shares(bins: NDArray[np.int64], count: int) -> Histogram:
    return np.bincount(bins, minlength=count) / max(1, len(bins))


def overlap(ours: Histogram, theirs: Histogram) -> float:
    """Return the overlap of two histograms: 1 if they are equal, 0 if they are disjoint.

    >>> overlap(np.array([0.5, 0.5]), np.array([0.75, 0.25]))
    0.75
    """
    return float(np.minimum(ours, theirs).sum())


def longest_copy(ids: Sequence[int], documents: Sequence[Sequence[int]]) -> int:
    """Return the length of the longest run of ids that also occurs in one of the documents.

    >>> longest_copy([1, 2, 3, 9, 4], [[0, 1, 2, 3, 4]])
    3
    """
    haystacks = [_bytes(document) for document in documents]
    longest = 0
    start = 0
    for stop in range(1, len(ids) + 1):  # a run that ends here is at most one id longer than the previous one
        while stop - start > longest and not any(_stands(_bytes(ids[start:stop]), hay) for hay in haystacks):
            start += 1
        longest = max(longest, stop - start)
    return longest


def _bytes(ids: Sequence[int]) -> bytes:
    return np.asarray(ids, "<u2").tobytes()


def _stands(needle: bytes, haystack: bytes) -> bool:
    """Return True if two-byte ids occur in others, aligned to an id."""
    at = haystack.find(needle)
    while at >= 0 and at % 2:
        at = haystack.find(needle, at + 1)
    return at >= 0
