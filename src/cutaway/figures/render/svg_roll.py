"""Piano rolls as SVG: notes as rectangles, arcs of heads between them, and a strip with each head's weight on arcs."""

from collections.abc import Iterator

from cutaway.figures.colours import head_colour, named_colour
from cutaway.figures.panels import Cells, LocalizedText, Roll, localize
from cutaway.figures.render.svg_marks import CHAR, LINE, Fragment, cell_attributes, text_element
from cutaway.layout import percent
from cutaway.music.pitches import pitch_name
from cutaway.music.roll_layout import Point, RollLayout, arc, last_offset, note_title, opacity

WIDTH = 820  # pixels of the notes
LEFT = 44  # for pitch names
SKY = 64  # above the notes, for arcs
ROW = 8  # pixels per semitone
STRIP = 320  # pixels of a head's total weight


def draw_roll(roll: Roll, language: str) -> Fragment:
    """Render the notes, and below them the share of each head's weight that is on arcs.

    >>> from cutaway.music.performance import Note
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
    """The marks of a roll, without the strips below it."""

    def __init__(self, roll: Roll) -> None:
        self._roll = roll
        self._end = last_offset(roll.notes)
        high = max((note.pitch for note in roll.notes), default=60) + 1
        low = min((note.pitch for note in roll.notes), default=60) - 1
        top = SKY if roll.cells is not None else 0
        self._layout = RollLayout(LEFT, top, WIDTH / self._end, ROW, low, high)
        self.bottom = self._layout.bottom

    def lines(self) -> Iterator[str]:
        """Yield the time axis, and the names of the pitches that occur, as far as there is room."""
        for second in self._layout.ticks(self._end):
            x = self._layout.x(second)
            yield f'<path class="frame" opacity="0.3" d="M{x:.1f} {self._layout.top}V{self.bottom}"/>'
            yield text_element(x, self.bottom + 14, f"{second:g} s", "quiet", "middle")
        written = -99.0
        for pitch in sorted({note.pitch for note in self._roll.notes}, reverse=True):
            y = self._layout.y(pitch) + ROW
            if y - written >= 12:
                yield text_element(LEFT - 6, y, pitch_name(pitch), "quiet", "end")
                written = y

    def notes(self) -> Iterator[str]:
        """Yield a rectangle for each note. Louder notes are more opaque, and the query's note has a frame."""
        for i, note in enumerate(self._roll.notes):
            frame = f' stroke="{named_colour("score")}" stroke-width="2"' if i == self._roll.query else ""
            data = f'data-pitch="{note.pitch}" data-onset="{note.onset:g}" data-velocity="{note.velocity}"'
            yield (
                f'<rect class="note" {self._layout.place(note)} fill="{named_colour("token")}" '
                f'fill-opacity="{opacity(note):.2f}"{frame} {data}><title>{note_title(note)}</title></rect>'
            )

    def arcs(self, cells: Cells, language: str) -> Iterator[str]:
        """Yield a curve for each head and note; its colour shows the head, its width the weight."""
        roll = self._roll
        start: Point = self._layout.x(min(roll.seconds, self._end)), self.bottom
        if roll.query >= 0:
            start = self._layout.onset(roll.notes[roll.query])
        for head, row in enumerate(cells.values):
            for column, target in enumerate(roll.targets):
                weight = float(row[column])
                if weight <= 0:
                    continue
                note = roll.notes[target]
                shown = percent(weight, 1)
                said = LocalizedText(f"head {head}: {shown} to ", f"头 {head}：{shown}，看向 ")
                yield (
                    f'<path class="arc" {arc(start, self._layout.onset(note), weight)} stroke="{head_colour(head)}" '
                    f"{cell_attributes(cells, head, column)}>"
                    f"<title>{localize(said, language)}{note_title(note)}</title></path>"
                )


def _strips(cells: Cells, language: str, top: float) -> Iterator[str]:
    for head, row in enumerate(cells.values):
        y = top + LINE * head
        arcs = float(row[:-1].sum())
        rest = float(row[-1])
        on_arcs, elsewhere = (percent(share, 1) for share in (arcs, rest))
        said = LocalizedText(f"{on_arcs} on arcs, {elsewhere} elsewhere", f"弧线 {on_arcs}，别处 {elsewhere}")
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
