"""Training on a task from scratch: `cutaway train --task`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cutaway
from cutaway.errors import UsageError
from cutaway.tasks import open_task
from cutaway.tasks.generators import generate_records
from cutaway.training.config import TrainingConfig
from cutaway.training.loop import Outcome, Silent
from cutaway.training.pretraining import train
from cutaway.training.task_corpus import TaskCorpus
from tests.tasks.models import CODEC, save_translator


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """The data, and the tokenizer's directory, of a small run."""
    for name, seed in (("train", 1), ("valid", 2)):
        records = [{"from": "en", "to": "de", **record} for record in generate_records("reverse", 20, seed)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    CODEC.save(tmp_path / "tokenizer")
    return {
        "data": (str(tmp_path / "train.jsonl"),),
        "valid": str(tmp_path / "valid.jsonl"),
        "tokenizer": str(tmp_path / "tokenizer"),
    }


def config(files: dict[str, Any], **changed: Any) -> TrainingConfig:
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_ctx": 64}
    steps = {"batch_size": 4, "max_steps": 30, "eval_every": 15, "save_every": 10, "lr": 0.02, "warmup_steps": 3}
    return TrainingConfig(**files | {"task": "translation", "device": "cpu"} | shape | steps | changed)


def run(settings: TrainingConfig, directory: Path) -> Outcome:
    return train(settings, directory, Silent())


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def test_a_run_learns_and_its_model_is_complete(files: dict[str, Any], tmp_path: Path) -> None:
    outcome = run(config(files, label_smoothing=0.1), tmp_path / "run")
    losses = [event["valid_loss"] for event in events(tmp_path / "run", "eval")]
    assert losses[-1] < 5
    assert all(isinstance(event["sample"], str) for event in events(tmp_path / "run", "eval"))
    assert outcome.model is not None
    moved = outcome.model.rename(tmp_path / "elsewhere")
    model = cutaway.load(moved, engine="reference")
    assert model.task == open_task("translation")
    assert model.encoder().prompt({"from": "en", "to": "de", "source": "a"})[0] == CODEC.vocabulary.control["<|en|>"]
    model.save(tmp_path / "saved", "int8")
    assert cutaway.load(tmp_path / "saved", engine="reference").task == model.task


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_as_one_that_was_not(files: dict[str, Any], tmp_path: Path) -> None:
    run(config(files), tmp_path / "whole")
    run(config(files, max_steps=10, schedule="hold", hold=1.0, average=0), tmp_path / "parts")
    whole = run(config(files, hold=1.0, average=0), tmp_path / "other").model
    parts = run(config(files, hold=1.0, average=0), tmp_path / "parts").model
    assert whole is not None
    assert parts is not None
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()


def test_a_model_to_start_from_gives_the_tokenizer(files: dict[str, Any], tmp_path: Path) -> None:
    base = save_translator(tmp_path / "base")
    shape = cutaway.load(base, engine="reference").config
    settings = config(files, init=str(base), tokenizer="", max_steps=1)
    same = {name: getattr(shape, name) for name in ("n_layer", "n_head", "n_embd")}
    assert run(replace(settings, **same), tmp_path / "run").steps == 1


def test_hashes_are_of_what_is_read_and_learned(files: dict[str, Any]) -> None:
    plain = TaskCorpus.open(config(files), None)
    assert plain.hashes() == TaskCorpus.open(config(files), None).hashes()
    assert plain.hashes() != TaskCorpus.open(config(files, data=(files["valid"],)), None).hashes()
    [validation] = plain.validation(10_000)
    assert validation.bytes_per_token is not None
    assert plain.prompt().n_prefix == len(plain.prompt().ids)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": ()}, "no data: give --data FILE, JSON Lines"),
        ({"tokenizer": ""}, "no tokenizer: give --tokenizer"),
        ({"data": (), "tokenizer": ""}, "no data: give --data FILE, .*; no tokenizer: give --tokenizer"),
        ({"task": "translaton"}, "unknown task 'translaton'"),
        ({"task": "", "valid": "a"}, "valid needs a task: give --task too"),
        ({"compile": True}, "compile must be left out with a task, whose rows have many lengths"),
        ({"short_steps": 1, "short_ctx": 8}, "short_steps must be left out with a task, whose rows have many lengths"),
        ({"label_smoothing": 0.1, "sampled_vocab": 100}, "leave out sampled_vocab"),
        ({"init": "builtin"}, "tokenizer must be left out: a model to start from has its own"),
        ({"tokenizer": "builtin"}, r"the tokenizer has no control token <\|en\|>"),
    ],
)
def test_invalid_settings_are_refused(
    files: dict[str, Any], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(config(files, **changed), tmp_path / "run")
    assert not (tmp_path / "run").exists()
