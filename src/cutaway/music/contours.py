"""Triangular contours: scales that repeatedly climb to a peak and fall again, as in the article's picture.

There a head attends from a late peak to the earlier ones. To measure whether a trained model has such a head on
contours that it has not seen, one in five combinations of key, height and tempo is held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int
from cutaway.errors import UsageError
from cutaway.music.performance import Note, Performance

MAJOR = (0, 2, 4, 5, 7, 9, 11)
HEIGHTS = range(3, 8)  # steps of the scale from the lowest note to a peak
TICKS = range(8, 31)  # hundredths of a second from one note to the next
TONICS = range(48, 72)


@dataclass(frozen=True)
class Contour:
    """A contour: the pitch of its lowest note, its height in steps of the scale, and hundredths of a second per note.

    >>> Contour(tonic=60, height=3, ticks=10).pitches(8)
    [60, 62, 64, 65, 64, 62, 60, 62]
    """

    tonic: int
    height: int
    ticks: int

    @property
    def period(self) -> int:
        """Number of notes from one peak to the next."""
        return 2 * self.height

    @property
    def is_held_out(self) -> bool:
        """True for one in five contours, which must not be trained on."""
        return (self.tonic + 2 * self.height + 3 * self.ticks) % 5 == 0

    def pitches(self, count: int) -> list[int]:
        """Return the pitches of the first `count` notes."""
        steps = [self.height - abs(self.height - i % self.period) for i in range(count)]
        return [self.tonic + 12 * (step // 7) + MAJOR[step % 7] for step in steps]

    def peaks(self, count: int) -> list[int]:
        """Return the indices of the peaks among the first `count` notes.

        >>> Contour(tonic=60, height=3, ticks=10).peaks(16)
        [3, 9, 15]
        """
        return list(range(self.height, count, self.period))

    def performance(self, count: int, velocity: int = 80) -> Performance:
        """Return a performance of the first `count` notes, one after the other.

        >>> Contour(tonic=60, height=3, ticks=10).performance(7).seconds
        0.7
        """
        times = [i * self.ticks / 100 for i in range(count + 1)]
        return Performance.of(
            Note(times[i], times[i + 1], pitch, velocity) for i, pitch in enumerate(self.pitches(count))
        )


def draw_contour(rng: np.random.Generator, *, held_out: bool) -> Contour:
    """Draw a random contour from the training set or from the held-out set.

    >>> draw_contour(np.random.default_rng(1), held_out=True).is_held_out
    True
    """
    while True:
        contour = Contour(*(int(rng.choice(part)) for part in (TONICS, HEIGHTS, TICKS)))
        if contour.is_held_out == held_out:
            return contour


def peak_focus(weights: NDArray[np.floating], owners: Sequence[int], peaks: Sequence[int]) -> float:
    """Return the share of a token's attention on earlier peaks, as a multiple of chance.

    `weights` (T,) are the attention weights of the last of T tokens, `owners` the note of each token, and `peaks` the
    notes that are peaks. The query's own note does not count. The focus is the peaks' share of the weights on earlier
    notes; chance is their share of the tokens of earlier notes. Raises UsageError if no earlier peak has a token.

    >>> peak_focus(np.array([0.1, 0.6, 0.1, 0.2]), [0, 1, 2, 3], peaks=[1, 3])
    2.25
    """
    check_int("the number of weights", len(weights), 1, len(owners))
    asking = owners[len(weights) - 1]
    mine = np.array(owners[: len(weights)])
    is_note = (mine >= 0) & (mine != asking)
    is_peak = is_note & np.isin(mine, peaks)
    if not is_peak.any():
        raise UsageError("there is no peak before the note that asks")
    total = float(weights[is_note].sum())
    share = float(weights[is_peak].sum()) / total if total else 0.0
    return round(share * float(is_note.sum()) / float(is_peak.sum()), 9)


def head_focus(
    attention: NDArray[np.floating], owners: Sequence[int], peaks: Sequence[int], queries: Sequence[int]
) -> NDArray[np.float64]:
    """Return the mean focus of each head (heads,) from the tokens at `queries`, given attention (heads, T, T).

    >>> attention = np.array([[[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.6, 0.2, 0], [0.1, 0.6, 0.1, 0.2]]])
    >>> head_focus(attention, [0, 1, 2, 3], peaks=[1, 3], queries=[3]).tolist()
    [2.25]
    """
    focus = [[peak_focus(head[query, : query + 1], owners, peaks) for query in queries] for head in attention]
    return np.asarray(np.mean(focus, axis=1), np.float64)
