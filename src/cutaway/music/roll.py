"""Piano rolls as SVG, and what a model looks at as arcs on them.

A note is a rectangle, the louder the more opaque. Attention from one token is drawn as an arc for each head and note:
its colour is the head, its width the weight, which is the sum over the tokens of the note. What falls on tokens without
a note (time, velocity, the ends of pieces) and on notes that have no arc is on a strip below, head by head, so that the
numbers of each head (`data-w`) add up to 1. Every file stands alone and is readable on light and on dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int
from cutaway.errors import UsageError
from cutaway.music.performance import Note, Performance, Reading
from cutaway.music.pitches import pitch_name

MOST_NOTES = 20_000  # of a picture
ROW = 6  # pixels of a semitone
LEFT = 44  # of the roll: names of pitches stand before it
TOP = 34
BELOW = 26  # for the seconds
STRIP = 16  # of a head
WIDEST_ARC = 9  # pixels of the weight 1
_BLACK = (1, 3, 6, 8, 10)  # pitch classes of the black keys
# Of heads, distinct for most colour-blind readers.
COLOURS = ("#2271b2", "#d55e00", "#2c8a57", "#b0418f", "#7a6a00", "#6b5bb5", "#0f8b8d", "#a3262c")
_REST = "#8a919e"  # what is on the strip

# Every rule names the root's class, or it would restyle other pictures of the page that the file is put into.
STYLE = (
    ".cutaway-roll text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#5a6272}"
    ".cutaway-roll .title{font-size:14px;font-weight:600;fill:#1f2430}.cutaway-roll .paper{fill:#fbfaf8}"
    ".cutaway-roll .black{fill:#eceae5}.cutaway-roll .line{stroke:#d6d3cc}.cutaway-roll .note{fill:#1f3a5f}"
    ".cutaway-roll .query{fill:none;stroke:#c2410c;stroke-width:2}.cutaway-roll .arc{fill:none;stroke-opacity:.75}"
    "@media(prefers-color-scheme:dark){.cutaway-roll text{fill:#a3abba}.cutaway-roll .title{fill:#e6e8ee}"
    ".cutaway-roll .paper{fill:#15171c}.cutaway-roll .black{fill:#1d2027}.cutaway-roll .line{stroke:#343944}"
    ".cutaway-roll .note{fill:#9ec1ea}.cutaway-roll .query{stroke:#fb923c}}"
)


def draw_roll(performance: Performance, title: str = "") -> str:
    """Draw the notes of a performance. Raises UsageError for too many.

    >>> svg = draw_roll(Performance.of([Note(0.0, 1.0, 60, 80)]), "One note")
    >>> svg.count('class="note"'), 'data-pitch="60"' in svg
    (1, True)
    """
    roll = _Roll(performance.notes)
    return roll.svg(title, [*roll.background(), *roll.notes()], roll.bottom)


@dataclass(frozen=True)
class Attention:
    """Attention of one token, `query`, to those before it and itself: weights (heads, query + 1), a label a head."""

    query: int
    weights: NDArray[np.floating]
    heads: Sequence[str]


def draw_attention(reading: Reading, attention: Attention, title: str = "", top: int = 30) -> str:
    """Draw the notes of ids, and for each head its `top` strongest arcs from the token that asks.

    Raises UsageError unless the weights are those of one token for all ids up to it.

    >>> from cutaway.music.perf388 import PerformanceCodec
    >>> reading = PerformanceCodec().read([376, 60, 265, 188, 64])
    >>> svg = draw_attention(reading, Attention(4, np.array([[0.1, 0.2, 0.1, 0.3, 0.3]]), ["head 0"]))
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
    x = roll.x(reading.times[attention.query])
    y = float(roll.bottom - BELOW)
    if asking >= 0:
        x, y = roll.onset(reading.notes[asking])
        marks.append(f'<rect class="query" {roll.place(reading.notes[asking])}/>')
    for head, (label, weights) in enumerate(zip(attention.heads, attention.weights, strict=True)):
        colour = COLOURS[head % len(COLOURS)]
        arcs, rest = note_weights(reading, weights, top)
        for note, weight in arcs:
            x_to, y_to = roll.onset(reading.notes[note])
            height = min(y, y_to) - 12 - min(60.0, abs(x - x_to) / 4)
            path = f"M{x:.1f} {y:.1f}Q{(x + x_to) / 2:.1f} {height:.1f} {x_to:.1f} {y_to:.1f}"
            name = (
                f"{label}: {weight:.3f} to {pitch_name(reading.notes[note].pitch)} at {reading.notes[note].onset:.2f} s"
            )
            width = max(0.4, WIDEST_ARC * weight)
            marks.append(
                f'<path class="arc" d="{path}" stroke="{colour}" stroke-width="{width:.2f}" '
                f'data-head={quoteattr(label)} data-note="{note}" data-w="{weight:.6f}">'
                f"<title>{escape(name)}</title></path>"
            )
        marks += roll.strip(head, label, colour, sum(weight for _, weight in arcs), rest)
    return roll.svg(title, marks, roll.bottom + STRIP * len(attention.heads) + 8)


