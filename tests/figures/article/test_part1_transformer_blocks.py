"""The diagrams without numbers, and how all diagrams of part 1 are laid out."""

import json
from functools import cache
from xml.etree import ElementTree as ET

import pytest

from cutaway.figures import Figure
from cutaway.figures.article import (
    part1_autoregression,
    part1_language_model,
    part1_looking_inside,
    part1_model_sizes,
    part1_transformer_blocks,
)
from cutaway.figures.panels import Box, Drawing, Label, Line
from cutaway.figures.render.text import draw_text, entry
from cutaway.layout import width
from tests.figures.drawing import TRACES, draw, make_trace

ALL = [
    each
    for room in (
        part1_language_model,
        part1_transformer_blocks,
        part1_model_sizes,
        part1_autoregression,
        part1_looking_inside,
    )
    for each in room.FIGURES
]


@cache
def drawings(name: str) -> list[Drawing]:
    """All diagrams of part 1, of one of the traces."""
    panels = [panel for each in ALL for panel in draw(make_trace(name), each).panels]
    return [panel for panel in panels if isinstance(panel, Drawing)]


def test_registers_these_figures() -> None:
    assert [(each.id, each.picture) for each in part1_transformer_blocks.FIGURES] == [
        ("F05", 5),
        ("F06", 6),
        ("F10", 8),
        ("F11", 9),
    ]
    assert all((each.part, each.status, each.verify) == (1, "drawn", None) for each in part1_transformer_blocks.FIGURES)


@pytest.mark.parametrize("each", part1_transformer_blocks.FIGURES, ids=lambda each: each.id)
def test_can_be_drawn(each: Figure) -> None:
    drawn = draw(make_trace("tiny 1"), each)
    for language in ("en", "zh"):
        assert drawn.text(language).strip()
        ET.fromstring(drawn.svg(language))
    assert json.loads(json.dumps(drawn.document(), allow_nan=False))["status"] == "drawn"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", TRACES)
def test_labels_fit_their_boxes(name: str, language: str) -> None:
    for drawing in drawings(name):
        for box in (shape for shape in drawing.shapes if isinstance(shape, Box)):
            assert box.height >= 2
            assert width(entry(box.text, language)) + 4 <= box.width, box


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", TRACES)
def test_diagrams_fit_the_terminal(name: str, language: str) -> None:
    for drawing in drawings(name):
        assert max(map(width, draw_text([drawing], language, 80))) <= 80, drawing.title


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_labels_do_not_overlap(language: str) -> None:
    for drawing in drawings("built-in"):
        shown = "\n".join(draw_text([drawing], language, 80))
        for shape in drawing.shapes:
            assert isinstance(shape, Line) or entry(shape.text, language) in shown


@pytest.mark.parametrize("n_layer", [1, 2, 3, 4, 48])
def test_a_tower_is_as_high_as_its_labels(n_layer: int) -> None:
    names = ["a", part1_transformer_blocks.MORE, "b"] if n_layer > 3 else ["a"] * n_layer
    shapes = part1_transformer_blocks.tower(0, 0, 9, names, "query")
    bottoms = [shape.y + (shape.height if isinstance(shape, Box) else 1) for shape in shapes]
    assert max(bottoms) == part1_transformer_blocks.tower_height(names)
    assert sum(isinstance(shape, Label) for shape in shapes) == (n_layer > 3)
