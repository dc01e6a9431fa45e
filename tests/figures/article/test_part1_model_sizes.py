"""F03, F07, F14 and F15: the sizes of the models."""

import numpy as np
import pytest

from cutaway.config import PUBLISHED, GPT2Config
from cutaway.figures import find_figure
from cutaway.figures.panels import Box, Drawing
from cutaway.trace import Trace
from tests.figures.drawing import draw, is_ok, make_trace, numbers


@pytest.mark.parametrize(
    ("name", "tensor", "shape"),
    [
        ("F03", "ln_f.bias", (25,)),
        ("F07", "wpe.weight", (49, 24)),
        ("F14", "h.2.attn.c_attn.weight", (24, 72)),
        ("F14", "h.0.crossattention.c_attn.weight", (24, 48)),
        ("F15", "wpe.weight", (49, 24)),
    ],
)
def test_check_fails_on_weights_of_another_shape(name: str, tensor: str, shape: tuple[int, ...]) -> None:
    trace = make_trace("tiny 7")
    other = Trace(trace.config, trace.weights, None, trace.ids)
    other.weights = dict(trace.weights) | {tensor: np.zeros(shape, np.float32)}
    assert is_ok(trace, find_figure(name))
    assert not is_ok(other, find_figure(name))


def test_the_published_sizes_are_counted() -> None:
    table = draw(make_trace("tiny 7"), find_figure("F03")).panels[2]
    counted = [row[0] for row in numbers(table)]
    assert counted[:4] == [124_439_808, 354_823_168, 774_030_080, 1_557_611_200]
    assert counted[4] == make_trace("tiny 7").config.n_params
    table = draw(make_trace("tiny 7"), find_figure("F07")).panels[2]
    assert numbers(table) == [[12, 768, 12], [24, 1024, 16], [36, 1280, 20], [48, 1600, 25], [2, 24, 3]]


def test_boxes_are_as_large_as_the_models() -> None:
    drawing = draw(make_trace("tiny 7"), find_figure("F03")).panels[1]
    assert isinstance(drawing, Drawing)
    areas = [shape.width * shape.height for shape in drawing.shapes if isinstance(shape, Box)]
    for area, model in zip(areas, PUBLISHED, strict=True):
        assert area / areas[0] == pytest.approx(model.config.n_params / GPT2Config().n_params, rel=0.03)
