"""Sound: its length, where it is, its pitch, and the files."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from cutaway.errors import UsageError
from cutaway.music import synthesizer
from cutaway.music.performance import Note, Performance
from cutaway.music.synthesizer import LONGEST_TONE, RATE, Samples, render_with_fluidsynth, synthesize, wav_bytes


def energy(samples: Samples, start: float, stop: float) -> float:
    return float(np.square(samples[round(start * RATE) : round(stop * RATE)].astype(np.float64)).mean())


def test_sound_is_where_notes_are() -> None:
    samples = synthesize(Performance.of([Note(0.5, 1.0, 60, 80), Note(2.0, 2.5, 67, 80)]))
    assert len(samples) == round(3.0 * RATE)
    assert samples.dtype == np.float32
    notes = (energy(samples, 0.5, 1.0), energy(samples, 2.0, 2.5))
    rests = (energy(samples, 0, 0.49), energy(samples, 1.3, 1.99), energy(samples, 2.8, 3))
    assert min(notes) > 1000 * max(rests)


@pytest.mark.parametrize("pitch", [33, 45, 60, 69, 81, 96, 108])
def test_a_note_has_its_pitch(pitch: int) -> None:
    samples = synthesize(Performance.of([Note(0.0, 2.0, pitch, 100)]))[: 2 * RATE].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    window = slice(int(frequency * 0.7 * 2), int(frequency * 1.4 * 2))
    found = (np.argmax(spectrum[window]) + window.start) / 2
    assert found == pytest.approx(frequency, rel=0.01)
    assert spectrum[window].max() > 0.9 * spectrum.max()


def test_the_same_piece_sounds_the_same() -> None:
    piece = Performance.of([Note(0.1 * n, 0.1 * n + 0.3, 60 + n, 80) for n in range(10)])
    first = synthesize(piece)
    synthesizer._tone.cache_clear()
    assert np.array_equal(first, synthesize(piece))


def test_louder_is_louder_and_many_notes_do_not_clip() -> None:
    loudness = [np.abs(synthesize(Performance.of([Note(0, 1, 60, v)]))).max() for v in (20, 60, 127)]
    assert loudness[0] < loudness[1] < loudness[2] < 0.9
    crowd = Performance.of([Note(0, 1, pitch, 127) for pitch in range(40, 80)])
    assert np.abs(synthesize(crowd)).max() == pytest.approx(0.9, abs=1e-3)


def test_a_piece_without_notes_is_silent() -> None:
    assert not synthesize(Performance(())).any()


def test_more_than_an_hour_is_refused() -> None:
    with pytest.raises(UsageError, match="the piece lasts 67 minutes; at most 60 can be rendered"):
        synthesize(Performance.of([Note(0, 4000, 60, 80)]))


def test_a_wav_file_holds_the_samples() -> None:
    samples = synthesize(Performance.of([Note(0, 0.1, 60, 80)]))
    with wave.open(io.BytesIO(wav_bytes(samples))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        read = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    assert np.abs(read - samples).max() < 1e-4


def test_a_key_that_stays_down_takes_no_more_memory_than_it_is_heard() -> None:
    lowest = synthesizer._tone(0, round(31 * RATE))
    step = 1 / 32767
    assert np.abs(synthesizer._HEADROOM * lowest[round(LONGEST_TONE * RATE) :]).max() < step
    assert np.abs(synthesize(Performance.of([Note(0, 32, 0, 127)]))[-RATE:]).max() < step
    synthesizer._tone.cache_clear()
    synthesize(Performance.of([Note(0, 40, 60, 80), Note(0, 41, 60, 80)]))
    assert synthesizer._tone.cache_info().currsize == 1


FAKE = """#!/bin/sh
for argument; do last=$argument; done
[ -s "$last" ] || exit 3
while [ "$1" != -F ]; do shift; done
{body}
"""


@pytest.fixture
def fluidsynth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "piano.sf2").write_bytes(b"RIFF")
    return tmp_path / "fluidsynth"


def install(fluidsynth: Path, body: str) -> None:
    fluidsynth.write_text(FAKE.format(body=body))
    fluidsynth.chmod(0o755)


def test_fluidsynth_gets_the_piece_as_midi(fluidsynth: Path, tmp_path: Path) -> None:
    install(fluidsynth, 'cp "$last" "$2"')
    piece = Performance.of([Note(0.0, 1.0, 60, 80)])
    render_with_fluidsynth(piece, tmp_path / "piano.sf2", tmp_path / "a.wav")
    assert (tmp_path / "a.wav").read_bytes() == piece.to_midi().to_bytes()


def test_fluidsynth_that_fails_is_one_line(fluidsynth: Path, tmp_path: Path) -> None:
    install(fluidsynth, "echo no such bank >&2; exit 1")
    with pytest.raises(UsageError, match="fluidsynth failed: no such bank"):
        render_with_fluidsynth(Performance(()), tmp_path / "piano.sf2", tmp_path / "a.wav")


def test_without_fluidsynth_the_message_says_what_to_do(
    fluidsynth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="fluidsynth is not installed; without --soundfont the built-in piano plays"):
        render_with_fluidsynth(Performance(()), tmp_path / "piano.sf2", tmp_path / "a.wav")
