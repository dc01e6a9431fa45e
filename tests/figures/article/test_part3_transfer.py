"""T5: both losses of a recorded run, and what pre-training saves."""

import pytest

from cutaway.figures import find_figure
from cutaway.figures.article import part3_transfer
from cutaway.figures.article.part3_transfer import Transfer, recorded
from tests.figures.drawing import assert_drawn, draw, is_ok, make_trace, numbers

FIGURE = find_figure("T5")


def test_it_is_drawn_for_any_model() -> None:
    assert_drawn(make_trace("tiny 1"), FIGURE)
    assert draw(make_trace("tiny 7"), FIGURE).text() == draw(make_trace("one head 1"), FIGURE).text()


def test_the_table_has_both_losses_and_their_difference() -> None:
    table = draw(make_trace("tiny 1"), FIGURE).panels[1]
    for share, scratch, pretrained, saved in numbers(table):
        assert 0 < share <= 1
        assert saved == pytest.approx(scratch - pretrained)
        assert pretrained < scratch


def test_a_run_in_which_pre_training_is_worth_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded()
    worse = Transfer(run.shares, run.pretrained, run.scratch, run.n_examples, run.steps)
    monkeypatch.setattr(part3_transfer, "recorded", lambda: worse)
    assert not is_ok(make_trace("tiny 1"), FIGURE)
