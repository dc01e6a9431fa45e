"""F60, from source to target."""

import numpy as np
import pytest

from cutaway.figures import Selection, draw, find_figure
from cutaway.figures.panels import Bars, Grid
from cutaway.trace import Trace
from tests.figures.drawing import Falsified, assert_drawn, is_ok, make_trace


def prefixed(n_prefix: int) -> Trace:
    """The trace of seven tokens, of which the first see each other."""
    causal = make_trace("tiny 7")
    return Trace(causal.config, causal.weights, None, causal.ids, n_prefix=n_prefix)


def test_a_translation_is_drawn_from_source_to_target() -> None:
    trace = prefixed(4)
    assert_drawn(trace, find_figure("F60"), Selection(1, 2, 0))
    figure = draw(trace, "F60", layer=1, head=2)
    _, head, mean, shares = figure.panels
    assert isinstance(head, Grid)
    assert isinstance(mean, Grid)
    assert isinstance(shares, Bars)
    np.testing.assert_array_equal(head.cells.values, trace["attn.1"][2, 3:, :4])
    np.testing.assert_allclose(mean.cells.values, trace["attn.1"][:, 3:, :4].mean(0), rtol=1e-6)
    np.testing.assert_allclose(shares.cells.values[:, 0], trace["attn.1"][2, 3:, :4].sum(-1), rtol=1e-6)
    assert shares.cells.values[0] == pytest.approx(1)  # the last token of the source sees no other
    assert figure.check is not None
    assert "the source is read both ways" in figure.check.statement.en
    assert "源文是双向阅读的" in figure.check.statement.zh


def test_a_causal_trace_is_drawn_from_the_chosen_token() -> None:
    figure = draw(make_trace("tiny 7"), "F60", position=2)
    assert isinstance(figure.panels[1], Grid)
    assert figure.panels[1].cells.values.shape == (5, 3)
    assert figure.check is not None
    assert "everything is read from left to right" in figure.check.statement.en


def test_a_prefix_that_is_not_seen_is_found() -> None:
    causal = make_trace("tiny 7")
    forgetful = Falsified(causal.config, causal.weights, None, causal.ids, n_prefix=4)
    forgetful.false = {"attn.0": causal["attn.0"]}
    assert is_ok(prefixed(4), find_figure("F60"))
    assert not is_ok(forgetful, find_figure("F60"))


@pytest.mark.parametrize(("n_prefix", "source"), [(4, "n_prefix"), (0, "position + 1")])
def test_the_source_is_counted_by_what_it_is(n_prefix: int, source: str) -> None:
    check = draw(prefixed(n_prefix), "F60", position=2).check
    assert check is not None
    assert source in [number.tensor for number in check.statement.numbers()]


def test_a_target_that_sees_the_next_token_is_found() -> None:
    causal = make_trace("tiny 7")
    attn = causal["attn.0"].copy()
    attn[0, 3, 3:5] = attn[0, 3, 4:2:-1] + attn[0, 3, 3] / 2
    attn[0, 3, :5] /= attn[0, 3, :5].sum()
    wrong = Falsified(causal.config, causal.weights, None, causal.ids)
    wrong.false = {"attn.0": attn}
    assert not is_ok(wrong, find_figure("F60"), Selection(position=3))
