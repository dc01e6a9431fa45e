"""The 388 performance events of the Music Transformer (key down, key up, time and velocity) plus an end token.

| ids | event |
|---|---|
| 0–127 | NOTE_ON: a key is struck, with the current velocity |
| 128–255 | NOTE_OFF: a key is released |
| 256–355 | TIME_SHIFT: 10 ms to 1 s pass |
| 356–387 | VELOCITY: of the notes that follow, in 32 steps |
| 388 | the end of a piece, and the beginning of the next |

At one time releases come before strikes, each in order of pitch. A velocity is written only if it changes, before a
NOTE_ON. A pause is written as whole seconds and then the remainder. Any ids can be decoded: the notes of a pitch end in
the order in which they began, a release without a note is ignored, and a note without a release ends after 5 s or with
the piece.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cutaway.music.codec_file import write_codec
from cutaway.music.performance import MAX_SECONDS, Note, Performance, Reading
from cutaway.music.pitches import pitch_name

NAME = "perf388"
NOTE_ON = 0
NOTE_OFF = 128
TIME_SHIFT = 256
VELOCITY = 356
END = 388
N_VOCAB = 389
N_SHIFTS = 100
RATE = 100  # steps per second: the smallest time shift is 10 ms
BIN = 4  # velocities per VELOCITY event
FIRST_VELOCITY = 64  # velocity before the first VELOCITY event
MAX_STEPS = 500  # length of a note that is never released
# The example of "The Illustrated GPT-2": three keys half a second apart, released together, and a fourth after a pause.
EXAMPLE = (376, 60, 305, 64, 305, 67, 355, 188, 192, 195, 305, 381, 65, 305, 193)


@dataclass(frozen=True)
class PerformanceCodec:
    """Converts performances to ids and back.

    >>> codec = PerformanceCodec()
    >>> ids = codec.encode(Performance.of([Note(0.0, 0.5, 60, 80)]))
    >>> [codec.label(index) for index in ids]
    ['velocity 80', 'C4 on', '500 ms', 'C4 off']
    """

    name: str = NAME
    n_vocab: int = N_VOCAB
    bos: int = END
    eos: int = END
    example: tuple[int, ...] = EXAMPLE

    def encode(self, performance: Performance) -> list[int]:
        """Encode a performance, without the END that separates pieces.

        >>> PerformanceCodec().encode(Performance.of([Note(1.5, 1.6, 60, 80)]))
        [355, 305, 376, 60, 265, 188]
        """
        events: list[tuple[int, int, int, int]] = []
        for note in performance.notes:
            on = _steps(note.onset)
            off = max(on + 1, _steps(note.offset))
            events.append((on, NOTE_ON, note.pitch, note.velocity // BIN))
            events.append((off, -1, note.pitch, 0))  # releases sort before strikes
        ids: list[int] = []
        now = 0
        velocity = -1
        for step, kind, pitch, strength in sorted(events):
            ids += _shifts(step - now)
            now = step
            if kind != NOTE_ON:
                ids.append(NOTE_OFF + pitch)
                continue
            if strength != velocity:
                ids.append(VELOCITY + strength)
                velocity = strength
            ids.append(NOTE_ON + pitch)
        return ids

    def decode(self, ids: Iterable[int]) -> Performance:
        """Decode any ids to a performance; unknown ids are ignored.

        >>> PerformanceCodec().decode([60, 128, 265]).notes
        (Note(onset=0.0, offset=0.1, pitch=60, velocity=64),)
        """
        return Performance.of(self.read(list(ids)).notes)

    def read(self, ids: Sequence[int]) -> Reading:
        """Decode ids to notes, with the note and the time of each id.

        >>> PerformanceCodec().read([60, 265, 188]).owners
        (0, -1, 0)
        """
        sounding: dict[int, deque[int]] = defaultdict(deque)  # by pitch, in order of onset
        onsets: list[tuple[int, int, int]] = []
        ends: dict[int, int] = {}
        owners: list[int] = []
        times: list[float] = []
        now = 0
        velocity = FIRST_VELOCITY
        for index in ids:
            owner = -1
            if NOTE_ON <= index < NOTE_OFF:
                owner = len(onsets)
                sounding[index].append(owner)
                onsets.append((now, index, velocity))
            elif NOTE_OFF <= index < TIME_SHIFT and sounding[index - NOTE_OFF]:
                owner = sounding[index - NOTE_OFF].popleft()
                ends[owner] = max(now, onsets[owner][0] + 1)
            elif TIME_SHIFT <= index < VELOCITY:
                now = min(now + index - TIME_SHIFT + 1, _LAST_STEP)
            elif VELOCITY <= index < END:
                velocity = (index - VELOCITY) * BIN + BIN // 2
            owners.append(owner)
            times.append(now / RATE)
        notes = []
        for i, (on, pitch, strength) in enumerate(onsets):
            end = ends.get(i, max(on + 1, min(on + MAX_STEPS, now)))
            notes.append(Note(on / RATE, end / RATE, pitch, strength))
        return Reading(tuple(notes), tuple(owners), tuple(times))

    def seconds(self, index: int) -> float:
        """Return the seconds by which an id advances time.

        >>> PerformanceCodec().seconds(265), PerformanceCodec().seconds(60)
        (0.1, 0.0)
        """
        return (index - TIME_SHIFT + 1) / RATE if TIME_SHIFT <= index < VELOCITY else 0.0

    def label(self, index: int) -> str:
        """Return a label for an event; "#id" for an unknown id.

        >>> codec = PerformanceCodec()
        >>> codec.label(188), codec.label(265), codec.label(388), codec.label(400)
        ('C4 off', '100 ms', 'end', '#400')
        """
        if NOTE_ON <= index < NOTE_OFF:
            return f"{pitch_name(index)} on"
        if NOTE_OFF <= index < TIME_SHIFT:
            return f"{pitch_name(index - NOTE_OFF)} off"
        if TIME_SHIFT <= index < VELOCITY:
            return f"{(index - TIME_SHIFT + 1) * 10} ms"
        if VELOCITY <= index < END:
            return f"velocity {(index - VELOCITY) * BIN}"
        return "end" if index == END else f"#{index}"

    def write(self, directory: Path) -> None:
        """Write `codec.json`, from which the codec is read back. Raises OSError if that fails."""
        write_codec(self.name, directory)


_LAST_STEP = round(MAX_SECONDS * RATE) - MAX_STEPS


def _steps(seconds: float) -> int:
    """Round to steps, with halves up, so that notes one step apart stay apart."""
    return math.floor(seconds * RATE + 0.5)


def _shifts(steps: int) -> list[int]:
    whole, rest = divmod(steps, N_SHIFTS)
    return [TIME_SHIFT + N_SHIFTS - 1] * whole + ([TIME_SHIFT + rest - 1] if rest else [])
