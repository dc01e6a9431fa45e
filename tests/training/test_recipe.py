"""The schedule of a run."""

import pytest

from cutaway.errors import UsageError
from cutaway.training.recipe import Recipe

RECIPE = Recipe(rows=2, short=4, n_ctx=8, short_tokens=24, tokens=100, hold=50, warmup=2, full=0.1)


def test_short_sequences_come_first() -> None:
    assert [RECIPE.length(step) for step in range(5)] == [4, 4, 4, 8, 8]
    assert [RECIPE.seen(step) for step in range(6)] == [0, 8, 16, 24, 40, 56]
    assert [RECIPE.batch_number(step) for step in range(5)] == [0, 1, 2, 0, 1]


def test_the_rate_warms_up_holds_and_falls_to_a_twentieth() -> None:
    assert RECIPE.rate(0, 0.0) == 0.5
    assert [RECIPE.rate(9, progress) for progress in (0.2, 0.5)] == [1, 1]
    assert RECIPE.rate(9, 0.75) == pytest.approx(0.525)
    assert RECIPE.rate(9, 1.0) == pytest.approx(0.05)
    assert RECIPE.rate(9, 1.5) == 0.05


def test_momentum_rises_and_the_last_share_is_over_the_whole_vocabulary() -> None:
    assert [RECIPE.momentum(step) for step in (0, 150, 300, 900)] == pytest.approx([0.85, 0.9, 0.95, 0.95])
    assert [RECIPE.samples_vocabulary(progress) for progress in (0.0, 0.89, 0.91)] == [True, True, False]
    assert not Recipe(full=1).samples_vocabulary(0.0)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rows": 0}, "rows must be at least 1"),
        ({"matrix_lr": -1.0}, "matrix_lr must be from 0 to 1"),
        ({"n_head": 3}, "n_embd .256. must be a multiple of n_head .3."),
        ({"hold": 60e6}, "hold .6e.07. must be below tokens"),
        ({"short": 1024}, "short .1024. must be at most n_ctx .512."),
    ],
)
def test_invalid_recipes_are_refused(changes: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Recipe(**changes)  # type: ignore[arg-type]
