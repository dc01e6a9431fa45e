"""Standard MIDI files: read and written, beside a reader of another make, and hostile ones."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import UsageError
from cutaway.music import midi
from cutaway.music.midi import META, SET_TEMPO, SYSEX, Message, MidiFile, TempoMap, Track, parse_midi, read_midi

SEVEN = st.integers(0, 127)


@st.composite
def channel_messages(draw: st.DrawFn) -> tuple[int, bytes]:
    status = draw(st.integers(0x80, 0xEF))
    return status, bytes(draw(st.tuples(SEVEN) if status & 0xF0 in (0xC0, 0xD0) else st.tuples(SEVEN, SEVEN)))


META_MESSAGES = st.tuples(st.just(META), st.binary(min_size=1, max_size=200)).filter(lambda m: m[1][0] != 0x2F)
SYSEX_MESSAGES = st.tuples(st.sampled_from([SYSEX, 0xF7]), st.binary(max_size=200))


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    tick = 0
    messages = []
    for status, data in draw(st.lists(channel_messages() | META_MESSAGES | SYSEX_MESSAGES, max_size=20)):
        tick += draw(st.sampled_from([0, 1, 127, 128, 16383, 16384, 2_000_000, 200_000_000]))
        messages.append(Message(tick, status, data))
    return Track(tuple(messages), tick + draw(st.integers(0, 1000)))


DIVISIONS = st.integers(1, 0x7FFF) | st.tuples(st.sampled_from([24, 25, 29, 30]), st.integers(1, 255))


@st.composite
def files(draw: st.DrawFn) -> MidiFile:
    parts = draw(st.lists(tracks(), min_size=1, max_size=4))
    return MidiFile(draw(DIVISIONS), tuple(parts), int(len(parts) > 1))


@given(file=files())
def test_what_is_written_is_read_back(file: MidiFile) -> None:
    read = parse_midi(file.to_bytes())
    assert read == file
    assert read.problems == ()


def independent_events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Read the channel messages of a format 0 file in another way: by one pass over its bytes, for clean files only."""
    position = 22
    tick = 0
    status = 0

    def number() -> int:
        nonlocal position
        value = 0
        while True:
            value = value * 128 + data[position] % 128
            position += 1
            if data[position - 1] < 128:
                return value

    while position < len(data):
        tick += number()
        if data[position] > 127:
            status = data[position]
            position += 1
        if status >= 0xF0:
            position += status == 0xFF
            length = number()
            position += length
            continue
        size = 1 if 0xC0 <= status < 0xE0 else 2
        yield tick, status, data[position : position + size]
        position += size


@given(file=files())
@pytest.mark.slow
def test_messages_are_those_of_an_independent_reader(file: MidiFile) -> None:
    single = MidiFile(file.division, file.tracks[:1], format=0)
    expected = [m for m in file.tracks[0].messages if m.status < 0xF0]
    assert list(independent_events(single.to_bytes())) == expected


def wrap(track: bytes, division: bytes = b"\x01\xe0") -> bytes:
    header = b"MThd" + (6).to_bytes(4) + b"\0\0\0\1" + division
    return header + b"MTrk" + len(track).to_bytes(4) + track


def test_running_status_is_read() -> None:
    data = wrap(bytes([0, 0x90, 60, 64, 10, 62, 64, 10, 60, 0, 0, META, 0x2F, 0]))
    assert [(m.tick, m.status, m.data[0]) for m in parse_midi(data).tracks[0].messages] == [
        (0, 0x90, 60),
        (10, 0x90, 62),
        (20, 0x90, 60),
    ]


def test_system_exclusive_and_meta_messages_end_running_status() -> None:
    data = wrap(bytes([0, 0x90, 60, 64, 0, SYSEX, 2, 1, 0xF7, 0, 61, 64]))
    [problem] = parse_midi(data).problems
    assert problem == "track 1: the byte 0x3d is not a status byte; read up to tick 0"


