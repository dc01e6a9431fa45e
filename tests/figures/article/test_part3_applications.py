"""F60 to F66 and T5: named, and not built."""

import pytest

from cutaway.errors import UsageError
from cutaway.figures import draw, drawn
from cutaway.figures.article.part3_applications import FIGURES
from tests.figures.drawing import make_trace


def test_later_figures_are_not_drawn() -> None:
    assert [figure.id for figure in FIGURES] == ["F60", "F61", "F62", "T5", "F63", "F64", "F65", "F66"]
    assert [figure.picture for figure in FIGURES] == [58, 59, 60, None, 61, 62, 63, 64]
    for figure in FIGURES:
        assert (figure.part, figure.status) == (3, "later")
        assert (figure.draw, figure.verify) == (None, None)
        assert figure.tensors == ()


def test_drawing_a_later_figure_says_that_it_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "find_figure", lambda name: FIGURES[0])
    with pytest.raises(UsageError, match=r"^F60 \(Translation with a decoder alone\) is not built yet$"):
        draw(make_trace("tiny 1"), "F60")
