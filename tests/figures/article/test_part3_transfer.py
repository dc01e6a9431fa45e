"""T5: both losses of a recorded run, and what pre-training saves."""

from dataclasses import replace

import pytest

from cutaway.figures import find_figure
from cutaway.figures.article import part3_transfer
from cutaway.figures.article.part3_transfer import RECORD, recorded
from cutaway.figures.panels import Note
from cutaway.untrusted import read_object
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


def test_the_note_says_which_shares_and_seeds_were_run() -> None:
    note = draw(make_trace("tiny 1"), FIGURE).panels[0]
    assert isinstance(note, Note)
    run = recorded()
    for words in (note.words.en, note.words.zh):
        assert all(f"{100 * share:g}\u00a0%" in words for share in run.shares)
    assert f"{run.epochs} epochs each, with {run.n_seeds} random seeds." in note.words.en
    command = str(read_object(RECORD)["command"])
    shares = " ".join(f"{100 * share:g}" for share in run.shares)
    assert all(part in f"{command} " for part in (f"--shares {shares} ", f"--epochs {run.epochs} "))
    assert run.n_seeds == 3  # as the command has it by default


def test_a_run_in_which_pre_training_is_worth_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded()
    worse = replace(run, scratch=run.pretrained, pretrained=run.scratch)
    monkeypatch.setattr(part3_transfer, "recorded", lambda: worse)
    assert not is_ok(make_trace("tiny 1"), FIGURE)


def test_a_run_in_which_one_share_gains_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    run = replace(recorded(), shares=(0.1, 1.0), scratch=(5.0, 3.0), pretrained=(4.0, 3.1))
    monkeypatch.setattr(part3_transfer, "recorded", lambda: run)
    assert not is_ok(make_trace("tiny 1"), FIGURE)
