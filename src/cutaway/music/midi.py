"""Reads and writes standard MIDI files: formats 0 and 1, running status, system exclusive, tempo maps, SMPTE time.

Damaged tracks are common in files from the web, so the rest of a file is still read. A data byte above 127 is clipped,
a track that breaks off is kept up to that point, and `MidiFile.problems` reports it. A file without a valid header or
without any track is an error, and so is a file that is too large to be music.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from cutaway.checks import check_int
from cutaway.disk import replacing_file
from cutaway.errors import CheckpointError, UsageError
from cutaway.untrusted import quote_path, read_bytes

MAX_BYTES = 1 << 24  # of a file; the longest piano performances have a hundredth of this
MAX_MESSAGES = 400_000
MAX_CHUNKS = 10_000  # read per file, including tracks
MAX_TICK = 1 << 40  # of a track; only thousands of 28-bit deltas could reach it
MAX_PROBLEMS = 20  # reported per file

SYSEX = 0xF0
SYSEX_MORE = 0xF7
META = 0xFF
SET_TEMPO = 0x51
END_OF_TRACK = 0x2F
DEFAULT_TEMPO = 500_000  # microseconds per quarter note
_N_DATA = {0xC0: 1, 0xD0: 1}  # data bytes of a channel message; others have two
_N_SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # of system messages, which are invalid in a file; others have none
_FRAMES = {24: 24.0, 25: 25.0, 29: 30000 / 1001, 30: 30.0}  # frames per second by SMPTE rate


class Message(NamedTuple):
    """A message of a track: its time in ticks from the start, its status byte, and its data.

    The status of a channel message is from 0x80 to 0xEF and includes its channel. SYSEX and SYSEX_MORE are system
    exclusive. META is a meta message, whose first data byte is its type.
    """

    tick: int
    status: int
    data: bytes


class Track(NamedTuple):
    """Messages in order, and the tick at which the track ends."""

    messages: tuple[Message, ...]
    end: int


@dataclass(frozen=True)
class MidiFile:
    """A standard MIDI file. `division` is ticks per quarter note, or `(frames per second, ticks per frame)`.

    `problems` has a line for each damaged part that is left out.
    """

    division: int | tuple[int, int]
    tracks: tuple[Track, ...]
    format: int = 1
    problems: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        check_int("format", self.format, 0, 1)
        if isinstance(self.division, tuple):
            if self.division[0] not in _FRAMES:
                raise UsageError(f"frames per second must be 24, 25, 29 or 30, not {self.division[0]}")
            check_int("ticks per frame", self.division[1], 1, 255)
        else:
            check_int("ticks of a quarter note", self.division, 1, 0x7FFF)

    def to_bytes(self) -> bytes:
        """Encode the file. Raises UsageError for a message that MIDI cannot represent.

        >>> track = Track((Message(0, 0x90, bytes([60, 64])), Message(480, 0x80, bytes([60, 0]))), end=480)
        >>> parse_midi(MidiFile(480, (track,)).to_bytes()).tracks[0].messages[1].tick
        480
        """
        division = self.division
        if isinstance(division, tuple):
            division = (256 - division[0]) << 8 | division[1]
        header = b"".join(value.to_bytes(2) for value in (self.format, len(self.tracks), division))
        return _chunk(b"MThd", header) + b"".join(_chunk(b"MTrk", _track_bytes(track)) for track in self.tracks)

    def write(self, path: Path) -> None:
        """Write the file, atomically replacing an existing one. Raises OSError if that fails."""
        with replacing_file(path) as file:
            file.write(self.to_bytes())


def read_midi(path: str | Path) -> MidiFile:
    """Read a MIDI file. Raises a one-line UsageError if it cannot be read, is not MIDI or is too large.

    >>> read_midi("nowhere.mid")
    Traceback (most recent call last):
    cutaway.errors.UsageError: nowhere.mid: cannot be read: No such file or directory
    """
    path = Path(path)
    try:
        data = read_bytes(path, MAX_BYTES)
    except CheckpointError as error:
        raise UsageError(str(error)) from None
    return parse_midi(data, quote_path(path))


def parse_midi(data: bytes, name: str = "MIDI data") -> MidiFile:
    """Parse the bytes of a MIDI file; `name` is its name in messages. Raises UsageError if they are invalid.

    >>> parse_midi(b"RIFF")
    Traceback (most recent call last):
    cutaway.errors.UsageError: MIDI data: not a MIDI file: it must begin with MThd
    """
    chunks = _chunks(data)
    kind, header = next(chunks, (b"", b""))
    if kind != b"MThd":
        _refuse(name, "not a MIDI file: it must begin with MThd")
    if len(header) < 6:
        _refuse(name, "its header is cut short")
    midi_format, n_tracks, division = (int.from_bytes(header[at : at + 2]) for at in (0, 2, 4))
    if midi_format > 1:
        _refuse(name, f"is of format {midi_format}; formats 0 and 1 are read")
    parser = _Parser(name)
    tracks = [parser.track(chunk) for kind, chunk in islice(chunks, MAX_CHUNKS + 1) if kind == b"MTrk"]
    if len(tracks) > MAX_CHUNKS:
        _refuse(name, f"has more than {MAX_CHUNKS} tracks")
    if not tracks:
        _refuse(name, "holds no track")
    if len(tracks) != n_tracks:
        parser.problem(f"the header counts {n_tracks} tracks, there are {len(tracks)}")
    return MidiFile(_division(name, division), tuple(tracks), midi_format, tuple(parser.problems))


def _refuse(name: str, reason: str) -> NoReturn:
    raise UsageError(f"{name}: {reason}")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks; the last one may be truncated."""
    at = 0
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8])
        yield data[at : at + 4], data[at + 8 : end]
        at = end


