"""Piano rolls as SVG, with a model's attention drawn as arcs.

A note is a rectangle; louder notes are more opaque. Attention from one token is drawn as an arc for each head and note.
The colour shows the head, the width the weight, summed over the tokens of the note. A strip below shows, for each head,
the weight on tokens without a note (time, velocity, ends of pieces) and on notes without an arc, so that the numbers of
each head (`data-w`) add up to 1. Every file is self-contained and readable on light and dark backgrounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int
from cutaway.errors import UsageError
from cutaway.layout import percent
from cutaway.music.performance import Note, Performance, Reading
from cutaway.music.pitches import pitch_name
from cutaway.music.roll_layout import Point, RollLayout, arc, last_offset, note_title, opacity

MOST_NOTES = 20_000  # per picture
ROW = 6  # pixels per semitone
LEFT = 44  # margin for the names of pitches
TOP = 34
BELOW = 26  # margin for the seconds
STRIP = 16  # height per head
_BLACK = (1, 3, 6, 8, 10)  # pitch classes of the black keys
_REST = "#8a919e"  # weight that is not on an arc

# Every rule names the root's class, so that it does not restyle other pictures in the same page.
STYLE = (
    ".cutaway-roll text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#5a6272}"
    ".cutaway-roll .title{font-size:14px;font-weight:600;fill:#1f2430}.cutaway-roll .paper{fill:#fbfaf8}"
    ".cutaway-roll .black{fill:#eceae5}.cutaway-roll .line{stroke:#d6d3cc}.cutaway-roll .note{fill:#1f3a5f}"
    ".cutaway-roll .query{fill:none;stroke:#c2410c;stroke-width:2}"
    "@media(prefers-color-scheme:dark){.cutaway-roll text{fill:#a3abba}.cutaway-roll .title{fill:#e6e8ee}"
    ".cutaway-roll .paper{fill:#15171c}.cutaway-roll .black{fill:#1d2027}.cutaway-roll .line{stroke:#343944}"
    ".cutaway-roll .note{fill:#9ec1ea}.cutaway-roll .query{stroke:#fb923c}}"
)


def draw_roll(performance: Performance, title: str = "") -> str:
    """Draw the notes of a performance. Raises UsageError if there are too many.

    >>> svg = draw_roll(Performance.of([Note(0.0, 1.0, 60, 80)]), "One note")
    >>> svg.count('class="note"'), 'data-pitch="60"' in svg
    (1, True)
    """
    roll = _Roll(performance.notes)
    return roll.svg(title, [*roll.background(), *roll.notes()], roll.bottom)


@dataclass(frozen=True)
class Attention:
    """Attention from one token, `query`, to itself and earlier tokens: weights (heads, query + 1).

    Each head has a label and a colour.
    """

    query: int
    weights: NDArray[np.floating]
    heads: Sequence[str]
    colours: Sequence[str]


def draw_attention(reading: Reading, attention: Attention, title: str = "", top: int = 30) -> str:
    """Draw the notes of ids, and for each head its `top` strongest arcs from the query token.

    Raises UsageError unless the weights are from one token to all ids up to it.

    >>> from cutaway.music.perf388 import PerformanceCodec
    >>> reading = PerformanceCodec().read([376, 60, 265, 188, 64])
    >>> svg = draw_attention(reading, Attention(4, np.array([[0.1, 0.2, 0.1, 0.3, 0.3]]), ["head 0"], ["#2271b2"]))
    >>> svg.count('class="arc"'), 'data-w="0.500000"' in svg
    (2, True)
    """
    check_int("query", attention.query, 0, len(reading.owners) - 1)
    check_int("top", top, 0)
    if attention.weights.shape != (len(attention.heads), attention.query + 1):
        wanted = (len(attention.heads), attention.query + 1)
        raise UsageError(f"the weights must have the shape {wanted}, not {attention.weights.shape}")
    roll = _Roll(reading.notes)
    marks = [*roll.background(), *roll.notes()]
    asking = reading.owners[attention.query]
    start: Point = roll.layout.x(reading.times[attention.query]), roll.layout.bottom
    if asking >= 0:
        start = roll.layout.onset(reading.notes[asking])
        marks.append(f'<rect class="query" {roll.layout.place(reading.notes[asking])}/>')
    heads = zip(attention.heads, attention.weights, attention.colours, strict=True)
    for head, (label, weights, colour) in enumerate(heads):
        arcs, rest = note_weights(reading, weights, top)
        for note, weight in arcs:
            to = reading.notes[note]
            curve = arc(start, roll.layout.onset(to), weight)
            name = f"{label}: {percent(weight, 1)} to {pitch_name(to.pitch)} at {to.onset:.2f} s"
            marks.append(
                f'<path class="arc" {curve} stroke="{colour}" '
                f'data-head={quoteattr(label)} data-note="{note}" data-w="{weight:.6f}">'
                f"<title>{escape(name)}</title></path>"
            )
        marks += roll.strip(head, label, colour, sum(weight for _, weight in arcs), rest)
    return roll.svg(title, marks, roll.bottom + STRIP * len(attention.heads) + 8)


def note_weights(reading: Reading, weights: NDArray[np.floating], top: int) -> tuple[list[tuple[int, float]], float]:
    """Return the `top` notes with the largest weights, as (note, weight) in descending order, and the remaining weight.

    >>> reading = Reading((Note(0.0, 1.0, 60, 80),), (-1, 0, -1, 0), (0.0, 0.0, 1.0, 1.0))
    >>> note_weights(reading, np.array([0.25, 0.25, 0.125, 0.375]), top=5)
    ([(0, 0.625)], 0.375)
    """
    sums = sum_on_notes(reading, weights)
    order = np.argsort(-sums[:-1], kind="stable")[:top]
    arcs = [(int(note), float(sums[note])) for note in order if sums[note] > 0]
    return arcs, float(sums.sum()) - sum(weight for _, weight in arcs)


def sum_on_notes(reading: Reading, weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sum weights on tokens to weights (..., N + 1) on each of N notes and, last, on all tokens without a note.

    >>> reading = Reading((Note(0.0, 1.0, 60, 80),), (-1, 0, -1, 0), (0.0, 0.0, 1.0, 1.0))
    >>> sum_on_notes(reading, np.array([[0.25, 0.25, 0.125, 0.375]]))
    array([[0.625, 0.375]])
    """
    sums = np.zeros((*weights.shape[:-1], len(reading.notes) + 1))
    owners = np.array(reading.owners[: weights.shape[-1]], np.intp)
    np.add.at(sums.T, owners, weights.T)  # owner -1 (no note) is the last column
    return sums