def note_weights(reading: Reading, weights: NDArray[np.floating], top: int) -> tuple[list[tuple[int, float]], float]:
    """Return the `top` notes with the most weight, as (note, weight), most first, and the weight of all the rest.

    >>> reading = Reading((Note(0.0, 1.0, 60, 80),), (-1, 0, -1, 0), (0.0, 0.0, 1.0, 1.0))
    >>> note_weights(reading, np.array([0.25, 0.25, 0.125, 0.375]), top=5)
    ([(0, 0.625)], 0.375)
    """
    sums = np.zeros(len(reading.notes) + 1)
    np.add.at(sums, np.array(reading.owners[: len(weights)], np.intp), weights)  # -1 is the last: no note
    order = np.argsort(-sums[:-1], kind="stable")[:top]
    arcs = [(int(note), float(sums[note])) for note in order if sums[note] > 0]
    return arcs, float(sums.sum()) - sum(weight for _, weight in arcs)


class _Roll:
    """The drawing of notes, and the places of times and pitches in it."""

    def __init__(self, notes: Sequence[Note]) -> None:
        if len(notes) > MOST_NOTES:
            raise UsageError(f"{len(notes)} notes are too many for a picture; at most {MOST_NOTES} are drawn")
        self._notes = notes
        self._seconds = max((note.offset for note in notes), default=1.0)
        self._scale = min(60.0, max(4.0, 1200 / self._seconds))  # pixels a second
        self._low = min((note.pitch for note in notes), default=60) - 2
        self._high = max((note.pitch for note in notes), default=71) + 2
        self.bottom = TOP + ROW * (self._high - self._low + 1) + BELOW
        self._right = LEFT + self._scale * self._seconds

    def x(self, seconds: float) -> float:
        return LEFT + self._scale * seconds

    def y(self, pitch: int) -> float:
        """Return the upper edge of a pitch."""
        return TOP + ROW * (self._high - pitch)

    def onset(self, note: Note) -> tuple[float, float]:
        """Return the point at which a note begins."""
        return self.x(note.onset), self.y(note.pitch) + ROW / 2

    def place(self, note: Note) -> str:
        """Return the attributes of the rectangle of a note."""
        width = max(1.5, self._scale * (note.offset - note.onset))
        return f'x="{self.x(note.onset):.1f}" y="{self.y(note.pitch)}" width="{width:.1f}" height="{ROW - 1}" rx="1.5"'

    def background(self) -> list[str]:
        """Return the rows of the black keys, the names of the Cs and the seconds."""
        marks = []
        for pitch in range(self._low, self._high + 1):
            if pitch % 12 in _BLACK:
                row = f'y="{self.y(pitch)}" width="{self._right - LEFT:.1f}" height="{ROW}"'
                marks.append(f'<rect class="black" x="{LEFT}" {row}/>')
            if pitch % 12 == 0:
                marks.append(
                    f'<text x="{LEFT - 6}" y="{self.y(pitch) + ROW}" text-anchor="end">{pitch_name(pitch)}</text>'
                )
        step = next(step for step in (1, 2, 5, 10, 30) if step * self._scale >= 50)
        end = self.bottom - BELOW
        for second in range(0, int(self._seconds) + 1, step):
            x = self.x(second)
            marks.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{end}"/>')
            marks.append(f'<text x="{x:.1f}" y="{end + 14}" text-anchor="middle">{second} s</text>')
        return marks

    def notes(self) -> list[str]:
        """Return a rectangle a note, with what it is."""
        marks = []
        for note in self._notes:
            data = f'data-pitch="{note.pitch}" data-velocity="{note.velocity}"'
            times = f'data-onset="{note.onset:.3f}" data-offset="{note.offset:.3f}"'
            opacity = 0.25 + 0.75 * note.velocity / 127
            name = f"{pitch_name(note.pitch)}, {note.onset:.2f} to {note.offset:.2f} s, velocity {note.velocity}"
            marks.append(
                f'<rect class="note" {self.place(note)} fill-opacity="{opacity:.2f}" {data} {times}>'
                f"<title>{name}</title></rect>"
            )
        return marks

    def strip(self, head: int, label: str, colour: str, on_notes: float, rest: float) -> list[str]:
        """Return the bar of a head: its weight on the notes with arcs, and on all else."""
        y = self.bottom + STRIP * head
        length = min(400.0, max(200.0, self._right - LEFT - 260))
        parts = f'y="{y}" height="{STRIP - 5}"'
        split = length * on_notes
        return [
            f'<rect class="arcs" x="{LEFT}" {parts} width="{split:.1f}" fill="{colour}"/>',
            (
                f'<rect class="rest" x="{LEFT + split:.1f}" {parts} width="{max(0, length * rest):.1f}" fill="{_REST}" '
                f'data-head={quoteattr(label)} data-w="{rest:.6f}"/>'
            ),
            (
                f'<text x="{LEFT + length + 8:.1f}" y="{y + 10}">{escape(label)}: {on_notes:.3f} on arcs, '
                f"{rest:.3f} elsewhere</text>"
            ),
        ]

    def svg(self, title: str, marks: Sequence[str], bottom: float) -> str:
        """Return the whole file."""
        width = max(self._right + 16, LEFT + 480)
        size = f'viewBox="0 0 {width:.0f} {bottom:.0f}" width="{width:.0f}" height="{bottom:.0f}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="cutaway-roll" role="img" '
            f"aria-label={quoteattr(title)} {size}><style>{STYLE}</style>"
            f'<rect class="paper" width="100%" height="100%"/>'
            f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>{"".join(marks)}</svg>\n'
        )
