"""Piano rolls of figures: notes, arcs in the colours of the heads, and strips that make 1 with them."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from cutaway.figures.colours import head_colour
from cutaway.figures.panels import Roll, computed
from cutaway.figures.render.svg_roll import STRIP, draw_roll
from cutaway.music.performance import Note

NOTES = [Note(0.0, 1.0, 60, 40), Note(0.5, 2.0, 64, 120), Note(1.5, 2.0, 67, 80)]
WEIGHTS = np.array([[0.5, 0.25, 0.25], [0.0, 0.75, 0.25]])


def marks(roll: Roll, kind: str, language: str = "en") -> list[ET.Element]:
    root = ET.fromstring(f"<svg>{draw_roll(roll, language).markup}</svg>")
    return [mark for mark in root.iter() if mark.get("class") == kind]


def attending(query: int = 2, seconds: float = 1.5) -> Roll:
    return Roll("roll", NOTES, seconds, query, [0, 1], computed("attn @ notes", WEIGHTS))


def test_every_note_is_a_rectangle_and_louder_ones_are_more_opaque() -> None:
    found = marks(Roll("roll", NOTES), "note")
    assert [(mark.get("data-pitch"), mark.get("data-onset"), mark.get("data-velocity")) for mark in found] == [
        ("60", "0", "40"), ("64", "0.5", "120"), ("67", "1.5", "80")
    ]  # fmt: skip
    assert [mark.get("fill-opacity") for mark in found] == ["0.49", "0.96", "0.72"]
    assert marks(Roll("roll", NOTES), "arc") == []


def test_the_note_that_is_read_alone_has_a_frame() -> None:
    assert [mark.get("stroke-width") for mark in marks(attending(), "note")] == [None, None, "2"]
    assert [mark.get("stroke-width") for mark in marks(attending(query=-1), "note")] == [None, None, None]


def test_an_arc_is_its_heads_and_as_wide_as_its_weight() -> None:
    found = marks(attending(), "arc")
    assert [(mark.get("stroke"), mark.get("stroke-width"), mark.get("data-index")) for mark in found] == [
        (head_colour(0), "4.50", "0,0"), (head_colour(0), "2.25", "0,1"), (head_colour(1), "6.75", "1,1")
    ]  # fmt: skip
    said = [[title.text for title in mark] for mark in found]
    assert said[2] == ["head 1: 75.0 % to E4, 0.50–2.00 s, 120"]
    assert [title.text for title in marks(attending(), "arc", "zh")[2]] == ["头 1：75.0 %，看向 E4, 0.50–2.00 s, 120"]


@pytest.mark.parametrize(
    ("query", "seconds", "start"), [(2, 1.5, "M659.0 "), (-1, 1.0, "M454.0 "), (-1, 9.0, "M864.0 ")]
)
def test_arcs_start_at_the_note_that_is_read_or_at_its_time(query: int, seconds: float, start: str) -> None:
    found = marks(attending(query, seconds), "arc")
    assert all(mark.get("d", "").startswith(start) for mark in found)
    bottom = 64 + 8 * 10
    assert all((f" {bottom}.0Q" in mark.get("d", "")) == (query < 0) for mark in found)


def test_a_strip_has_what_is_on_arcs_and_then_the_rest() -> None:
    root = ET.fromstring(f"<svg>{draw_roll(attending(), 'en').markup}</svg>")
    strips = [mark for mark in root.iter("rect") if mark.get("height") == "10"]
    assert [float(mark.get("width", "")) for mark in strips] == [0.75 * STRIP, 0.25 * STRIP] * 2
    assert [mark.get("data-index") for mark in strips] == [None, "0,2", None, "1,2"]
    assert [float(rest.get("x", "")) for rest in strips[1::2]] == [
        pytest.approx(float(on.get("x", "")) + float(on.get("width", "")), abs=0.1) for on in strips[::2]
    ]
    words = [text.text for text in root.iter("text")]
    assert words.count("75.0 % on arcs, 25.0 % elsewhere") == 2


def test_the_strips_are_below_the_notes_and_inside() -> None:
    drawn = draw_roll(attending(), "en")
    root = ET.fromstring(f"<svg>{drawn.markup}</svg>")
    ends = [float(mark.get("y", "")) + float(mark.get("height", "")) for mark in root.iter("rect")]
    tops = [float(mark.get("y", "")) for mark in root.iter("rect") if mark.get("height") == "10"]
    assert max(ends) <= drawn.height
    assert min(tops) >= 64 + 8 * 10
