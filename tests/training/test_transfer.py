import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cutaway.errors import RunError, UsageError
from cutaway.training import transfer
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.finetuning import Result
from cutaway.training.loop import Observer, Outcome
from cutaway.training.transfer import TransferRun, measure_transfer, plan_runs

CONFIG = FineTuneConfig(data=__file__)  # any file that can be read


class Quiet:
    def start(self, trainer: object, bytes_per_token: float | None) -> None: ...

    def event(self, event: Mapping[str, object]) -> None: ...

    def note(self, message: str) -> None: ...

    def end(self) -> None: ...


def quiet(run: TransferRun, count: int) -> Observer:
    return Quiet()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are made, by name; a run's loss is its share and seed, and a tenth more from scratch."""
    names: list[str] = []

    def finetune(config: FineTuneConfig, directory: Path, observer: Observer) -> Result:
        names.append(directory.name)
        (directory / "checkpoints").mkdir(parents=True)
        after: dict[str, Any] = {"valid_loss": config.share * 100 + config.seed + config.from_scratch / 10}
        (directory / "after.json").write_text(json.dumps(after))
        return Result(Outcome(1, directory / "model", None), {}, after)

    monkeypatch.setattr(transfer, "finetune", finetune)
    return names


def test_every_share_is_learned_from_both_starts_with_every_seed(made: list[str], tmp_path: Path) -> None:
    curve = measure_transfer(CONFIG, [1.0, 0.01], [1, 2], tmp_path, quiet)
    assert len(made) == len(set(made)) == 8
    assert curve.shares == [0.01, 1.0]
    assert curve.losses == {
        "from scratch": [[2.1, 3.1], [101.1, 102.1]],
        "pre-trained": [[2.0, 3.0], [101.0, 102.0]],
    }


def test_the_data_of_a_task_are_its_records(made: list[str], tmp_path: Path) -> None:
    data = tmp_path / "words.jsonl"
    data.write_text('{"source": "a b", "target": "b a"}\n')
    config = replace(CONFIG, data=str(data), task="reverse")
    assert len(measure_transfer(config, [1.0], [1], tmp_path / "curve", quiet).losses) == 2
    data.write_text('{"text": "a b"}\n')
    with pytest.raises(UsageError, match="missing key 'source'"):
        measure_transfer(config, [1.0], [1], tmp_path / "other", quiet)
    with pytest.raises(UsageError, match="nowhere.jsonl: cannot be read"):
        measure_transfer(replace(CONFIG, valid="nowhere.jsonl"), [1.0], [1], tmp_path / "other", quiet)
    assert not (tmp_path / "other").exists()


def test_runs_that_have_ended_are_not_made_again_and_lose_their_checkpoints(made: list[str], tmp_path: Path) -> None:
    measure_transfer(CONFIG, [0.5], [1], tmp_path, quiet)
    before = measure_transfer(CONFIG, [0.5, 1.0], [1], tmp_path, quiet)
    assert made == ["scratch-50%-seed1", "pretrained-50%-seed1", "scratch-100%-seed1", "pretrained-100%-seed1"]
    assert measure_transfer(CONFIG, [0.5, 1.0], [1], tmp_path, quiet) == before
    assert list(tmp_path.glob("runs/*/checkpoints")) == []


def test_another_curve_in_the_directory_is_refused(made: list[str], tmp_path: Path) -> None:
    measure_transfer(CONFIG, [0.5], [1], tmp_path, quiet)
    with pytest.raises(UsageError, match="this curve would have --epochs 4 instead of --epochs 3: use another --out"):
        measure_transfer(replace(CONFIG, epochs=4), [0.5], [1], tmp_path, quiet)
    with pytest.raises(UsageError, match="a curve compares validation losses"):
        measure_transfer(replace(CONFIG, valid="0%"), [0.5], [1], tmp_path / "other", quiet)


def test_a_curve_whose_first_run_was_refused_may_have_other_settings(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> NoReturn:
        raise UsageError("a single example cannot be split")

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "finetune", refuse)
        with pytest.raises(UsageError, match="^run scratch-50%-seed1: a single example"):
            measure_transfer(CONFIG, [0.5], [1], tmp_path, quiet)
    measure_transfer(replace(CONFIG, epochs=4), [0.5], [1], tmp_path, quiet)
    assert len(made) == 2


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "manifest.json", "checkpoints"])
def test_what_is_not_a_curve_is_not_made_one(made: list[str], tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f": holds {name} but no curve-config.json, so it is not a curve: use another"):
        measure_transfer(CONFIG, [0.5], [1], tmp_path, quiet)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_error_names_its_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def finetune(config: FineTuneConfig, directory: Path, observer: Observer) -> Result:
        raise RunError("step 3: the loss is not finite")

    monkeypatch.setattr(transfer, "finetune", finetune)
    with pytest.raises(RunError, match=r"^run scratch-50%-seed1: step 3: the loss is not finite"):
        measure_transfer(CONFIG, [0.5], [1], tmp_path, quiet)


def test_the_least_data_comes_first() -> None:
    shares = [run.share for run in plan_runs([1.0, 0.01, 0.1], [1, 2, 3])]
    assert shares == sorted(shares)
    assert [run.number for run in plan_runs([1.0], [1, 2])] == [1, 2, 3, 4]