def test_real_time_messages_are_left_out() -> None:
    data = wrap(bytes([0, 0xF8, 0, 0xF2, 1, 2, 5, 0x90, 60, 64, 0, META, 0x2F, 0]))
    assert parse_midi(data).tracks == (Track((Message(5, 0x90, bytes([60, 64])),), 5),)


def test_a_truncated_track_is_kept_as_far_as_it_goes() -> None:
    whole = MidiFile(480, (Track((Message(0, 0x90, bytes([60, 64])), Message(9, 0x80, bytes([60, 0]))), 9),), 0)
    for length in range(len(whole.to_bytes())):
        data = whole.to_bytes()[:length]
        if length < 22:
            with pytest.raises(UsageError):
                parse_midi(data)
        else:
            read = parse_midi(data)
            assert read.problems
            assert read.tracks[0].messages == whole.tracks[0].messages[: len(read.tracks[0].messages)]


def test_a_data_byte_above_127_is_clipped() -> None:
    data = wrap(bytes([0, 0x90, 60, 200, 0, META, 0x2F, 0]))
    read = parse_midi(data)
    assert read.tracks[0].messages == (Message(0, 0x90, bytes([60, 127])),)
    assert read.problems == ("track 1: 1 data bytes above 127 are clipped",)


def test_unknown_chunks_are_skipped_and_a_wrong_count_of_tracks_is_told() -> None:
    data = wrap(bytes([0, META, 0x2F, 0]))
    read = parse_midi(data[:14] + b"XFIH" + (3).to_bytes(4) + b"abc" + data[14:] + data[14:])
    assert len(read.tracks) == 2
    assert read.problems == ("the header counts 1 tracks, there are 2",)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a MIDI file: it must begin with MThd"),
        (b"RIFF\0\0\0\0", "not a MIDI file: it must begin with MThd"),
        (b"MThd\0\0\0\6\0\0", "its header is cut short"),
        (b"MThd\0\0\0\6\0\2\0\1\0\x60", "is of format 2; formats 0 and 1 are read"),
        (b"MThd\0\0\0\6\0\0\0\1\0\x60", "holds no track"),
        (wrap(b"", b"\0\0"), "its quarter note has no ticks"),
        (wrap(b"", b"\x80\0"), "its time division 0x8000 is neither ticks of a quarter note nor SMPTE's"),
        (wrap(b"", b"\xe7\0"), "its time division 0xe700 is neither ticks of a quarter note nor SMPTE's"),
    ],
)
def test_what_is_no_midi_file_is_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_midi(data, "a.mid")
    assert str(caught.value) == f"a.mid: {reason}"


@pytest.mark.parametrize(
    ("track", "reason"),
    [
        (b"\xff\xff\xff\xff\x7f", "a number has more than four bytes"),
        (b"\0\x90\x3c", "it is cut short"),
        (b"\0\x3c\x40", "the byte 0x3c is not a status byte"),
        (b"\0\xff\x51\x03\x07", "it is cut short"),
    ],
)
def test_damage_inside_a_track_is_told(track: bytes, reason: str) -> None:
    assert parse_midi(wrap(track)).problems == (f"track 1: {reason}; read up to tick 0",)


