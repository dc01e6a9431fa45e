"""Canonical grammars: which ids may come next, so that what is generated is what a codec would have written.

A grammar is a state machine that ids advance. For perf388 it allows exactly the sequences that
`PerformanceCodec.encode` can write, piece after piece: a NOTE_ON after every VELOCITY, which changes the one in force;
no TIME_SHIFT after one of less than a second; releases of sounding keys only, before the strikes of the same time, each
in the order of their pitches; an END when all keys are up. For satb16 a piece ends after whole steps.
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
    """A state machine over ids. An id that is not allowed advances it too, as the codec would read it."""

    def allowed(self) -> Allowed:
        """Return True for each id that may come next: (n_vocab,)."""

    def advance(self, index: int) -> None:
        """Take the next id."""


class PerformanceGrammar:
    """The grammar of perf388, at the beginning of a piece."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._sounding = [0] * NOTE_OFF  # notes of each pitch
        self._velocity = -1  # in force; -1: none yet
        self._last = END
        self._released = -1  # the last pitch that was released at this time; -1: none
        self._struck = -1  # the last pitch that was struck at this time; -1: none
        self._struck_with = -1  # and its velocity

    def allowed(self) -> Allowed:
        """Return True for each id that may come next: (389,)."""
        may = np.zeros(perf388.N_VOCAB, np.bool_)
        last = self._last
        if self._velocity >= 0:  # a strike; of one pitch at one time the louder comes later
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
        if self._struck == NOTE_OFF - 1:  # nothing softer can follow on the highest pitch
            may[VELOCITY : VELOCITY + max(0, self._velocity)] = False
        may[END] = NOTE_OFF <= last < TIME_SHIFT and not any(self._sounding)
        return may

    def advance(self, index: int) -> None:
        """Take the next id."""
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
    """The grammar of satb16, at the beginning of a piece."""

    def __init__(self) -> None:
        self._count = 0

    def allowed(self) -> Allowed:
        """Return True for each id that may come next: (48,)."""
        may = np.ones(satb16.N_VOCAB, np.bool_)
        may[satb16.END] = self._count > 0 and self._count % satb16.VOICES == 0
        return may

    def advance(self, index: int) -> None:
        """Take the next id."""
        self._count = 0 if index == satb16.END else self._count + 1


_GRAMMARS: dict[str, Callable[[], Grammar]] = {perf388.NAME: PerformanceGrammar, satb16.NAME: ChoraleGrammar}
_MAX_STATES = 4096  # as many as sequences are generated side by side


def grammar_of(codec: MusicCodec) -> Grammar:
    """Return the grammar of a codec, at the beginning of a piece.

    >>> from cutaway.music.satb16 import ChoraleCodec
    >>> bool(grammar_of(ChoraleCodec()).allowed()[47])
    False
    """
    return _GRAMMARS[codec.name]()


def mask_of(codec: MusicCodec) -> Callable[[Sequence[int]], Allowed]:
    """Return the function that generation asks which ids may follow those so far.

    >>> from cutaway.music.perf388 import PerformanceCodec
    >>> mask = mask_of(PerformanceCodec())
    >>> int(mask([388, 376]).sum()), bool(mask([388, 376, 60])[188])
    (128, False)
    """
    states: dict[tuple[int, ...], Grammar] = {}  # after the ids of the calls before, which the next ones continue

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
    """Count the ids that the grammar did not allow where they stand.

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