def _division(name: str, value: int) -> int | tuple[int, int]:
    if value & 0x8000:
        frames = 256 - (value >> 8)
        if frames not in _FRAMES or not value & 0xFF:
            _refuse(name, f"its time division 0x{value:04x} is neither ticks of a quarter note nor SMPTE's")
        return frames, value & 0xFF
    if not value:
        _refuse(name, "its quarter note has no ticks")
    return value


class _Damage(Exception):
    """The rest of a track cannot be read."""


class _Parser:
    """Reads tracks, and counts the messages of all tracks."""

    def __init__(self, name: str) -> None:
        self.problems: list[str] = []
        self._name = name
        self._n_messages = 0
        self._n_tracks = 0

    def problem(self, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)

    def track(self, data: bytes) -> Track:
        """Read as much of a track as possible."""
        self._n_tracks += 1
        reader = _TrackReader(data)
        messages: list[Message] = []
        try:
            for message in reader.messages():
                self._count()
                messages.append(message)
        except (_Damage, IndexError) as error:
            reason = str(error) if isinstance(error, _Damage) else "it is cut short"
            self.problem(f"track {self._n_tracks}: {reason}; read up to tick {reader.tick}")
        if reader.n_clipped:
            self.problem(f"track {self._n_tracks}: {reader.n_clipped} data bytes above 127 are clipped")
        return Track(tuple(messages), reader.tick)

    def _count(self) -> None:
        self._n_messages += 1
        if self._n_messages > MAX_MESSAGES:
            _refuse(self._name, f"has more than {MAX_MESSAGES} messages")


