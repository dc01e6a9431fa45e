"""F18 to F21 and F29: the vector of a token."""

import numpy as np
import pytest

from cutaway.config import GPT2Config
from cutaway.figures import find_figure
from cutaway.figures.article import (
    part1_embeddings,
)
from cutaway.figures.panels import Grid, LocalizedText
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Trace
from tests.figures.drawing import draw, is_ok, make_trace


def test_check_fails_on_wrong_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    monkeypatch.setattr(part1_embeddings, "_pooled", lambda vector, count: vector[:count])
    assert not is_ok(trace, find_figure("F29"))


def test_shows_the_tokens_row_among_its_neighbours() -> None:
    trace = make_trace("built-in")
    grid, row = draw(trace, find_figure("F18")).panels[1:]
    assert isinstance(grid, Grid)
    assert grid.rows[4] == "→ ␣it"
    assert isinstance(row, Grid)
    assert grid.cells.index(4, 0) == row.cells.index(0, 0) == (trace.ids[-1], 0)


def test_pooled_vectors_are_averages() -> None:
    trace = make_trace("tiny 7")
    three, twelve, all_numbers = (panel for panel in draw(trace, find_figure("F29")).panels if isinstance(panel, Grid))
    vector = trace["resid.pre.0"][-1]
    assert three.cells.values[0] == pytest.approx(vector.reshape(3, 8).mean(axis=1))
    assert twelve.cells.values[0] == pytest.approx(vector.reshape(12, 2).mean(axis=1))
    assert (all_numbers.cells.values[0] == vector).all()
    for pooled in (three, twelve):
        assert isinstance(pooled.title, LocalizedText)
        assert pooled.title.en.startswith("pooled")
        assert "池化" in pooled.title.zh


def test_ids_beyond_the_tokenizer_are_shown_as_numbers() -> None:
    tokenizer = Tokenizer.gpt2()
    config = GPT2Config(n_vocab=tokenizer.n_vocab + 3, n_ctx=4, n_embd=2, n_head=1, n_layer=1)
    weights = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    grid = draw(Trace(config, weights, tokenizer, [tokenizer.n_vocab + 2]), find_figure("F18")).panels[1]
    assert isinstance(grid, Grid)
    assert list(grid.rows[-4:]) == ["<|endoftext|>", "#50257", "#50258", "→ #50259"]