def test_time_out_of_bounds_ends_a_track(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(midi, "MAX_TICK", 100)
    read = parse_midi(wrap(bytes([100, 0x90, 60, 64, 1, 0x80, 60, 0])))
    assert [message.tick for message in read.tracks[0].messages] == [100]
    assert read.problems == ("track 1: its time runs out of bounds; read up to tick 101",)


def test_too_many_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(midi, "MAX_MESSAGES", 5)
    parse_midi(wrap(bytes([0, 0x90, 60, 64]) * 5))
    with pytest.raises(UsageError, match=r"a\.mid: has more than 5 messages"):
        parse_midi(wrap(bytes([0, 0x90, 60, 64]) * 6), "a.mid")


def test_too_many_tracks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(midi, "MAX_CHUNKS", 3)
    track = b"MTrk" + (4).to_bytes(4) + bytes([0, META, 0x2F, 0])
    assert len(parse_midi(wrap(bytes([0, META, 0x2F, 0])) + 2 * track).tracks) == 3
    with pytest.raises(UsageError, match=r"a\.mid: has more than 3 tracks"):
        parse_midi(wrap(bytes([0, META, 0x2F, 0])) + 10 * track, "a.mid")


def test_too_large_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(midi, "MAX_BYTES", 10)
    path = tmp_path / "a.mid"
    path.write_bytes(wrap(b""))
    with pytest.raises(UsageError, match="is larger than the 10 bytes"):
        read_midi(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        read_midi(tmp_path)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert parse_midi(wrap(data)).tracks
    if not data.startswith(b"MThd"):
        with pytest.raises(UsageError, match=r"\AMIDI data: [^\n]*\Z"):
            parse_midi(data)


@given(file=files(), seed=st.integers(0, 2**32))
@pytest.mark.slow
def test_changed_files_are_read_or_refused(file: MidiFile, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(file.to_bytes())
    for _ in range(rng.randint(1, 10)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        read = parse_midi(bytes(data[: rng.randint(0, len(data))]))
    except UsageError:
        return
    for track in read.tracks:
        assert all(a.tick <= b.tick for a, b in zip(track.messages, track.messages[1:], strict=False))
        assert all(max(m.data) < 128 for m in track.messages if m.status < 0xF0)


@pytest.mark.parametrize("message", [Message(0, 0x90, b"\x80\0"), Message(0, 0x90, b"\1"), Message(0, 0x20, b"\1\1")])
def test_an_invalid_message_is_not_written(message: Message) -> None:
    with pytest.raises(UsageError, match="invalid MIDI message at tick 0"):
        MidiFile(480, (Track((message,), 0),)).to_bytes()


def test_messages_out_of_order_are_not_written() -> None:
    track = Track((Message(5, 0x90, b"\1\1"), Message(4, 0x90, b"\1\1")), 5)
    with pytest.raises(UsageError, match="a time difference or length"):
        MidiFile(480, (track,)).to_bytes()


@pytest.mark.parametrize(("division", "format_"), [(0, 1), ((26, 1), 1), ((25, 0), 1), (480, 2)])
def test_an_invalid_header_is_not_made(division: int | tuple[int, int], format_: int) -> None:
    with pytest.raises(UsageError):
        MidiFile(division, (), format_)


def test_a_file_is_written_and_read(tmp_path: Path) -> None:
    file = MidiFile(480, (Track((Message(0, 0x90, bytes([60, 64])),), 10),), 0)
    file.write(tmp_path / "a.mid")
    assert read_midi(tmp_path / "a.mid") == file


def tempo(tick: int, microseconds: int) -> Message:
    return Message(tick, META, bytes([SET_TEMPO]) + microseconds.to_bytes(3))


def test_ticks_become_seconds_by_the_tempos_of_all_tracks() -> None:
    file = MidiFile(100, (Track((tempo(200, 1_000_000),), 200), Track((tempo(400, 0), tempo(300, 250_000)), 400)))
    assert TempoMap(file).seconds([0, 100, 200, 250, 300, 500]).tolist() == [0, 0.5, 1, 1.5, 2, 2.5]


def test_of_two_tempos_at_one_tick_the_last_holds() -> None:
    file = MidiFile(100, (Track((tempo(0, 100_000), tempo(0, 1_000_000)), 0),))
    assert TempoMap(file).seconds([100]).tolist() == [1]


@pytest.mark.parametrize(("division", "seconds"), [((25, 40), 1.0), ((30, 10), 10 / 3), ((29, 100), 1001 / 3000)])
def test_smpte_time_has_no_tempo(division: tuple[int, int], seconds: float) -> None:
    file = MidiFile(division, (Track((tempo(0, 1),), 0),))
    assert TempoMap(file).seconds([1000]).tolist() == [pytest.approx(seconds)]
