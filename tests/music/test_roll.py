"""Piano rolls and arcs: every note is there, and every head's numbers add up."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import UsageError
from cutaway.music import roll
from cutaway.music.perf388 import PerformanceCodec
from cutaway.music.performance import Note, Performance, Reading
from cutaway.music.roll import Attention, draw_attention, draw_roll, note_weights
from tests.music.test_performance import performances

SVG = "{http://www.w3.org/2000/svg}"
CODEC = PerformanceCodec()
COLOURS = ["#2271b2", "#d55e00", "#2c8a57"]


def elements(svg: str, kind: str) -> list[ET.Element]:
    return [element for element in ET.fromstring(svg).iter() if element.get("class") == kind]


def size(element: ET.Element, key: str) -> float:
    return float(element.attrib[key])


@given(performance=performances(), title=st.text(max_size=20).filter(str.isprintable))
def test_every_note_is_a_rectangle_in_the_picture(performance: Performance, title: str) -> None:
    svg = draw_roll(performance, title)
    root = ET.fromstring(svg)
    assert root.get("aria-label") == title
    found = elements(svg, "note")
    assert [(size(e, "data-pitch"), size(e, "data-velocity")) for e in found] == [n[2:] for n in performance.notes]
    for element in found:
        assert size(element, "x") + size(element, "width") <= size(root, "width")
        assert size(element, "y") + size(element, "height") <= size(root, "height")


def test_higher_is_higher_later_is_further_and_louder_is_darker() -> None:
    svg = draw_roll(Performance.of([Note(0, 1, 60, 40), Note(1, 2, 72, 120)]))
    first, second = elements(svg, "note")
    assert size(first, "y") > size(second, "y")
    assert size(first, "x") < size(second, "x")
    assert size(first, "fill-opacity") < size(second, "fill-opacity")


def test_too_many_notes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll, "MOST_NOTES", 2)
    with pytest.raises(UsageError, match="3 notes are too many for a picture; at most 2 are drawn"):
        draw_roll(Performance.of([Note(0, 1, 60, 80)] * 3))


@given(performance=performances().filter(lambda p: bool(p.notes)), seed=st.integers(0, 2**32), top=st.integers(0, 8))
def test_arcs_and_strip_of_a_head_add_up(performance: Performance, seed: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    ids = CODEC.encode(performance)
    query = int(rng.integers(len(ids)))
    weights = rng.dirichlet(np.ones(query + 1), size=3)
    svg = draw_attention(CODEC.read(ids), Attention(query, weights, ["a", "b & c", "d"], COLOURS[:3]), top=top)
    for label in ("a", "b & c", "d"):
        arcs = [e for e in elements(svg, "arc") if e.get("data-head") == label]
        [rest] = [e for e in elements(svg, "rest") if e.get("data-head") == label]
        assert len(arcs) <= top
        assert sum(size(e, "data-w") for e in [*arcs, rest]) == pytest.approx(1, abs=1e-3)


def test_an_arc_has_the_weight_of_its_notes_tokens_and_its_heads_colour() -> None:
    ids = [376, 60, 265, 188, 64, 265, 192, 67]
    weights = np.array([[0.1, 0.2, 0.05, 0.3, 0.05, 0, 0.2, 0.1], [0, 0, 0, 0, 1, 0, 0, 0]])
    svg = draw_attention(CODEC.read(ids), Attention(7, weights, ["0", "1"], COLOURS[:2]))
    arcs = [(e.get("data-head"), e.get("data-note"), size(e, "data-w")) for e in elements(svg, "arc")]
    assert arcs == [("0", "0", 0.5), ("0", "1", 0.25), ("0", "2", 0.1), ("1", "1", 1.0)]
    widths = [size(e, "stroke-width") for e in elements(svg, "arc")]
    assert widths[0] == pytest.approx(5 * widths[2], abs=0.02)
    assert [e.get("stroke") for e in elements(svg, "arc")] == [*COLOURS[:1] * 3, COLOURS[1]]
    assert [size(e, "data-w") for e in elements(svg, "rest")] == pytest.approx([0.15, 0])
    assert len(elements(svg, "query")) == 1


def test_a_token_without_a_note_asks_from_its_time() -> None:
    svg = draw_attention(CODEC.read([376, 60, 265]), Attention(2, np.full((1, 3), 1 / 3), ["0"], COLOURS[:1]))
    assert elements(svg, "query") == []
    assert len(elements(svg, "arc")) == 1


@pytest.mark.parametrize(("query", "shape"), [(2, (1, 2)), (1, (2, 2)), (3, (1, 4)), (-1, (1, 0))])
def test_weights_of_another_shape_are_refused(query: int, shape: tuple[int, int]) -> None:
    with pytest.raises(UsageError):
        draw_attention(CODEC.read([376, 60, 265]), Attention(query, np.zeros(shape), ["0"], COLOURS[:1]))


def test_the_strongest_notes_come_first() -> None:
    reading = Reading((Note(0, 1, 60, 80), Note(1, 2, 62, 80)), (0, 1, -1), (0, 1, 1))
    arcs, rest = note_weights(reading, np.array([0.2, 0.3, 0.5]), top=1)
    assert arcs == [(1, 0.3)]
    assert rest == pytest.approx(0.7)
    assert note_weights(reading, np.array([0.0, 0.3]), top=9)[0] == [(1, 0.3)]
