"""Four voices on a grid of sixteenths: each step has one token for each of soprano, alto, tenor and bass.

| ids | event |
|---|---|
| 0–45 | the pitches 36 to 81 |
| 46 | a rest |
| 47 | the end of a piece, and the beginning of the next |

A voice that stays on a pitch holds one note. Any ids can be decoded: unknown ids and an incomplete last step are
ignored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cutaway.errors import UsageError
from cutaway.music.codec_file import write_codec
from cutaway.music.performance import MAX_SECONDS, Note, Performance, Reading
from cutaway.music.pitches import pitch_name

NAME = "satb16"
LOWEST = 36
HIGHEST = 81
REST = HIGHEST - LOWEST + 1
END = REST + 1
N_VOCAB = END + 1
VOICES = 4
SECONDS = 0.18  # per sixteenth: 83 quarters per minute
VELOCITY = 72
# A cadence in C major: one beat each on the tonic, the subdominant, the dominant and the tonic.
EXAMPLE = tuple(
    pitch - LOWEST
    for chord in ((72, 67, 64, 48), (72, 69, 65, 53), (71, 67, 62, 55), (72, 67, 64, 48))
    for _ in range(4)
    for pitch in chord
)
_MAX_STEPS = int(MAX_SECONDS / SECONDS) - 1

Step = Sequence[int]  # pitches from soprano to bass, -1 for a rest
Chorale = Sequence[Step]


@dataclass(frozen=True)
class ChoraleCodec:
    """Converts chorales to ids and ids to performances.

    >>> codec = ChoraleCodec()
    >>> ids = codec.encode([[74, 70, 65, 58], [74, 70, 65, -1]])
    >>> [codec.label(index) for index in ids[4:]]
    ['D5', 'B♭4', 'F4', 'rest']
    """

    name: str = NAME
    n_vocab: int = N_VOCAB
    bos: int = END
    eos: int = END
    example: tuple[int, ...] = EXAMPLE

    def encode(self, chorale: Chorale) -> list[int]:
        """Encode a chorale, without the END that separates pieces. Raises UsageError if it is invalid.

        >>> ChoraleCodec().encode([[74, 70, 65, 20]])
        Traceback (most recent call last):
        cutaway.errors.UsageError: step 1: a voice must be a pitch from 36 to 81, or -1 for a rest, not 20
        """
        ids: list[int] = []
        for number, step in enumerate(chorale, 1):
            if len(step) != VOICES:
                raise UsageError(f"step {number}: there must be {VOICES} voices, not {len(step)}")
            for pitch in step:
                if pitch != -1 and not LOWEST <= pitch <= HIGHEST:
                    wanted = f"a pitch from {LOWEST} to {HIGHEST}, or -1 for a rest"
                    raise UsageError(f"step {number}: a voice must be {wanted}, not {pitch}")
                ids.append(REST if pitch == -1 else pitch - LOWEST)
        return ids

    def chorale(self, ids: Iterable[int]) -> list[list[int]]:
        """Decode any ids to the steps of a chorale.

        >>> ChoraleCodec().chorale([47, 38, 34, 29, 46, 38])
        [[74, 70, 65, -1]]
        """
        pitches = [-1 if index == REST else index + LOWEST for index in ids if 0 <= index <= REST]
        whole = len(pitches) - len(pitches) % VOICES
        return [pitches[start : start + VOICES] for start in range(0, whole, VOICES)]

    def decode(self, ids: Iterable[int]) -> Performance:
        """Decode any ids to a performance.

        >>> [note.pitch for note in ChoraleCodec().decode([38, 34, 29, 46] * 2).notes]
        [65, 70, 74]
        """
        return Performance.of(self.read(list(ids)).notes)

    def read(self, ids: Sequence[int]) -> Reading:
        """Decode any ids to notes, with the note and the time of each id. A held note has several ids.

        >>> ChoraleCodec().read([38, 34, 29, 46, 38, 35, 29, 46]).owners
        (0, 1, 2, -1, 0, 3, 2, -1)
        """
        places = [place for place, index in enumerate(ids) if 0 <= index <= REST][: _MAX_STEPS * VOICES]
        whole = len(places) - len(places) % VOICES
        notes: list[Note] = []
        owners = [-1] * len(ids)
        times = [0.0] * len(ids)
        held = [-1] * VOICES  # current note of each voice
        for number, place in enumerate(places[:whole]):
            step, voice = divmod(number, VOICES)
            pitch = ids[place] + LOWEST
            times[place] = step * SECONDS
            if ids[place] == REST:
                held[voice] = -1
                continue
            if held[voice] < 0 or notes[held[voice]].pitch != pitch:
                held[voice] = len(notes)
                notes.append(Note(step * SECONDS, 0.0, pitch, VELOCITY))
            notes[held[voice]] = notes[held[voice]]._replace(offset=(step + 1) * SECONDS)
            owners[place] = held[voice]
        return Reading(tuple(notes), tuple(owners), tuple(times))

    def seconds(self, index: int) -> float:
        """Return the seconds by which an id advances time: a quarter of a step.

        >>> ChoraleCodec().seconds(47)
        0.0
        """
        return SECONDS / VOICES if 0 <= index <= REST else 0.0

    def label(self, index: int) -> str:
        """Return a label for an event; "#id" for an unknown id.

        >>> ChoraleCodec().label(0), ChoraleCodec().label(47), ChoraleCodec().label(48)
        ('C2', 'end', '#48')
        """
        if 0 <= index < REST:
            return pitch_name(index + LOWEST)
        return {REST: "rest", END: "end"}.get(index, f"#{index}")

    def write(self, directory: Path) -> None:
        """Write `codec.json`, from which the codec is read back. Raises OSError if that fails."""
        write_codec(self.name, directory)


def transposed(chorale: Chorale, semitones: int) -> list[list[int]] | None:
    """Transpose a chorale; None if a voice would leave the range.

    >>> transposed([[74, 70, 65, -1]], 2), transposed([[81, 70, 65, 58]], 1)
    ([[76, 72, 67, -1]], None)
    """
    moved = [[pitch if pitch == -1 else pitch + semitones for pitch in step] for step in chorale]
    inside = all(pitch == -1 or LOWEST <= pitch <= HIGHEST for step in moved for pitch in step)
    return moved if inside else None
