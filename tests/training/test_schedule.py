"""The schedule of a run."""

from dataclasses import replace

import pytest

from cutaway.training.config import TrainingConfig
from cutaway.training.schedule import Schedule

CONFIG = TrainingConfig(
    batch_size=2,
    n_ctx=8,
    short_ctx=4,
    short_steps=3,
    max_steps=8,
    warmup_steps=2,
    hold=0.5,
    min_lr=0.1,
    sampled_vocab=10,
    full_softmax=0.2,
    average=0.3,
)
SCHEDULE = Schedule(CONFIG)


def test_short_sequences_come_first_with_batches_of_their_own() -> None:
    plans = [SCHEDULE.plan(step, 0.0) for step in range(5)]
    assert [(plan.n_ctx, plan.batch) for plan in plans] == [(4, 0), (4, 1), (4, 2), (8, 0), (8, 1)]
    assert [SCHEDULE.tokens(step) for step in range(6)] == [0, 8, 16, 24, 40, 56]


def test_progress_is_of_tokens_or_of_time_if_that_is_more() -> None:
    assert SCHEDULE.progress(4) == 40 / 104
    assert SCHEDULE.progress(8) == 1
    timed = Schedule(replace(CONFIG, max_time=100.0))
    assert timed.progress(4, 10.0) == 40 / 104
    assert timed.progress(4, 60.0) == 0.6
    endless = Schedule(replace(CONFIG, max_steps=None, max_time=100.0))
    assert endless.progress(4000, 60.0) == 0.6


def test_the_rate_warms_up_holds_and_falls() -> None:
    rates = [SCHEDULE.plan(5, progress).rate for progress in (0.0, 0.5, 0.75, 1.0, 1.5)]
    assert rates == pytest.approx([1, 1, 0.55, 0.1, 0.1])
    assert [SCHEDULE.plan(step, 0.0).rate for step in range(3)] == [0.5, 1, 1]


def test_the_rate_of_a_cosine() -> None:
    cosine = Schedule(replace(CONFIG, schedule="cosine"))
    assert [cosine.plan(5, progress).rate for progress in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.55, 0.1])


def test_holding_to_the_end_never_falls() -> None:
    assert Schedule(replace(CONFIG, hold=1.0)).plan(5, 1.0).rate == 1


def test_shares_at_the_end_are_over_the_whole_vocabulary_and_averaged() -> None:
    plans = [SCHEDULE.plan(5, progress) for progress in (0.69, 0.7, 0.79, 0.8)]
    assert [plan.averages for plan in plans] == [False, True, True, True]
    assert [plan.samples_vocabulary for plan in plans] == [True, True, True, False]
    assert not Schedule(replace(CONFIG, average=0.0)).plan(7, 0.999).averages
    assert not Schedule(replace(CONFIG, sampled_vocab=0)).plan(0, 0.0).samples_vocabulary


def test_momentum_rises() -> None:
    assert [SCHEDULE.plan(step, 0).momentum for step in (0, 150, 300, 900)] == pytest.approx([0.85, 0.9, 0.95, 0.95])
