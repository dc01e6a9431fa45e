"""Places on a piano roll: a note's rectangle begins at its onset, and written seconds do not touch."""

import pytest

from cutaway.music.performance import Note
from cutaway.music.roll_layout import RollLayout, arc

LAYOUT = RollLayout(left=40, top=10, scale=100, row=8, low=58, high=66)


def test_a_note_begins_at_its_onset_and_lies_in_its_row() -> None:
    note = Note(0.5, 2.0, 60, 80)
    assert LAYOUT.place(note) == 'x="90.0" y="58" width="150.0" height="7" rx="1.5"'
    assert LAYOUT.onset(note) == (90, 62)
    assert LAYOUT.bottom == LAYOUT.y(58) + 8


def test_the_shortest_note_is_seen() -> None:
    assert 'width="1.5"' in LAYOUT.place(Note(0.5, 0.501, 60, 80))


@pytest.mark.parametrize(("scale", "step"), [(100, 0.5), (99, 1), (4, 30), (0.1, 600)])
def test_written_seconds_have_room(scale: float, step: float) -> None:
    layout = RollLayout(left=40, top=10, scale=scale, row=8, low=58, high=66)
    assert list(layout.ticks(2.5 * step)) == [0, step, 2 * step]


def test_an_arc_is_above_both_ends_and_as_wide_as_its_weight() -> None:
    assert 'Q50.0 16.0 100.0 90.0"' in arc((0, 50), (100, 90), 1)
    widths = [arc((0, 50), (100, 90), weight).split('stroke-width="')[1] for weight in (0.0, 0.1, 1.0)]
    assert widths == ['0.40"', '0.90"', '9.00"']
