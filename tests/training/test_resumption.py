"""A run that is to be resumed by another command, or with other settings."""

from pathlib import Path

import numpy as np
import pytest

from cutaway.config import GPT2Config
from cutaway.errors import RunError, UsageError
from cutaway.training import resumption
from cutaway.training.config import TrainingConfig
from cutaway.training.distributed import ALONE
from cutaway.training.manifest import fingerprint
from cutaway.training.resumption import Difference, opened_run, refuse_differences, run_about
from cutaway.training.runs import RunDirectory, SavedCheckpoint
from tests.random_weights import random_weights

SHAPE = GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1)
NONE = Difference({}, {})


def saved(path: Path, about: object) -> SavedCheckpoint:
    with RunDirectory.open(path / "run") as run:
        run.save(1, random_weights(SHAPE), {"momentum": np.zeros(2)}, {"about": about, "processes": 1})
        return run.checkpoint(1)


@pytest.mark.parametrize(
    ("mark", "other", "own"), [("corpora", "train", "finetune"), ("finetune", "finetune", "train")]
)
def test_a_run_of_another_command_is_refused_in_these_words(tmp_path: Path, mark: str, other: str, own: str) -> None:
    checkpoint = saved(tmp_path, {mark: []})
    assert run_about(checkpoint, other) == {mark: []}
    message = f"/run: is a run of `cutaway {other}`, not of `cutaway {own}`: use another --out"
    with pytest.raises(UsageError, match=message):
        run_about(checkpoint, own)


@pytest.mark.parametrize("about", [None, {}])
def test_a_state_that_does_not_say_what_started_it_is_refused(tmp_path: Path, about: object) -> None:
    with pytest.raises(RunError, match="step-00000001: its state"):
        run_about(saved(tmp_path, about), "train")


def test_all_that_differs_is_named(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, {})
    before = {"seed": 1, "merge": True, "lr": 0.1, "threads": 2, "n_ctx": 8}
    now = {"seed": 2, "merge": False, "lr": 0.1, "threads": None, "n_ctx": 9}
    settings = Difference.between(before, now, without={"n_ctx"})
    with pytest.raises(
        UsageError,
        match=r"/run: the run was started on other data and with --seed 1, --merge, --threads 2, "
        r"not --seed 2, --no-merge, no --threads: use another --out",
    ):
        refuse_differences(checkpoint, settings, ["on other data"])
    refuse_differences(checkpoint, NONE, [])


def test_what_has_changed_around_a_run_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, {})
    monkeypatch.setattr(resumption, "fingerprint", lambda: fingerprint() | {"processor": "another"})
    notes: list[str] = []
    checked: list[SavedCheckpoint] = []
    with opened_run(tmp_path / "run", TrainingConfig(), ALONE, notes.append, checked.append) as (_, found):
        assert checked == [found]
    assert [note.partition(" instead of ")[0] for note in notes] == ["processor another"]


def test_a_damaged_checkpoint_that_is_skipped_is_noted(tmp_path: Path) -> None:
    (saved(tmp_path, {}).directory.parent / "step-00000002").mkdir()
    notes: list[str] = []
    with opened_run(tmp_path / "run", TrainingConfig(), ALONE, notes.append, check=print) as (_, found):
        assert found is not None
        assert found.step == 1
    [note] = notes
    assert note.endswith("; step-00000002 is skipped")
