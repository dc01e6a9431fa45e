"""Piano rolls as SVG: notes as rectangles, arcs of heads between them, and a strip for the weight without an arc."""

from collections.abc import Iterator

from cutaway.figures.colours import head_colour, named_colour
from cutaway.figures.panels import Cells, LocalizedText, Roll, localize
from cutaway.figures.render.svg_marks import CHAR, LINE, Fragment, cell_attributes, text_element
from cutaway.music.performance import Note
from cutaway.music.pitches import pitch_name

WIDTH = 820  # pixels of the notes
LEFT = 44  # for the names of pitches
SKY = 64  # above the notes, for arcs
ROW = 8  # pixels of a semitone
WIDEST = 9  # pixels of an arc with the weight 1
STRIP = 320  # pixels of a head's weights


def draw_roll(roll: Roll, language: str) -> Fragment:
    """Render the notes, and below them for each head how much of its weight is on arcs.

    >>> draw_roll(Roll("one note", [Note(0.0, 1.0, 60, 80)]), "en").markup.count("<rect")
    1
    """
    page = _Page(roll)
    marks = [*page.lines(), *page.notes()]
    height = page.bottom + LINE + 6
    if roll.cells is not None:
        marks += page.arcs(roll.cells, language)
        marks += _strips(roll.cells, language, height)
        height += LINE * len(roll.cells.values)
    return Fragment("".join(marks), LEFT + WIDTH + 4, height)


class _Page:
    """The places of times and pitches."""

    def __init__(self, roll: Roll) -> None:
        self._roll = roll
        self._end = max((note.offset for note in roll.notes), default=1.0)
        self._high = max((note.pitch for note in roll.notes), default=60) + 1
        low = min((note.pitch for note in roll.notes), default=60) - 1
        self._top = SKY if roll.cells is not None else 0
        self.bottom = self._top + ROW * (self._high - low + 1)

    def x(self, seconds: float) -> float:
        return LEFT + WIDTH * min(seconds, self._end) / self._end

    def onset(self, note: Note) -> tuple[float, float]:
        """Return the point at which a note begins."""
        return self.x(note.onset), self._top + ROW * (self._high - note.pitch) + ROW / 2

    def lines(self) -> Iterator[str]:
        """Yield the seconds, and the names of the pitches that sound, as far as there is room."""
        step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 600, 7200) if WIDTH * step / self._end >= 50)
        for number in range(int(self._end / step) + 1):
            x = self.x(number * step)
            yield f'<path class="frame" opacity="0.3" d="M{x:.1f} {self._top}V{self.bottom}"/>'
            yield text_element(x, self.bottom + 14, f"{number * step:g} s", "quiet", "middle")
        written = -99.0
        for pitch in sorted({note.pitch for note in self._roll.notes}, reverse=True):
            y = self._top + ROW * (self._high - pitch) + ROW
            if y - written >= 12:
                yield text_element(LEFT - 6, y, pitch_name(pitch), "quiet", "end")
                written = y

    def notes(self) -> Iterator[str]:
        """Yield a rectangle a note, the louder the more opaque; that of the token that is read has a frame."""
        for i, note in enumerate(self._roll.notes):
            x, y = self.onset(note)
            size = f'width="{max(1.5, self.x(note.offset) - x):.1f}" height="{ROW - 1}"'
            frame = f' stroke="{named_colour("score")}" stroke-width="2"' if i == self._roll.query else ""
            data = f'data-pitch="{note.pitch}" data-onset="{note.onset:g}" data-velocity="{note.velocity}"'
            yield (
                f'<rect class="note" x="{x:.1f}" y="{y - ROW / 2:.1f}" {size} fill="{named_colour("token")}" '
                f'fill-opacity="{0.25 + 0.75 * note.velocity / 127:.2f}"{frame} {data}>'
                f"<title>{_name(note)}</title></rect>"
            )

    def arcs(self, cells: Cells, language: str) -> Iterator[str]:
        """Yield a curve for each head and note: its colour is the head, its width the weight."""
        roll = self._roll
        start = self.onset(roll.notes[roll.query]) if roll.query >= 0 else (self.x(roll.seconds), float(self.bottom))
        for head, row in enumerate(cells.values):
            for column, target in enumerate(roll.targets):
                weight = float(row[column])
                if weight <= 0:
                    continue
                x, y = self.onset(roll.notes[target])
                height = min(y, start[1]) - 14 - min(60.0, abs(x - start[0]) / 5)
                path = f"M{start[0]:.1f} {start[1]:.1f}Q{(x + start[0]) / 2:.1f} {height:.1f} {x:.1f} {y:.1f}"
                said = LocalizedText(f"head {head}: {weight:.3f} to ", f"头 {head}：{weight:.3f}，看向 ")
                yield (
                    f'<path class="arc" d="{path}" fill="none" stroke="{head_colour(head)}" stroke-opacity="0.75" '
                    f'stroke-width="{0.3 + WIDEST * weight:.2f}" {cell_attributes(cells, head, column)}>'
                    f"<title>{localize(said, language)}{_name(roll.notes[target])}</title></path>"
                )


def _strips(cells: Cells, language: str, top: float) -> Iterator[str]:
    for head, row in enumerate(cells.values):
        y = top + LINE * head
        arcs = float(row[:-1].sum())
        rest = float(row[-1])
        said = LocalizedText(f"{arcs:.3f} on arcs, {rest:.3f} elsewhere", f"弧线 {arcs:.3f}，别处 {rest:.3f}")
        name = localize(LocalizedText(f"head {head}", f"头 {head}"), language)
        split = 9 * CHAR + STRIP * arcs
        yield text_element(0, y + 12, name, "quiet")
        colour = head_colour(head)
        yield f'<rect x="{9 * CHAR:g}" y="{y + 3:g}" width="{STRIP * arcs:.1f}" height="10" fill="{colour}"/>'
        yield (
            f'<rect class="rest" x="{split:.1f}" y="{y + 3:g}" width="{STRIP * rest:.1f}" height="10" '
            f'fill="{named_colour("plain")}" {cell_attributes(cells, head, len(row) - 1)}/>'
        )
        yield text_element(9 * CHAR + STRIP + 8, y + 12, localize(said, language), "quiet")


def _name(note: Note) -> str:
    return f"{pitch_name(note.pitch)}, {note.onset:.2f}–{note.offset:.2f} s, {note.velocity}"
