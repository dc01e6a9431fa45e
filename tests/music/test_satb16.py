"""The codec of chorales."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import UsageError
from cutaway.music.satb16 import END, HIGHEST, LOWEST, N_VOCAB, SECONDS, ChoraleCodec, transposed

CODEC = ChoraleCodec()
PITCHES = st.just(-1) | st.integers(LOWEST, HIGHEST)
CHORALES = st.lists(st.lists(PITCHES, min_size=4, max_size=4), max_size=20)


@given(chorale=CHORALES)
def test_a_chorale_is_read_back(chorale: list[list[int]]) -> None:
    ids = CODEC.encode(chorale)
    assert len(ids) == 4 * len(chorale)
    assert CODEC.chorale([END, *ids, END]) == chorale


@given(chorale=CHORALES)
def test_a_performance_sounds_every_pitch_for_its_steps(chorale: list[list[int]]) -> None:
    expected = sorted(pitch for step in chorale for pitch in step if pitch != -1)
    sounding = []
    for note in CODEC.decode(CODEC.encode(chorale)).notes:
        sounding += [note.pitch] * round((note.offset - note.onset) / SECONDS)
    assert sorted(sounding) == expected


def test_a_voice_that_stays_holds_one_note() -> None:
    chorale = [[72, 67, 64, 48], [72, 67, 64, -1], [74, 67, -1, 48]]
    notes = [
        (round(n.onset / SECONDS), round(n.offset / SECONDS), n.pitch)
        for n in CODEC.decode(CODEC.encode(chorale)).notes
    ]
    assert sorted(notes) == [(0, 1, 48), (0, 2, 64), (0, 2, 72), (0, 3, 67), (2, 3, 48), (2, 3, 74)]


@given(ids=st.lists(st.integers(-5, N_VOCAB + 5), max_size=50))
def test_any_ids_are_music(ids: list[int]) -> None:
    pitches = sum(0 <= index < END for index in ids)
    assert len(CODEC.chorale(ids)) == pitches // 4
    assert CODEC.decode(ids).seconds <= pitches // 4 * SECONDS + 1e-9


@given(ids=st.lists(st.integers(-5, N_VOCAB + 5), max_size=50))
def test_every_id_of_a_whole_step_has_its_note(ids: list[int]) -> None:
    reading = CODEC.read(ids)
    pitches = [place for place, index in enumerate(ids) if 0 <= index < END]
    for place in pitches[: len(pitches) - len(pitches) % 4]:
        if ids[place] == END - 1:
            assert reading.owners[place] == -1
        else:
            note = reading.notes[reading.owners[place]]
            assert note.pitch == ids[place] + LOWEST
            assert note.onset <= reading.times[place] < note.offset
    assert set(reading.owners) - {-1} == set(range(len(reading.notes)))


@pytest.mark.slow
def test_more_than_six_hours_are_cut() -> None:
    assert CODEC.decode([0] * 4 * 130_000).seconds <= 6 * 3600


@pytest.mark.parametrize(
    ("chorale", "reason"),
    [([[72, 67, 64]], "step 1: there must be 4 voices, not 3"), ([[72] * 4, [35] * 4], "step 2: a voice must be")],
)
def test_what_is_no_chorale_is_refused(chorale: list[list[int]], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        CODEC.encode(chorale)


def test_transposing_moves_all_voices_but_rests() -> None:
    assert transposed([[72, 67, 64, -1]], -3) == [[69, 64, 61, -1]]
    assert transposed([[72, 67, 64, LOWEST]], -1) is None


def test_every_id_has_a_name() -> None:
    labels = [CODEC.label(index) for index in range(N_VOCAB)]
    assert len(set(labels)) == N_VOCAB == 48
    assert labels[-2:] == ["rest", "end"]
