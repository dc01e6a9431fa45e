"""Canonical grammars: which ids may come next, so that a generated sequence is one that the codec could produce.

A grammar is a state machine over ids. For perf388 it allows exactly the sequences that `PerformanceCodec.encode` can
produce, piece after piece. A VELOCITY must change the current velocity, and a NOTE_ON must follow it. No TIME_SHIFT
follows one of less than a second. Only sounding keys are released. At one time releases come before strikes, each in
order of pitch. END is allowed when all keys are up. For satb16 a piece ends after a complete step.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cutaway.music import perf388, satb16
from cutaway.music.codecs import MusicCodec
from cutaway.music.perf388 import END, NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY

Allowed = NDArray[np.bool_]


class Grammar(Protocol):
    """A state machine over ids. A disallowed id also advances it, as the codec would decode it."""

    def allowed(self) -> Allowed:
        """Return True for each id that may come next: (n_vocab,)."""

    def advance(self, index: int) -> None:
        """Advance the state by an id."""


class PerformanceGrammar:
    """The grammar of perf388. It starts at the beginning of a piece."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._sounding = [0] * NOTE_OFF  # number of sounding notes by pitch
        self._velocity = -1  # current velocity; -1: none yet
        self._last = END
        self._released = -1  # last pitch released at this time; -1: none
        self._struck = -1  # last pitch struck at this time; -1: none
        self._struck_with = -1  # velocity of that note

    def allowed(self) -> Allowed:
        """Return True for each id that may come next: (389,)."""
        may = np.zeros(perf388.N_VOCAB, np.bool_)
        last = self._last
        if self._velocity >= 0:  # a strike; at one time and pitch the louder note comes later
            equal = 0 if self._struck < 0 or self._velocity >= self._struck_with else 1
            may[NOTE_ON + max(0, self._struck + equal) : NOTE_OFF] = True
        if VELOCITY <= last < END:
            return may
        if self._struck < 0:
            sounding = np.array(self._sounding[max(0, self._released) :], np.bool_)
            may[TIME_SHIFT - len(sounding) : TIME_SHIFT] = sounding
        if not TIME_SHIFT <= last < VELOCITY - 1:
            may[TIME_SHIFT:VELOCITY] = True
        may[VELOCITY:END] = True
        if self._velocity >= 0:
            may[VELOCITY + self._velocity] = False
        if self._struck == NOTE_OFF - 1:  # no softer note can follow on the highest pitch
            may[VELOCITY : VELOCITY + max(0, self._velocity)] = False
        may[END] = NOTE_OFF <= last < TIME_SHIFT and not any(self._sounding)
        return may

    def advance(self, index: int) -> None:
        """Advance the state by an id."""
        if index == END:
            self._start()
            return
        self._last = index
        if NOTE_ON <= index < NOTE_OFF:
            self._sounding[index] += 1
            self._struck = index
            self._struck_with = self._velocity
        elif NOTE_OFF <= index < TIME_SHIFT:
            self._released = index - NOTE_OFF
            self._sounding[self._released] = max(0, self._sounding[self._released] - 1)
        elif TIME_SHIFT <= index < VELOCITY:
            self._released = -1
            self._struck = -1
        elif VELOCITY <= index < END:
            self._velocity = index - VELOCITY


class ChoraleGrammar:
    """The grammar of satb16. It starts at the beginning of a piece."""

    def __init__(self) -> None:
        self._count = 0

    def allowed(self) -> Allowed:
        """Return True for each id that may come next: (48,)."""
        may = np.ones(satb16.N_VOCAB, np.bool_)
        may[satb16.END] = self._count > 0 and self._count % satb16.VOICES == 0
        return may

    def advance(self, index: int) -> None:
        """Advance the state by an id."""
        self._count = 0 if index == satb16.END else self._count + 1


_GRAMMARS: dict[str, Callable[[], Grammar]] = {perf388.NAME: PerformanceGrammar, satb16.NAME: ChoraleGrammar}
_MAX_STATES = 4096  # enough for the sequences of a batch


def grammar_of(codec: MusicCodec) -> Grammar:
    """Return a codec's grammar in its state at the beginning of a piece.

    >>> from cutaway.music.satb16 import ChoraleCodec
    >>> bool(grammar_of(ChoraleCodec()).allowed()[47])
    False
    """
    return _GRAMMARS[codec.name]()


def mask_of(codec: MusicCodec) -> Callable[[Sequence[int]], Allowed]:
    """Return the function that maps the ids so far to the mask of allowed next ids.

    >>> from cutaway.music.perf388 import PerformanceCodec
    >>> mask = mask_of(PerformanceCodec())
    >>> int(mask([388, 376]).sum()), bool(mask([388, 376, 60])[188])
    (128, False)
    """
    states: dict[tuple[int, ...], Grammar] = {}  # by the ids of earlier calls, which later calls extend

    def mask(ids: Sequence[int]) -> Allowed:
        given = tuple(ids)
        grammar = states.pop(given[:-1], None)
        if grammar is None:
            grammar = grammar_of(codec)
            for index in given[:-1]:
                grammar.advance(index)
        for index in given[-1:]:
            grammar.advance(index)
        if len(states) >= _MAX_STATES:
            states.clear()
        states[given] = grammar
        return grammar.allowed()

    return mask


def count_illegal(codec: MusicCodec, ids: Iterable[int]) -> int:
    """Count the ids that the grammar does not allow at their position.

    >>> from cutaway.music.perf388 import PerformanceCodec
    >>> count_illegal(PerformanceCodec(), [376, 60, 265, 188, 188])
    1
    """
    grammar = grammar_of(codec)
    count = 0
    for index in ids:
        may = grammar.allowed()
        count += not (0 <= index < len(may) and may[index])
        grammar.advance(index)
    return count
