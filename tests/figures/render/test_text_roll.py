"""Piano rolls in a terminal."""

import numpy as np

from cutaway.figures.panels import Roll, computed
from cutaway.figures.render.text_roll import draw_roll
from cutaway.music.performance import Note

NOTES = [Note(0.0, 1.0, 60, 20), Note(0.5, 2.0, 64, 120), Note(1.5, 2.0, 60, 80)]


def test_a_line_a_pitch_the_louder_the_darker_and_the_note_that_is_read_marked() -> None:
    assert list(draw_roll(Roll("roll", NOTES, 1.5, 2), "en", columns=22)) == [
        "E4        ████████████",
        "C4    ░░░░░░░░    ◆▓▓▓",
        "      0 s          2 s",
    ]


def test_the_heaviest_notes_of_a_head_are_listed_and_all_else_is_elsewhere() -> None:
    notes = [Note(float(i), i + 1.0, 60 + i, 80) for i in range(6)]
    weights = np.array([[0.05, 0.1, 0.15, 0.2, 0.3, 0.1, 0.1], [0, 0, 0.5, 0, 0, 0, 0.5]])
    roll = Roll("roll", notes, 6.0, -1, range(6), computed("attn @ notes", weights))
    heads = list(draw_roll(roll, "en", columns=40))[-2:]
    listed = "30.0 % E4 4.00 s, 20.0 % E♭4 3.00 s, 15.0 % D4 2.00 s, 10.0 % C♯4 1.00 s, 10.0 % F4 5.00 s"
    assert heads == [f"head 0: {listed}, 15.0 % elsewhere", "head 1: 50.0 % D4 2.00 s, 50.0 % elsewhere"]
    assert list(draw_roll(roll, "zh", columns=40))[-1] == "头 1：50.0 % D4 2.00 s，别处 50.0 %"
