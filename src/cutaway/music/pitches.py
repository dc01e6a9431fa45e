"""Names of pitches."""

_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


def pitch_name(pitch: int) -> str:
    """Return the name of a MIDI pitch with its octave.

    >>> pitch_name(60), pitch_name(70)
    ('C4', 'B♭4')
    """
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"
