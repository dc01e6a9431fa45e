"""Diagrams with a column for each token: their numbers are the trace's, and what is masked stands as such."""

import pytest

from cutaway.figures import Selection, find_figure
from cutaway.figures.panels import Box, Drawing, Number
from tests.figures.drawing import draw, make_trace


def drawing(figure: str, selection: Selection, trace: str = "built-in") -> Drawing:
    found = [
        panel for panel in draw(make_trace(trace), find_figure(figure), selection).panels if isinstance(panel, Drawing)
    ]
    return found[0]


def numbers(panel: Drawing) -> list[Number]:
    return [shape.text for shape in panel.shapes if isinstance(shape, Box) and isinstance(shape.text, Number)]


@pytest.mark.parametrize(("figure", "rows"), [("F33", 3), ("F36", 3), ("F50", 2), ("F51", 3)])
def test_a_step_stands_below_the_one_before(figure: str, rows: int) -> None:
    panel = drawing(figure, Selection(5, 0, 8))
    heights = {shape.y for shape in panel.shapes if isinstance(shape, Box) and isinstance(shape.text, Number)}
    assert len(heights) == rows


@pytest.mark.parametrize("figure", ["F33", "F36", "F50", "F51"])
def test_numbers_of_boxes_are_the_traces(figure: str) -> None:
    trace = make_trace("built-in")
    found = numbers(drawing(figure, Selection(5, 0, 8)))
    assert len(found) >= 10
    for number in found:
        if "*" not in number.tensor:
            assert number.value == pytest.approx(float(trace[number.tensor][number.index]), rel=1e-4, abs=1e-4)


def test_the_keys_with_most_weight_and_the_token_itself_are_drawn() -> None:
    panel = drawing("F33", Selection(1, 1, 40), "long 70")
    keys = [shape.text for shape in panel.shapes if isinstance(shape, Box) and shape.colour == "key"]
    assert len(keys) in (7, 8)
    assert "k 40" in keys


def test_later_tokens_are_masked() -> None:
    masked = [shape for shape in drawing("F36", Selection(5, 0)).shapes if isinstance(shape, Box) and shape.text == "×"]
    assert len(masked) == 2
    masked = [shape for shape in drawing("F37", Selection()).shapes if isinstance(shape, Box) and shape.text == "×"]
    assert len(masked) == 3 + 2 + 1
