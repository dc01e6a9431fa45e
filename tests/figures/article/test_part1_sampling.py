"""F28: the choice of the next token."""

from dataclasses import replace

import numpy as np
import pytest

from cutaway.figures import find_figure
from cutaway.figures.article import (
    part1_sampling,
)
from cutaway.figures.panels import LocalizedText, Number, Table
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import distribution
from cutaway.numerics import softmax
from cutaway.trace import Trace
from tests.figures.drawing import (
    draw,
    is_ok,
    make_trace,
)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda logits, sampling: (np.arange(len(logits)), softmax(logits)),
        lambda logits, each: distribution(logits, replace(each, temperature=1.0)),
        lambda logits, each: distribution(logits, replace(each, top_p=1.0)),
    ],
)
def test_check_fails_on_a_wrong_choice(wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, find_figure("F28"))
    monkeypatch.setattr(part1_sampling, "distribution", wrong)
    assert not is_ok(trace, find_figure("F28"))


def top_rows(trace: Trace, k: int) -> list[float]:
    """The probabilities of the likeliest tokens after the last, with that cut."""
    ids, share = distribution(trace.logits_at(-1), GenerationConfig(top_k=k))
    return [float(share[i]) for i in np.argsort(-trace.logits_at(-1)[ids], kind="stable")[:10]]


def test_candidates_are_cut_as_in_sampling() -> None:
    trace = make_trace("tiny 7")
    table = draw(trace, find_figure("F28")).panels[1]
    assert isinstance(table, Table)
    *tokens, left, _ = table.rows
    for column, k in ((3, 0), (4, 40), (5, 1)):
        first = [row[column].value for row in tokens if isinstance(row[column], Number)][:5]  # type: ignore[union-attr]
        assert first == pytest.approx(top_rows(trace, k)[: len(first)], abs=1e-7)
    assert [cell.value for cell in left if isinstance(cell, Number)] == [61, 40, 1]


@pytest.mark.parametrize(("panel", "cuts"), [(1, {"k = 1": 1, "k = 40": 40}), (3, {"p = 0.9": None, "k = 40": 40})])
def test_draws_a_line_where_candidates_are_cut(panel: int, cuts: dict[str, int | None]) -> None:
    table = draw(make_trace("tiny 7"), find_figure("F28")).panels[panel]
    assert isinstance(table, Table)
    lines = {row[1].en: i for i, row in enumerate(table.rows[:-2]) if isinstance(row[1], LocalizedText)}
    assert list(lines) == [f"cut at {name}" for name in cuts]
    for i, (name, rank) in zip(lines.values(), cuts.items(), strict=True):
        column = list(table.columns).index(name)
        assert isinstance(table.rows[i - 1][column], Number)
        assert table.rows[i + 1][column] == part1_sampling.CUT_OFF
        assert rank is None or table.rows[i - 1][0] == str(rank)


def test_draws_no_line_without_a_cut() -> None:
    trace = make_trace("one head 7")  # of 7 tokens
    table = draw(trace, find_figure("F28")).panels[1]
    assert isinstance(table, Table)
    assert [row[1].en for row in table.rows[:-2] if isinstance(row[1], LocalizedText)] == ["cut at k = 1"]
