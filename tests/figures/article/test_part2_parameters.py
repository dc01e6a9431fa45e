"""F57 to F59: where the parameters are."""

import numpy as np
import pytest

from cutaway.config import GPT2Config
from cutaway.figures import Figure, find_figure
from cutaway.figures.article.part2_parameters import FIGURES, parameter_panels
from cutaway.figures.panels import Bars, Box, Drawing, Line, Note, Table
from cutaway.figures.render.text import draw_text
from cutaway.parameters import parameter_table
from cutaway.trace import Trace
from tests.figures.drawing import draw, is_ok, make_trace, numbers


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.id)
def test_check_fails_on_an_additional_parameter(figure: Figure) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, figure)
    longer = dict(trace.weights) | {"h.0.mlp.c_fc.bias": np.zeros(97, np.float32)}
    grown = Trace(trace.config, trace.weights, None, trace.ids)
    grown.weights = longer
    assert not is_ok(grown, figure)


def test_shapes_are_listed_beside_the_sizes() -> None:
    table = draw(make_trace("untied 7"), find_figure("F58")).panels[2]
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows] == ["101 × 33", "48 × 33", "33, 33", "101 × 33", "3 × 5,792", ""]


def test_check_fails_on_a_transposed_matrix() -> None:
    trace = make_trace("tiny 7")
    turned = Trace(trace.config, trace.weights, None, trace.ids)
    turned.weights = dict(trace.weights) | {"wpe.weight": trace.weights["wpe.weight"].T}
    assert not is_ok(turned, find_figure("F58"))


def test_says_why_the_articles_column_is_missing() -> None:
    assert "This model has another shape" in draw(make_trace("tiny 7"), find_figure("F59")).text(columns=500)


def test_matrices_are_drawn_to_scale() -> None:
    drawing = draw(make_trace("tiny 7"), find_figure("F57")).panels[1]
    assert isinstance(drawing, Drawing)
    boxes = [shape for shape in drawing.shapes if isinstance(shape, Box)]
    widths = {box.width for box in boxes}
    assert [box.width for box in boxes] == [42, 14, 56, 14]  # 3d, d, 4d and d
    assert [box.height for box in boxes] == [6, 6, 6, 23]  # d, d, d and 4d, in lines
    lines = [shape.to_x - shape.x + 1 for shape in drawing.shapes if isinstance(shape, Line)]
    assert sorted(lines) == sorted([*(box.width for box in boxes), 14, 14])  # a bias each, and two LayerNorms
    assert widths == {14, 42, 56}
    assert max(len(line) for line in draw_text([drawing], "en", 80)) <= 80


@pytest.mark.parametrize("inner", [1, 24, 5000])
def test_matrices_do_not_overlap(inner: int) -> None:
    config = GPT2Config(n_vocab=5, n_ctx=4, n_embd=24, n_head=2, n_layer=1, n_inner=inner)
    weights = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    drawing = draw(Trace(config, weights, None, [1, 2]), find_figure("F57")).panels[1]
    assert isinstance(drawing, Drawing)
    boxes = [shape for shape in drawing.shapes if isinstance(shape, Box)]
    places = [(x, y) for b in boxes for x in range(b.x, b.x + b.width) for y in range(b.y, b.y + b.height)]
    assert len(places) == len(set(places))


def test_shares_are_of_all_parameters() -> None:
    trace = make_trace("untied 7")
    bars = draw(trace, find_figure("F58")).panels[1]
    assert isinstance(bars, Bars)
    assert list(bars.labels) == ["wte", "wpe", "h.0", "h.1", "h.2", "ln_f", "lm_head"]
    assert bars.cells.values.sum() == pytest.approx(1)
    assert bars.cells.values[0, 0] == pytest.approx(101 * 33 / trace.config.n_params)


def test_the_articles_table_is_beside_the_smallest_model() -> None:
    table, *explained = parameter_panels(parameter_table(GPT2Config()))
    assert numbers(table)[-1] == [124_439_808, 124_410_624]
    assert [124_439_808 - 124_410_624] == [29_184]
    notes = [note for note in explained if isinstance(note, Note)]
    assert len(notes) == len(explained) == 3
    for note, figures in zip(notes, (["124,410,624", "29,184"], ["117M", "124M"], ["163,037,184"]), strict=True):
        assert all(figure in note.words.en and figure in note.words.zh for figure in figures)


def test_other_models_have_no_counts_of_the_article() -> None:
    trace = make_trace("tiny 7")
    table, *explained = draw(trace, find_figure("F59")).panels
    assert numbers(table)[-1] == [trace.config.n_params]
    assert len(explained) == 2  # the head, and why the article has no numbers here
    assert isinstance(table, Table)
    assert len(table.columns) == 3
