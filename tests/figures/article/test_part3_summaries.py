"""F61, F62 and T5: named, and not built."""

import pytest

from cutaway.errors import UsageError
from cutaway.figures import drawn
from cutaway.figures.article.part3_summaries import FIGURES
from tests.figures.drawing import make_trace


def test_drawing_a_later_figure_says_that_it_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "find_figure", lambda name: FIGURES[0])
    with pytest.raises(UsageError, match=r"^F61 \(Summaries: the layout of the training data\) is not built yet$"):
        drawn.draw(make_trace("tiny 1"), "F61")