class _Roll:
    """Draws notes."""

    def __init__(self, notes: Sequence[Note]) -> None:
        if len(notes) > MOST_NOTES:
            raise UsageError(f"{len(notes)} notes are too many for a picture; at most {MOST_NOTES} are drawn")
        self._notes = notes
        self._seconds = last_offset(notes)
        scale = min(60.0, max(4.0, 1200 / self._seconds))
        low = min((note.pitch for note in notes), default=60) - 2
        high = max((note.pitch for note in notes), default=71) + 2
        self.layout = RollLayout(LEFT, TOP, scale, ROW, low, high)
        self.bottom = self.layout.bottom + BELOW
        self._right = self.layout.x(self._seconds)

    def background(self) -> list[str]:
        """Draw the rows of the black keys, the names of the Cs and the seconds."""
        marks = []
        layout = self.layout
        for pitch in range(layout.low, layout.high + 1):
            if pitch % 12 in _BLACK:
                row = f'y="{layout.y(pitch):g}" width="{self._right - LEFT:.1f}" height="{ROW}"'
                marks.append(f'<rect class="black" x="{LEFT}" {row}/>')
            if pitch % 12 == 0:
                name = pitch_name(pitch)
                marks.append(f'<text x="{LEFT - 6}" y="{layout.y(pitch) + ROW:g}" text-anchor="end">{name}</text>')
        for second in layout.ticks(self._seconds):
            x = layout.x(second)
            marks.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{layout.bottom:g}"/>')
            marks.append(f'<text x="{x:.1f}" y="{layout.bottom + 14:g}" text-anchor="middle">{second:g} s</text>')
        return marks

    def notes(self) -> list[str]:
        """Draw a rectangle per note, with the note's description as its title."""
        marks = []
        for note in self._notes:
            data = f'data-pitch="{note.pitch}" data-velocity="{note.velocity}"'
            times = f'data-onset="{note.onset:.3f}" data-offset="{note.offset:.3f}"'
            marks.append(
                f'<rect class="note" {self.layout.place(note)} fill-opacity="{opacity(note):.2f}" {data} {times}>'
                f"<title>{note_title(note)}</title></rect>"
            )
        return marks

    def strip(self, head: int, label: str, colour: str, on_notes: float, rest: float) -> list[str]:
        """Draw the bar of a head: its weight on notes with arcs, and its remaining weight."""
        y = self.bottom + STRIP * head
        length = min(400.0, max(200.0, self._right - LEFT - 260))
        parts = f'y="{y:g}" height="{STRIP - 5}"'
        split = length * on_notes
        return [
            f'<rect class="arcs" x="{LEFT}" {parts} width="{split:.1f}" fill="{colour}"/>',
            (
                f'<rect class="rest" x="{LEFT + split:.1f}" {parts} width="{max(0, length * rest):.1f}" fill="{_REST}" '
                f'data-head={quoteattr(label)} data-w="{rest:.6f}"/>'
            ),
            (
                f'<text x="{LEFT + length + 8:.1f}" y="{y + 10:g}">{escape(label)}: {percent(on_notes, 1)} on arcs, '
                f"{percent(rest, 1)} elsewhere</text>"
            ),
        ]

    def svg(self, title: str, marks: Sequence[str], bottom: float) -> str:
        """Return the SVG file."""
        width = max(self._right + 16, LEFT + 480)
        size = f'viewBox="0 0 {width:.0f} {bottom:.0f}" width="{width:.0f}" height="{bottom:.0f}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="cutaway-roll" role="img" '
            f"aria-label={quoteattr(title)} {size}><style>{STYLE}</style>"
            f'<rect class="paper" width="100%" height="100%"/>'
            f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>{"".join(marks)}</svg>\n'
        )
