"""Sound of a performance: a small additive piano in NumPy, or FluidSynth if it is installed.

A note is a sum of slightly stretched partials. Higher partials decay faster, and all are damped when the key is
released. The output is deterministic.
"""

import io
import shutil
import subprocess
import wave
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.music.performance import Performance
from cutaway.untrusted import quote_path

Samples = NDArray[np.float32]

RATE = 44_100  # samples per second
MAX_SECONDS = 3600.0  # longest performance to render
N_PARTIALS = 12
RELEASE = 0.12  # seconds in which a damped note decays to 1/400
TAIL = 0.5  # seconds rendered after the last note
SOUNDFONTS = (  # from packages of Debian and other systems
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/TimGM6mb.sf2",
    "/usr/share/soundfonts/default.sf2",
)
PEAK = 0.9  # loudest sample
LONGEST_TONE = 30.0  # seconds until a held key is inaudible: less than one step of 16 bits
STRETCH = 0.0004  # inharmonicity: partial n sounds at n * sqrt(1 + STRETCH * n**2)
_HEADROOM = 0.25  # quiet pieces stay quiet; only pieces that would clip are scaled down


def synthesize(performance: Performance) -> Samples:
    """Render a performance as mono samples (n,) from -1 to 1. Raises UsageError if it lasts over an hour.

    >>> from cutaway.music.performance import Note
    >>> samples = synthesize(Performance.of([Note(0.0, 0.5, 69, 80)]))
    >>> samples.shape, bool(0.01 < abs(samples).max() < 1)
    ((44100,), True)
    """
    if performance.seconds > MAX_SECONDS:
        raise UsageError(f"the piece lasts {performance.seconds / 60:.0f} minutes; at most 60 can be rendered")
    sound = np.zeros(round((performance.seconds + TAIL) * RATE), np.float32)
    for note in performance.notes:
        length = round(min(note.offset - note.onset, LONGEST_TONE) * RATE)
        tone = (note.velocity / 127) ** 1.5 * _tone(note.pitch, length)
        start = round(note.onset * RATE)
        part = sound[start : start + len(tone)]
        part += tone[: len(part)]
    sound *= _HEADROOM
    return sound * np.float32(min(1.0, PEAK / max(float(np.abs(sound).max(initial=0)), 1e-9)))


@lru_cache(maxsize=128)  # at most 5 MB each
def _tone(pitch: int, length: int) -> Samples:
    """Render a note of `length` samples until its release, plus its damping."""
    release = round(RELEASE * RATE)
    seconds = np.arange(length + release, dtype=np.float32) / RATE
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    tone = np.zeros_like(seconds)
    for number in range(1, N_PARTIALS + 1):
        partial = frequency * number * np.sqrt(1 + STRETCH * number**2)
        if partial > RATE / 2.2:
            break
        decay = (0.35 + frequency / 900) * (1 + 0.35 * (number - 1))  # per second
        amplitude = np.float32(number**-1.6)
        tone += amplitude * np.exp(-decay * seconds) * np.sin(np.float32(2 * np.pi * partial) * seconds)
    attack = np.minimum(seconds / 0.004, 1)
    damping = np.exp(-6 * np.maximum(seconds - length / RATE, 0) / RELEASE)
    return (tone * attack * damping).astype(np.float32)


def wav_bytes(samples: Samples) -> bytes:
    """Encode samples as a mono WAV file of 16 bits.

    >>> len(wav_bytes(np.zeros(441, np.float32)))
    926
    """
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return stream.getvalue()


def find_fluidsynth() -> str | None:
    """Return the path of the `fluidsynth` command; None if it is not installed.

    >>> find_fluidsynth() == shutil.which("fluidsynth")
    True
    """
    return shutil.which("fluidsynth")


def find_soundfont() -> Path | None:
    """Return the SoundFont that the system provides for FluidSynth; None if there is none.

    >>> found = find_soundfont()
    >>> found is None or found.is_file()
    True
    """
    return next((path for path in map(Path, SOUNDFONTS) if path.is_file()), None)


def render_with_fluidsynth(performance: Performance, soundfont: Path, path: Path) -> None:
    """Render a performance to a WAV file with FluidSynth. Raises UsageError if it or the SoundFont is missing or fails.

    >>> render_with_fluidsynth(Performance(()), Path("nowhere.sf2"), Path("a.wav"))
    Traceback (most recent call last):
    cutaway.errors.UsageError: nowhere.sf2: no such file
    """
    if not soundfont.is_file():
        raise UsageError(f"{quote_path(soundfont)}: no such file")
    command = find_fluidsynth()
    if command is None:
        raise UsageError("fluidsynth is not installed; without --soundfont the built-in piano plays")
    with TemporaryDirectory() as directory:
        midi = Path(directory) / "piece.mid"
        performance.to_midi().write(midi)
        arguments = [
            command,
            "-ni",
            "-q",
            "-r",
            str(RATE),
            "-F",
            str(path.absolute()),
            str(soundfont.absolute()),
            str(midi),
        ]
        result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if result.returncode or not path.is_file():
        lines = result.stderr.strip().splitlines() or ["no reason given"]
        raise UsageError(f"fluidsynth failed: {lines[-1]:.200}")
