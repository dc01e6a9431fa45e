"""The codec of performance events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.music.midi import parse_midi
from cutaway.music.perf388 import END, N_VOCAB, PerformanceCodec
from cutaway.music.performance import Note, Performance
from tests.music.test_performance import performances

CODEC = PerformanceCodec()
ANY_IDS = st.lists(st.integers(-5, N_VOCAB + 5), max_size=100)


def test_the_ids_are_those_of_the_paper() -> None:
    """388 events, of which the first 128 strike keys, then 128 release them, 100 shift the time, 32 set velocities."""
    labels = [CODEC.label(index) for index in range(N_VOCAB)]
    assert labels[0] == "C-1 on"
    assert labels[127] == "G9 on"
    assert labels[128] == "C-1 off"
    assert labels[255] == "G9 off"
    assert labels[256] == "10 ms"
    assert labels[355] == "1000 ms"
    assert labels[356] == "velocity 0"
    assert labels[387] == "velocity 124"
    assert labels[END] == "end"
    assert CODEC.n_vocab == 389
    assert len(set(labels)) == 389


def test_a_chord_and_its_release() -> None:
    """The article's example: velocity 80, keys 60, 64, 67 half a second apart, then released together."""
    notes = [Note(0.0, 2.0, 60, 80), Note(0.5, 2.0, 64, 80), Note(1.0, 2.0, 67, 80), Note(2.5, 3.0, 65, 100)]
    assert [CODEC.label(index) for index in CODEC.encode(Performance.of(notes))] == [
        "velocity 80",
        "C4 on",
        "500 ms",
        "E4 on",
        "500 ms",
        "G4 on",
        "1000 ms",
        "C4 off",
        "E4 off",
        "G4 off",
        "500 ms",
        "velocity 100",
        "F4 on",
        "500 ms",
        "F4 off",
    ]


def test_a_key_that_is_released_and_struck_at_once_is_released_first() -> None:
    ids = CODEC.encode(Performance.of([Note(0.0, 1.0, 60, 80), Note(1.0, 2.0, 60, 80)]))
    assert ids == [376, 60, 355, 188, 60, 355, 188]


def test_pauses_have_as_many_whole_seconds_as_fit() -> None:
    assert CODEC.encode(Performance.of([Note(2.0, 4.5, 60, 80)])) == [355, 355, 376, 60, 355, 355, 305, 188]


@pytest.mark.slow
@given(performance=performances(grid=997))
def test_times_are_kept_to_5_ms_and_velocities_to_2(performance: Performance) -> None:
    decoded = CODEC.decode(CODEC.encode(performance))
    assert len(decoded.notes) == len(performance.notes)
    ours = sorted((note.pitch, note.onset, note.velocity) for note in decoded.notes)
    theirs = sorted((note.pitch, note.onset, note.velocity) for note in performance.notes)
    for (pitch, onset, _), (expected_pitch, expected_onset, _) in zip(ours, theirs, strict=True):
        assert pitch == expected_pitch
        assert abs(onset - expected_onset) <= 0.005 + 1e-9
    strengths = [sorted(note.velocity // 4 for note in part.notes) for part in (decoded, performance)]
    assert strengths[0] == strengths[1]
    assert all(note.velocity % 4 == 2 for note in decoded.notes)


@given(performance=performances())
def test_encoding_what_was_decoded_changes_nothing(performance: Performance) -> None:
    ids = CODEC.encode(performance)
    assert CODEC.encode(CODEC.decode(ids)) == ids


@given(ids=ANY_IDS)
def test_any_ids_are_music_that_midi_holds(ids: list[int]) -> None:
    performance = CODEC.decode(ids)
    assert len(performance.notes) == sum(0 <= index < 128 for index in ids)
    file = performance.to_midi()
    assert parse_midi(file.to_bytes()) == file
    again = CODEC.encode(performance)
    assert CODEC.encode(CODEC.decode(again)) == again


@given(ids=ANY_IDS)
def test_every_id_has_the_note_that_it_begins_or_ends(ids: list[int]) -> None:
    reading = CODEC.read(ids)
    assert len(reading.owners) == len(reading.times) == len(ids)
    assert list(reading.times) == sorted(reading.times)
    for index, owner, time in zip(ids, reading.owners, reading.times, strict=True):
        if owner >= 0:
            note = reading.notes[owner]
            assert index in (note.pitch, 128 + note.pitch)
            assert time == note.onset or time <= note.offset
        else:
            assert not 0 <= index < 128
    assert all(list(reading.owners).count(i) in (1, 2) for i in range(len(reading.notes)))


def test_a_note_without_a_release_ends_after_five_seconds_or_with_the_piece() -> None:
    [short] = CODEC.decode([60, 355, 355]).notes
    [long] = CODEC.decode([60, *[355] * 9]).notes
    [last] = CODEC.decode([355, 60]).notes
    assert [short.offset, long.offset, last.offset] == pytest.approx([2.0, 5.0, 1.01])


def test_time_ends_at_the_longest_performance() -> None:
    ids = [*[355] * 30_000, 60]
    assert CODEC.decode(ids).seconds < 6 * 3600
