"""A performance: notes in seconds as they sound, with the sustain pedal applied."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cutaway.checks import check_float, check_int
from cutaway.errors import UsageError
from cutaway.music.midi import META, SET_TEMPO, Message, MidiFile, TempoMap, Track

MAX_SECONDS = 6 * 3600.0  # longest supported performance
LOWEST = 21  # of the 88 piano keys, as MIDI pitches
HIGHEST = 108
TICKS = 500  # per quarter note of half a second: one per millisecond

_NOTE_OFF = 0x80
_NOTE_ON = 0x90
_CONTROL = 0xB0
_SUSTAIN = 64  # controller number, and also the value from which the pedal is down
_DRUMS = 9  # percussion channel, whose pitches are instruments


class Note(NamedTuple):
    """A note: `onset` and `offset` in seconds, `pitch` and `velocity` as MIDI numbers."""

    onset: float
    offset: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Performance:
    """Notes in order of onset, then pitch. Raises UsageError for notes that cannot be played.

    >>> Performance.of([Note(0.5, 1.0, 64, 80), Note(0.0, 1.0, 60, 80)]).notes[0].pitch
    60
    """

    notes: tuple[Note, ...]

    @classmethod
    def of(cls, notes: Iterable[Note]) -> "Performance":
        """Make a performance from notes in any order."""
        ordered = sorted(notes, key=lambda note: (note.onset, note.pitch, note.offset))
        for note in ordered:
            check_int("pitch", note.pitch, 0, 127)
            check_int("velocity", note.velocity, 1, 127)
            check_float("onset", note.onset, 0, MAX_SECONDS)
            check_float("offset", note.offset, note.onset, MAX_SECONDS)
        return cls(tuple(ordered))

    @property
    def seconds(self) -> float:
        """Time at which the last note ends."""
        return max((note.offset for note in self.notes), default=0.0)

    def transposed(self, semitones: int) -> "Performance":
        """Transpose the performance; notes outside the piano's keys are dropped.

        >>> Performance.of([Note(0.0, 1.0, 60, 80), Note(0.0, 1.0, 108, 80)]).transposed(2).notes
        (Note(onset=0.0, offset=1.0, pitch=62, velocity=80),)
        """
        moved = (note._replace(pitch=note.pitch + semitones) for note in self.notes)
        return Performance(tuple(note for note in moved if LOWEST <= note.pitch <= HIGHEST))

    def stretched(self, factor: float) -> "Performance":
        """Stretch time by `factor`.

        >>> Performance.of([Note(1.0, 2.0, 60, 80)]).stretched(0.5).notes[0].offset
        1.0
        """
        return Performance.of(
            note._replace(onset=note.onset * factor, offset=note.offset * factor) for note in self.notes
        )

    def excerpt(self, start: float, stop: float) -> "Performance":
        """Return the notes that begin in [start, stop), with times relative to `start`.

        >>> Performance.of([Note(1.0, 9.0, 60, 80), Note(3.0, 4.0, 62, 80)]).excerpt(1.0, 3.0).notes
        (Note(onset=0.0, offset=2.0, pitch=60, velocity=80),)
        """
        inside = (note for note in self.notes if start <= note.onset < stop)
        return Performance.of(
            note._replace(onset=note.onset - start, offset=min(note.offset, stop) - start) for note in inside
        )

    def from_first_note(self) -> "Performance":
        """Return the performance without the silence before its first note.

        >>> Performance.of([Note(1.0, 9.0, 60, 80)]).from_first_note().notes
        (Note(onset=0.0, offset=8.0, pitch=60, velocity=80),)
        """
        start = self.notes[0].onset if self.notes else 0.0
        moved = (note._replace(onset=note.onset - start, offset=note.offset - start) for note in self.notes)
        return Performance(tuple(moved))

    def on_one_keyboard(self) -> "Performance":
        """Make the performance playable on one piano: a new note ends the last one on its key; no two begin at once.

        Of notes that begin on one key within 10 ms, the loudest is kept, with the latest end.

        >>> melody = Note(0.0, 1.0, 60, 90)
        >>> Performance.of([melody, Note(0.002, 2.0, 60, 50)]).on_one_keyboard().notes
        (Note(onset=0.0, offset=2.0, pitch=60, velocity=90),)
        """
        last: dict[int, int] = {}  # index of the last note of each pitch
        kept: list[Note] = []
        for note in self.notes:
            place = last.get(note.pitch)
            before = None if place is None else kept[place]
            if before is not None and place is not None and note.onset - before.onset < 0.01:
                velocity = max(before.velocity, note.velocity)
                kept[place] = before._replace(offset=max(before.offset, note.offset), velocity=velocity)
                continue
            if before is not None and place is not None:
                kept[place] = before._replace(offset=min(before.offset, note.onset))
            last[note.pitch] = len(kept)
            kept.append(note)
        return Performance(tuple(kept))

    @classmethod
    def from_midi(cls, file: MidiFile, name: str = "MIDI data") -> "Performance":
        """Make a performance from all tracks of a MIDI file without percussion; each note lasts as long as it sounds.

        As in Magenta, the sustain pedal of a track and channel lengthens notes to the release of the pedal, or to the
        next onset of the same pitch if that is earlier. Raises UsageError for a file longer than six hours.

        >>> Performance.from_midi(Performance.of([Note(0.0, 1.0, 60, 80)]).to_midi()).notes
        (Note(onset=0.0, offset=1.0, pitch=60, velocity=80),)
        """
        played = [note for track in file.tracks for note in _track_notes(track)]
        tempo = TempoMap(file)
        onsets = tempo.seconds([note.on for note in played])
        offsets = tempo.seconds([note.off for note in played])
        if played and offsets.max() > MAX_SECONDS:
            raise UsageError(
                f"{name}: lasts {offsets.max() / 3600:.0f} hours; at most {MAX_SECONDS / 3600:.0f} are read"
            )
        return cls.of(
            Note(onset, offset, note.pitch, note.velocity)
            for note, onset, offset in zip(played, onsets.tolist(), offsets.tolist(), strict=True)
        )

    def to_midi(self) -> MidiFile:
        """Make a MIDI file with one piano track, with ticks of one millisecond.

        >>> len(Performance.of([Note(0.0, 1.0, 60, 80)]).to_midi().tracks[0].messages)
        4
        """
        events: list[tuple[int, int, Message]] = []
        for note in self.notes:
            on = round(note.onset * 1000)
            off = max(on + 1, round(note.offset * 1000))
            events.append((on, 1, Message(on, _NOTE_ON, bytes([note.pitch, note.velocity]))))
            events.append((off, 0, Message(off, _NOTE_OFF, bytes([note.pitch, 0]))))
        events.sort(key=lambda event: event[:2])  # if a key is released and struck at once, the release comes first
        tempo = Message(0, META, bytes([SET_TEMPO]) + (1000 * TICKS).to_bytes(3))
        program = Message(0, 0xC0, bytes([0]))
        messages = (tempo, program, *(message for _, _, message in events))
        return MidiFile(TICKS, (Track(messages, messages[-1].tick),), format=0)


@dataclass(frozen=True)
class Reading:
    """The notes that ids encode, and for each id its note (-1: none) and its time in seconds.

    Notes are in the order in which the ids begin them.
    """

    notes: tuple[Note, ...]
    owners: tuple[int, ...]
    times: tuple[float, ...]


class _Played(NamedTuple):
    """A note of a track: the ticks at which its key is pressed, and released or at which it stops sounding."""

    on: int
    off: int
    pitch: int
    velocity: int


def _track_notes(track: Track) -> list[_Played]:
    """Return the notes of a track with their sounding lengths."""
    pressed: dict[int, list[_Played]] = defaultdict(list)
    pedals: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    open_notes: dict[tuple[int, int], deque[tuple[int, int]]] = defaultdict(deque)
    for tick, status, data in track.messages:
        kind = status & 0xF0
        channel = status & 0x0F
        if channel == _DRUMS:
            continue
        if kind == _NOTE_ON and data[1]:
            open_notes[channel, data[0]].append((tick, data[1]))
        elif kind in (_NOTE_ON, _NOTE_OFF):
            if waiting := open_notes[channel, data[0]]:
                on, velocity = waiting.popleft()
                pressed[channel].append(_Played(on, tick, data[0], velocity))
        elif kind == _CONTROL and data[0] == _SUSTAIN:
            pedals[channel].append((tick, data[1] >= _SUSTAIN))
    for (channel, pitch), waiting in open_notes.items():
        pressed[channel] += [_Played(on, track.end, pitch, velocity) for on, velocity in waiting]
    return [note for channel, notes in pressed.items() for note in _sustained(notes, pedals[channel])]


_PEDAL_DOWN = 0  # order of events at one tick, as in Magenta
_PEDAL_UP = 1
_PRESS = 2
_RELEASE = 3


def _sustained(notes: Sequence[_Played], pedal: Sequence[tuple[int, bool]]) -> list[_Played]:
    """Lengthen notes by the pedal."""
    events = [(tick, _PEDAL_DOWN if down else _PEDAL_UP, -1) for tick, down in pedal]
    events += [(note.on, _PRESS, i) for i, note in enumerate(notes)]
    events += [(note.off, _RELEASE, i) for i, note in enumerate(notes)]
    keys = _Keys(notes)
    for tick, kind, i in sorted(events):
        if kind == _PRESS:
            keys.press(tick, i)
        elif kind == _RELEASE:
            keys.release(i)
        elif kind == _PEDAL_DOWN:
            keys.pedal_is_down = True
        else:
            keys.lift_pedal(tick)
    keys.lift_pedal(max((note.off for note in notes), default=0))
    lengthened = [note._replace(off=end) for note, end in zip(notes, keys.ends, strict=True)]
    # A note that is struck twice at one onset under the pedal is a duplicate.
    return [new for new, old in zip(lengthened, notes, strict=True) if new.off > new.on or old.off == old.on]


class _Keys:
    """The keys of a piano with a sustain pedal. A note changes state at most twice, so the total time is linear."""

    def __init__(self, notes: Sequence[_Played]) -> None:
        self.ends = [note.off for note in notes]
        self.pedal_is_down = False
        self._notes = notes
        self._held: dict[int, set[int]] = defaultdict(set)  # notes whose key is down, by pitch
        self._ringing: dict[int, set[int]] = defaultdict(set)  # notes released while the pedal is down, by pitch

    def press(self, tick: int, i: int) -> None:
        pitch = self._notes[i].pitch
        if self.pedal_is_down:
            for other in (*self._held.pop(pitch, ()), *self._ringing.pop(pitch, ())):
                self.ends[other] = tick
        self._held[pitch].add(i)

    def release(self, i: int) -> None:
        pitch = self._notes[i].pitch
        if i in self._held[pitch]:  # otherwise struck again in the meantime
            self._held[pitch].remove(i)
            if self.pedal_is_down:
                self._ringing[pitch].add(i)

    def lift_pedal(self, tick: int) -> None:
        self.pedal_is_down = False
        for notes in self._ringing.values():
            for i in notes:
                self.ends[i] = tick
        self._ringing.clear()