class _TrackReader:
    """Reads the messages of one track chunk."""

    def __init__(self, data: bytes) -> None:
        self.tick = 0
        self.n_clipped = 0
        self._data = data
        self._at = 0

    def messages(self) -> Iterator[Message]:
        """Yield the messages up to the end of the track. Raises _Damage or IndexError if it breaks off."""
        data = self._data
        running = 0
        while True:
            self._advance(self._length())
            status = data[self._at]
            if status >= 0x80:
                self._at += 1
            elif not running:
                raise _Damage(f"the byte 0x{status:02x} is not a status byte")
            else:
                status = running
            if status < SYSEX:
                running = status
                yield Message(self.tick, status, self._data_bytes(_N_DATA.get(status & 0xF0, 2)))
                continue
            running = 0
            if status in (SYSEX, SYSEX_MORE):
                yield Message(self.tick, status, self._take(self._length()))
            elif status == META:
                kind = self._take(1)
                payload = self._take(self._length())
                if kind[0] == END_OF_TRACK:
                    return
                yield Message(self.tick, status, kind + payload)
            else:
                self._take(_N_SYSTEM.get(status, 0))

    def _advance(self, delta: int) -> None:
        self.tick += delta
        if self.tick > MAX_TICK:
            raise _Damage("its time runs out of bounds")

    def _length(self) -> int:
        """Read a variable-length number: at most four bytes of seven bits each."""
        value = 0
        for _ in range(4):
            byte = self._data[self._at]
            self._at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise _Damage("a number has more than four bytes")

    def _take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) < count:
            raise IndexError
        self._at += count
        return part

    def _data_bytes(self, count: int) -> bytes:
        part = self._take(count)
        if max(part) > 0x7F:
            self.n_clipped += sum(byte > 0x7F for byte in part)
            part = bytes(min(byte, 0x7F) for byte in part)
        return part


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4) + data


def _track_bytes(track: Track) -> bytes:
    parts: list[bytes] = []
    tick = 0
    for message in (*track.messages, Message(max(track.end, tick), META, bytes([END_OF_TRACK]))):
        parts += [_length_bytes(message.tick - tick), bytes([message.status])]
        if message.status < SYSEX:
            _check_channel_message(message)
            parts.append(message.data)
        elif message.status == META:
            parts += [message.data[:1], _length_bytes(len(message.data) - 1), message.data[1:]]
        else:
            parts += [_length_bytes(len(message.data)), message.data]
        tick = message.tick
    return b"".join(parts)


def _check_channel_message(message: Message) -> None:
    expected = _N_DATA.get(message.status & 0xF0, 2)
    if message.status < 0x80 or len(message.data) != expected or max(message.data) > 0x7F:
        raise UsageError(f"invalid MIDI message at tick {message.tick}: {message.status:#x} {message.data.hex()}")


def _length_bytes(value: int) -> bytes:
    check_int("a time difference or length", value, 0, (1 << 28) - 1)
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


class TempoMap:
    """Converts ticks to seconds, with the tempo changes of all tracks.

    >>> tempo = Message(480, META, bytes([SET_TEMPO]) + (250_000).to_bytes(3))
    >>> TempoMap(MidiFile(480, (Track((tempo,), 480),))).seconds([0, 480, 960]).tolist()
    [0.0, 0.5, 0.75]
    """

    def __init__(self, file: MidiFile) -> None:
        if isinstance(file.division, tuple):
            frames, ticks = file.division
            changes = {0: 1}
            self._unit = _FRAMES[frames] * ticks
        else:
            changes = {0: DEFAULT_TEMPO} | dict(_tempos(file))
            self._unit = file.division * 1e6
        self._ticks = np.array(list(changes), np.float64)
        self._lengths = np.array(list(changes.values()), np.float64)  # of a tick, in units of 1 / unit seconds
        self._starts = np.cumsum([0.0, *(np.diff(self._ticks) * self._lengths[:-1])])

    def seconds(self, ticks: Sequence[int] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the times of ticks in seconds."""
        given = np.asarray(ticks, np.float64)
        part = np.searchsorted(self._ticks, given, side="right") - 1
        seconds: NDArray[np.float64] = self._starts[part] + (given - self._ticks[part]) * self._lengths[part]
        return seconds / self._unit  # divided last, so that whole milliseconds are exact


def _tempos(file: MidiFile) -> list[tuple[int, int]]:
    """Return the tempo changes by tick, in microseconds per quarter note; the last one at a tick counts."""
    found = [
        (message.tick, int.from_bytes(message.data[1:4]))
        for track in file.tracks
        for message in track.messages
        if message.status == META and message.data[0] == SET_TEMPO and len(message.data) == 4
    ]
    return sorted(((tick, tempo) for tick, tempo in found if tempo), key=lambda change: change[0])
