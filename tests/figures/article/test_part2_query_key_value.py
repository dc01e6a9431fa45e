"""F44 to F46: a token enters a block."""

import numpy as np
import pytest

from cutaway.figures import Selection, find_figure
from cutaway.figures.panels import Box, Drawing, Grid, Label, Number, Table
from tests.figures.drawing import draw, make_trace


@pytest.mark.parametrize(("name", "norm"), [("F44", "ln1"), ("F46", "ln1"), ("F55", "ln2")])
def test_shows_what_layer_norm_subtracts(name: str, norm: str) -> None:
    trace = make_trace("built-in")
    drawn = draw(trace, find_figure(name))
    tables = [panel for panel in drawn.panels if isinstance(panel, Table)]
    mean, rstd = tables[0].rows[0]
    assert isinstance(mean, Number)
    assert isinstance(rstd, Number)
    assert (mean.tensor, rstd.tensor) == (f"{norm}.mean.0", f"{norm}.rstd.0")
    x = trace["resid.pre.0" if norm == "ln1" else "resid.mid.0"][8].astype(np.float64)
    np.testing.assert_allclose([mean.value, rstd.value], [x.mean(), 1 / np.sqrt(x.var() + 1e-5)], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "tensor", "shown"),
    [("F45", "h.0.attn.c_attn", 96), ("F53", "h.0.attn.c_proj", 96)],
)
def test_matrices_are_shown_with_their_biases(name: str, tensor: str, shown: int) -> None:
    trace = make_trace("built-in")
    grids = [panel for panel in draw(trace, find_figure(name)).panels if isinstance(panel, Grid)]
    weight, bias = (grid for grid in grids if grid.cells.tensor.startswith(tensor))
    assert (weight.cells.tensor, bias.cells.tensor) == (f"{tensor}.weight", f"{tensor}.bias")
    rows, columns = weight.cells.values.shape
    assert (rows, columns) == (16, shown)
    for column in range(columns):  # each bias is that of the column above it
        assert bias.cells.index(0, column) == weight.cells.index(0, column)[1:]
    last = weight.cells.index(rows - 1, columns - 1)
    assert weight.cells.values[-1, -1] == trace[f"{tensor}.weight"][last]


@pytest.mark.parametrize(("position", "slots"), [(0, "12345"), (3, "23456"), (6, "34567")])
def test_slots_around_the_token_are_numbered(position: int, slots: str) -> None:
    drawn = draw(make_trace("tiny 7"), find_figure("F44"), Selection(position=position))
    drawing = drawn.panels[1]
    assert isinstance(drawing, Drawing)
    assert "".join(str(shape.text) for shape in drawing.shapes if isinstance(shape, Label)) == slots
    (chosen,) = (shape for shape in drawing.shapes if isinstance(shape, Box) and shape.colour == "output")
    assert chosen.text == f"#{make_trace('tiny 7').ids[position]}"
    assert f"in slot {position + 1} of 48" in drawn.text(columns=500)
