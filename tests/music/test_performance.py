"""Performances: notes from MIDI files with the pedal applied, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import UsageError
from cutaway.music.midi import Message, MidiFile, Track
from cutaway.music.performance import HIGHEST, LOWEST, Note, Performance


@st.composite
def performances(draw: st.DrawFn, grid: int = 1000) -> Performance:
    """Notes on a grid of so many steps a second."""
    notes = []
    for _ in range(draw(st.integers(0, 12))):
        onset = draw(st.integers(0, 4 * grid))
        length = draw(st.integers(1, 2 * grid))
        pitch = draw(st.sampled_from([21, 60, 61, 64, 108]))
        notes.append(Note(onset / grid, (onset + length) / grid, pitch, draw(st.integers(1, 127))))
    return Performance.of(notes)


def on(tick: int, pitch: int, velocity: int = 80, channel: int = 0) -> Message:
    return Message(tick, 0x90 | channel, bytes([pitch, velocity]))


def off(tick: int, pitch: int, channel: int = 0) -> Message:
    return Message(tick, 0x80 | channel, bytes([pitch, 0]))


def pedal(tick: int, value: int, channel: int = 0) -> Message:
    return Message(tick, 0xB0 | channel, bytes([64, value]))


def played(*tracks: list[Message], end: int = 1000) -> list[tuple[int, int, int]]:
    """Return (onset, offset, pitch) in ticks, of which a second has 1000."""
    file = MidiFile(500, tuple(Track(tuple(messages), end) for messages in tracks))
    return [(round(n.onset * 1000), round(n.offset * 1000), n.pitch) for n in Performance.from_midi(file).notes]


def test_a_note_lasts_until_its_release() -> None:
    assert played([on(0, 60), on(100, 64, 0), off(200, 60)]) == [(0, 200, 60)]
    assert played([on(0, 60), on(300, 60, 0)]) == [(0, 300, 60)]


def test_a_note_without_a_release_lasts_until_the_end_of_its_track() -> None:
    assert played([on(0, 60)], end=700) == [(0, 700, 60)]


def test_notes_of_a_pitch_end_in_the_order_in_which_they_began() -> None:
    assert played([on(0, 60), on(100, 60), off(200, 60), off(500, 60)]) == [(0, 200, 60), (100, 500, 60)]


def test_the_pedal_holds_what_is_released_under_it() -> None:
    assert played([on(0, 60), pedal(50, 64), off(100, 60), pedal(400, 63)]) == [(0, 400, 60)]


def test_the_pedal_does_not_hold_what_was_released_before() -> None:
    assert played([on(0, 60), off(100, 60), pedal(150, 127), pedal(400, 0)]) == [(0, 100, 60)]


def test_a_key_that_is_still_down_outlasts_the_pedal() -> None:
    assert played([pedal(0, 127), on(10, 60), pedal(100, 0), off(300, 60)]) == [(10, 300, 60)]


def test_the_next_onset_of_the_pitch_ends_a_held_note() -> None:
    messages = [pedal(0, 127), on(10, 60), off(50, 60), on(200, 60), off(250, 60), pedal(400, 0)]
    assert played(messages) == [(10, 200, 60), (200, 400, 60)]


def test_under_the_pedal_a_note_struck_again_while_its_key_is_down_ends() -> None:
    messages = [pedal(0, 127), on(10, 60), on(200, 60), off(250, 60), off(300, 60), pedal(400, 0)]
    assert played(messages) == [(10, 200, 60), (200, 400, 60)]


def test_under_the_pedal_the_same_note_twice_is_one() -> None:
    assert played([pedal(0, 127), on(10, 60), on(10, 60), off(50, 60), off(60, 60), pedal(90, 0)]) == [(10, 90, 60)]


def test_the_pedal_that_is_never_lifted_holds_until_the_last_release() -> None:
    assert played([pedal(0, 127), on(10, 60), off(50, 60), on(60, 64), off(300, 64)]) == [(10, 300, 60), (60, 300, 64)]


def test_the_pedal_is_that_of_a_channel_of_a_track() -> None:
    assert played([pedal(0, 127), on(0, 60, channel=1), off(50, 60, channel=1)]) == [(0, 50, 60)]
    assert played([pedal(0, 127)], [on(0, 60), off(50, 60)]) == [(0, 50, 60)]


def test_at_one_tick_the_pedal_goes_down_before_a_release() -> None:
    assert played([on(0, 60), off(100, 60), pedal(100, 127), pedal(400, 0)]) == [(0, 400, 60)]


def test_percussion_is_left_out() -> None:
    assert played([on(0, 38, channel=9), off(50, 38, channel=9), on(0, 60), off(50, 60)]) == [(0, 50, 60)]


def test_a_file_of_years_is_refused() -> None:
    file = MidiFile(1, (Track((on(0, 60), off(10**9, 60)), 10**9),))
    with pytest.raises(UsageError, match=r"a\.mid: lasts \d+ hours; at most 6 are read"):
        Performance.from_midi(file, "a.mid")


@given(performance=performances())
def test_what_is_written_is_played_back(performance: Performance) -> None:
    single = performance.on_one_keyboard()
    read = Performance.from_midi(single.to_midi())
    assert len(read.notes) == len(single.notes)
    for ours, theirs in zip(read.notes, single.notes, strict=True):
        assert ours[2:] == theirs[2:]
        assert ours.onset == pytest.approx(theirs.onset, abs=1e-9)
        assert ours.offset == pytest.approx(max(theirs.offset, theirs.onset + 0.001), abs=1e-9)


@given(performance=performances())
def test_one_keyboard_sounds_a_pitch_once_at_a_time(performance: Performance) -> None:
    single = performance.on_one_keyboard()
    ends: dict[int, float] = {}
    for note in single.notes:
        assert note.onset >= ends.get(note.pitch, 0)
        ends[note.pitch] = note.offset
    assert {note.pitch for note in single.notes} == {note.pitch for note in performance.notes}
    assert single.on_one_keyboard() == single


@given(performance=performances(), semitones=st.integers(-12, 12))
def test_transposing_keeps_what_a_piano_has(performance: Performance, semitones: int) -> None:
    moved = performance.transposed(semitones)
    expected = [n.pitch + semitones for n in performance.notes if LOWEST <= n.pitch + semitones <= HIGHEST]
    assert [note.pitch for note in moved.notes] == expected


def test_stretching_multiplies_every_time() -> None:
    performance = Performance.of([Note(1.0, 2.0, 60, 80), Note(2.0, 3.0, 64, 80)])
    assert performance.stretched(1.5).seconds == 4.5


def test_an_excerpt_ends_with_its_last_second() -> None:
    performance = Performance.of([Note(0.0, 9.0, 60, 80), Note(1.0, 1.5, 64, 80), Note(2.0, 3.0, 65, 80)])
    assert performance.excerpt(1, 2) == Performance.of([Note(0.0, 0.5, 64, 80)])
    assert performance.excerpt(0, 2).seconds == 2
    assert Performance(()).seconds == 0
    assert Performance(()).from_first_note() == Performance(())


@pytest.mark.parametrize(
    "note", [Note(-1, 0, 60, 80), Note(1, 0.5, 60, 80), Note(0, 1, 128, 80), Note(0, 1, 60, 0), Note(0, 1e6, 60, 80)]
)
def test_notes_that_cannot_be_played_are_refused(note: Note) -> None:
    with pytest.raises(UsageError):
        Performance.of([note])
