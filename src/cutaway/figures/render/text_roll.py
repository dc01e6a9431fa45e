"""Piano rolls in a terminal: a line for each pitch, darker for louder notes, and below what each head attends to."""

from collections.abc import Iterator

import numpy as np

from cutaway.figures.panels import Cells, LocalizedText, Roll, localize
from cutaway.layout import percent
from cutaway.music.pitches import pitch_name
from cutaway.music.roll_layout import last_offset

LOUDNESS = "░▒▓█"
LABELS = 6  # columns before the notes
LISTED = 5  # notes listed for each head
QUERY = "◆"  # marks the onset of the query's note


def draw_roll(roll: Roll, language: str, columns: int) -> Iterator[str]:
    """Yield a line for each pitch that occurs, highest first, the time axis, and the largest weights of each head.

    >>> from cutaway.music.performance import Note
    >>> for line in draw_roll(Roll("one note", [Note(0.0, 1.0, 60, 80), Note(0.5, 1.0, 64, 80)]), "en", columns=14):
    ...     print(line)
    E4        ▓▓▓▓
    C4    ▓▓▓▓▓▓▓▓
          0 s  1 s
    """
    end = last_offset(roll.notes)
    room = max(8, columns - LABELS)
    for pitch in sorted({note.pitch for note in roll.notes}, reverse=True):
        line = [" "] * room
        for i, note in enumerate(roll.notes):
            if note.pitch != pitch:
                continue
            first = min(room - 1, int(room * note.onset / end))
            last = max(first + 1, round(room * note.offset / end))
            line[first:last] = [LOUDNESS[note.velocity * len(LOUDNESS) // 128]] * (min(room, last) - first)
            if i == roll.query:
                line[first] = QUERY
        yield f"{pitch_name(pitch):<{LABELS}}{''.join(line)}".rstrip()
    last_second = f"{end:.3g} s"
    yield f"{'':{LABELS}}{'0 s':<{room - len(last_second)}}{last_second}"
    if roll.cells is not None:
        yield from _heads(roll, roll.cells, language)


def _heads(roll: Roll, cells: Cells, language: str) -> Iterator[str]:
    names = [f"{pitch_name(roll.notes[i].pitch)} {roll.notes[i].onset:.2f} s" for i in roll.targets]
    for head, row in enumerate(cells.values):
        order = [int(i) for i in np.argsort(-row[:-1], kind="stable")[:LISTED] if row[i] > 0]
        said = [f"{percent(row[i], 1)} {names[i]}" for i in order]
        rest = percent(float(row.sum() - row[order].sum()), 1)
        name = localize(LocalizedText(f"head {head}", f"头 {head}"), language)
        elsewhere = localize(LocalizedText(f"{rest} elsewhere", f"别处 {rest}"), language)
        colon, comma = ("：", "，") if language == "zh" else (": ", ", ")
        yield name + colon + comma.join([*said, elsewhere])
