"""Layout of a piano roll, and the appearance of its notes and arcs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cutaway.music.performance import Note
from cutaway.music.pitches import pitch_name

Point = tuple[float, float]  # x and y in pixels; y grows downwards

MIN_WIDTH = 1.5  # pixels; width of the shortest note
MIN_TICK = 50  # pixels between labelled seconds, at least
STEPS = (0.5, 1, 2, 5, 10, 30, 60, 600, 7200)  # possible intervals of labels, in seconds
WIDEST_ARC = 9  # pixels; width of an arc of weight 1


def last_offset(notes: Sequence[Note]) -> float:
    """Return the time in seconds at which a roll ends; 1 if there are no notes.

    >>> last_offset([Note(0.0, 2.0, 60, 80), Note(0.5, 1.0, 64, 80)]), last_offset([])
    (2.0, 1.0)
    """
    return max((note.offset for note in notes), default=1.0)


@dataclass(frozen=True)
class RollLayout:
    """Maps times and pitches to pixels. The upper left corner is second 0 of the pitch `high`.

    `scale` is pixels per second, `row` pixels per semitone.
    """

    left: float
    top: float
    scale: float
    row: float
    low: int
    high: int

    @property
    def bottom(self) -> float:
        """The lower edge of the lowest pitch."""
        return self.top + self.row * (self.high - self.low + 1)

    def x(self, seconds: float) -> float:
        """Return the x coordinate of a time."""
        return self.left + self.scale * seconds

    def y(self, pitch: int) -> float:
        """Return the y coordinate of a pitch's upper edge."""
        return self.top + self.row * (self.high - pitch)

    def onset(self, note: Note) -> Point:
        """Return the point at which a note begins."""
        return self.x(note.onset), self.y(note.pitch) + self.row / 2

    def place(self, note: Note) -> str:
        """Return the attributes of a note's rectangle."""
        width = max(MIN_WIDTH, self.scale * (note.offset - note.onset))
        x = self.x(note.onset)
        return f'x="{x:.1f}" y="{self.y(note.pitch):g}" width="{width:.1f}" height="{self.row - 1:g}" rx="1.5"'

    def ticks(self, seconds: float) -> Iterator[float]:
        """Yield the seconds to label, from 0 on, far enough apart for the labels to fit."""
        step = next(step for step in STEPS if step * self.scale >= MIN_TICK)
        yield from (number * step for number in range(int(seconds / step) + 1))


def opacity(note: Note) -> float:
    """Return the opacity of a note; louder notes are more opaque.

    >>> opacity(Note(0.0, 1.0, 60, 0)), opacity(Note(0.0, 1.0, 60, 127))
    (0.25, 1.0)
    """
    return 0.25 + 0.75 * note.velocity / 127


def note_title(note: Note) -> str:
    """Describe a note in words.

    >>> note_title(Note(0.0, 1.5, 60, 80))
    'C4, 0.00–1.50 s, 80'
    """
    return f"{pitch_name(note.pitch)}, {note.onset:.2f}–{note.offset:.2f} s, {note.velocity}"


def arc(start: Point, end: Point, weight: float) -> str:
    """Return the attributes of a curve above two points, whose width is proportional to the weight.

    >>> arc((0, 50), (100, 40), 0.5)
    'd="M0.0 50.0Q50.0 6.0 100.0 40.0" fill="none" stroke-opacity="0.75" stroke-width="4.50"'
    """
    x, y = start
    to_x, to_y = end
    height = min(y, to_y) - 14 - min(60.0, abs(x - to_x) / 5)
    path = f"M{x:.1f} {y:.1f}Q{(x + to_x) / 2:.1f} {height:.1f} {to_x:.1f} {to_y:.1f}"
    return f'd="{path}" fill="none" stroke-opacity="0.75" stroke-width="{max(0.4, WIDEST_ARC * weight):.2f}"'
