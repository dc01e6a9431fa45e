"""The article's own numbers: tables of their own, which no model's number stands beside."""

import numpy as np
import pytest

from cutaway.figures import draw
from cutaway.figures.article.article_numbers import ATTENDED, NUMBERS, WORDS, article_cells
from cutaway.figures.panels import Arcs, Bars, Grid, Number, Table
from tests.figures.drawing import make_trace


def test_every_table_is_named_as_the_articles_and_can_be_shown() -> None:
    for name, numbers in NUMBERS.items():
        assert name.startswith("article.")
        np.testing.assert_array_equal(article_cells(name).values, np.atleast_2d(numbers))


def test_tables_have_the_shape_of_their_words() -> None:
    for name in ("article.scores", "article.masked", "article.softmax"):
        assert NUMBERS[name].shape == (len(WORDS), len(WORDS))
    assert NUMBERS["article.attention"].shape == (len(ATTENDED),)


def test_weights_are_shares() -> None:
    np.testing.assert_allclose(NUMBERS["article.unmasked"].sum(), 1)
    np.testing.assert_allclose(NUMBERS["article.softmax"].sum(axis=-1), 1, atol=1e-6)
    assert NUMBERS["article.attention"].sum() < 1  # other words have a little


def test_the_masked_scores_are_the_scores() -> None:
    seen = np.isfinite(NUMBERS["article.masked"])
    np.testing.assert_array_equal(seen, np.tri(4, dtype=bool))
    np.testing.assert_array_equal(NUMBERS["article.masked"][seen], NUMBERS["article.scores"][seen])


@pytest.mark.parametrize("name", ["F30", "F33", "F39", "F40"])
def test_panels_never_mix_the_articles_numbers_with_the_models(name: str) -> None:
    panels = draw(make_trace("tiny 7"), name).panels
    of_the_article = [panel for panel in panels if _names(panel) and _is_the_articles(panel)]
    assert of_the_article
    for panel in of_the_article:
        assert all(tensor.startswith("article.") for tensor in _names(panel))
        title = getattr(panel, "title", None)
        assert title is not None
        assert "the article's numbers, an illustration" in title.en
        assert "示意" in title.zh


def _is_the_articles(panel: object) -> bool:
    return any(tensor.startswith("article.") for tensor in _names(panel))


def _names(panel: object) -> list[str]:
    if isinstance(panel, Table):
        return [entry.tensor for row in panel.rows for entry in row if isinstance(entry, Number)]
    return [panel.cells.tensor] if isinstance(panel, Grid | Bars | Arcs) else []
