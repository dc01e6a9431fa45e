"""A run from its configuration: corpora, model, and what may change on the way."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

import cutaway
from cutaway.checkpoints import save_checkpoint
from cutaway.config import GPT2Config
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import CutawayError, EngineError, RunError, UsageError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training.agreement import hash_weights
from cutaway.training.config import TrainingConfig
from cutaway.training.corpus import WindowCorpus
from cutaway.training.loop import Event, Outcome
from cutaway.training.pretraining import REPORTS, ROUNDING, SCHEDULE, check_resumable, train
from cutaway.training.trainer import Trainer
from tests.data.corpora import write_corpus
from tests.random_weights import random_weights

STORY = [50256, *range(100, 112)]
CONFIG = TrainingConfig(
    n_layer=1,
    n_head=2,
    n_embd=8,
    n_ctx=8,
    batch_size=4,
    max_steps=6,
    warmup_steps=2,
    eval_every=4,
    eval_tokens=32,
    save_every=4,
    sampled_vocab=64,
    hold=0.7,
    average=0.0,
    full_softmax=0.2,
    device="cpu",
)


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.notes: list[str] = []
        self.bytes_per_token: float | None = None

    def start(self, trainer: Trainer, bytes_per_token: float | None) -> None:
        self.bytes_per_token = bytes_per_token

    def event(self, event: Event) -> None:
        self.events.append(event)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def end(self) -> None:
        pass


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("corpora")
    stories = write_corpus(root / "stories", {"train": [[STORY] * 20], "valid": [[STORY] * 4]})
    books = write_corpus(root / "books", {"train": [[[50256, *range(200, 230)]] * 5]})
    return str(stories), str(books)


def run(out: Path, config: TrainingConfig, **changes: Any) -> tuple[Outcome, Recorder]:
    recorder = Recorder()
    return train(replace(config, **changes), out, recorder), recorder


@pytest.mark.slow
def test_relative_positions_are_learned_and_start_another_run(tmp_path: Path, corpora: tuple[str, str]) -> None:
    outcome, _ = run(tmp_path / "a", CONFIG, data=corpora, relative_positions=5, lr=0.02)
    assert outcome.model is not None
    model = cutaway.load(outcome.model, engine="cpu")
    assert model.config == GPT2Config(n_ctx=8, n_embd=8, n_head=2, n_layer=1, relative_positions=5)
    table = model.weights["h.0.attn.relative.weight"]
    assert table.shape == (2, 5, 4)
    fresh = GPT2(model.config)
    fresh.initialise(CONFIG.seed)
    first = fresh.export()["h.0.attn.relative.weight"]
    assert 0.01 < first.std() < 0.03
    assert np.abs(table - first).max() > 0.01
    further, _ = run(tmp_path / "b", CONFIG, data=corpora, relative_positions=5, init=str(outcome.model))
    assert further.steps == 6
    with pytest.raises(UsageError, match="--relative-positions must be 5, as in .*, not 0"):
        run(tmp_path / "c", CONFIG, data=corpora, init=str(outcome.model))


def test_relative_positions_are_for_causal_attention(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text('{"source": "a b", "target": "b a"}\n')
    changes: dict[str, Any] = {
        "task": "reverse",
        "data": (str(data),),
        "tokenizer": "builtin",
        "n_ctx": 32,
        "sampled_vocab": 0,
    }
    with pytest.raises(UsageError, match="a model with relative positions has only causal attention"):
        run(tmp_path / "run", CONFIG, relative_positions=5, **changes)
    assert not (tmp_path / "run").exists()


def test_a_run_ends_with_a_model_that_cutaway_and_transformers_open(tmp_path: Path, corpora: tuple[str, str]) -> None:
    outcome, recorder = run(tmp_path, CONFIG, data=corpora, weights=(3.0, 1.0))
    assert outcome.model == tmp_path / "model"
    assert json.loads((tmp_path / "config.json").read_text())["weights"] == [3.0, 1.0]
    assert recorder.bytes_per_token == pytest.approx(5.0)
    evaluation = next(event for event in recorder.events if event["kind"] == "eval")
    assert evaluation["bits_per_byte"] == pytest.approx(float(str(evaluation["valid_loss"])) / np.log(2) / 5)
    assert isinstance(evaluation["sample"], str)
    model = cutaway.load(outcome.model, engine="reference")
    assert model.config == GPT2Config(n_ctx=8, n_embd=8, n_head=2, n_layer=1)
    assert model.tokenizer is not None
    peer, report = GPT2LMHeadModel.from_pretrained(outcome.model, output_loading_info=True)
    assert not any(report.values())
    with torch.no_grad():
        theirs = peer(torch.tensor([STORY[:8]])).logits[0].numpy()
    np.testing.assert_allclose(model.logits(STORY[:8]), theirs, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_a_run_is_a_model_too(tmp_path: Path, corpora: tuple[str, str]) -> None:
    run(tmp_path, CONFIG, data=corpora[:1])
    model = cutaway.load(tmp_path / "checkpoints" / "step-00000004", engine="reference")
    assert model.generate("A robot", max_new_tokens=3, seed=1).text


def test_a_run_continues_a_model(tmp_path: Path, corpora: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    shape = GPT2Config(n_ctx=16, n_embd=8, n_head=2, n_layer=1)
    save_checkpoint(tmp_path / "first", random_weights(shape))
    compared: list[Any] = []
    monkeypatch.setattr("cutaway.training.pretraining.check_alike", lambda *given: compared.append(given[-1]))
    changes: dict[str, Any] = {"init": str(tmp_path / "first"), "data": corpora[:1]}
    run(tmp_path / "run", CONFIG, **changes, max_steps=1, lr=0.0, matrix_lr=0.0)
    after = cutaway.load(tmp_path / "run" / "model", engine="reference")
    assert after.config == shape
    np.testing.assert_array_equal(after.weights["wte.weight"], random_weights(shape).read("wte.weight"))
    assert hash_weights(compared[0]) == hash_weights(random_weights(shape))
    with pytest.raises(UsageError, match=r"--n-layer must be 1, as in .*first, not 2"):
        run(tmp_path / "other", CONFIG, **changes, n_layer=2)
    with pytest.raises(UsageError, match=r"--n-ctx .32. must be at most that of .*first .16."):
        run(tmp_path / "other", CONFIG, **changes, n_ctx=32)


@pytest.mark.slow
def test_a_model_with_another_tokenizer_than_the_data_is_refused(tmp_path: Path, corpora: tuple[str, str]) -> None:
    gpt2 = Tokenizer.gpt2().vocabulary
    swapped = dict(zip(gpt2.ids, [1, 0, *range(2, len(gpt2.ids))], strict=True))
    shape = GPT2Config(n_ctx=16, n_embd=8, n_head=2, n_layer=1)
    for name, ids in (("same", gpt2.ids), ("other", swapped)):
        tokenizer = Tokenizer(replace(gpt2, ids=ids))
        save_checkpoint(tmp_path / name, random_weights(shape), tokenizer=tokenizer)
    changes: dict[str, Any] = {"data": corpora[:1], "max_steps": 1}
    assert run(tmp_path / "run", CONFIG, init=str(tmp_path / "same"), **changes)[0].steps == 1
    complaint = "stories and .*other have different tokenizers: prepare the data with --tokenizer .*other$"
    with pytest.raises(UsageError, match=complaint):
        run(tmp_path / "refused", CONFIG, init=str(tmp_path / "other"), **changes)
    assert not (tmp_path / "refused").exists()


def test_weights_are_the_tokens_of_each_corpus_unless_given(corpora: tuple[str, str]) -> None:
    corpus = WindowCorpus.open(replace(CONFIG, data=corpora))
    assert corpus.weights == [260.0, 155.0]
    assert len(corpus.validation(100)) == 1  # the books have no text to validate on
    assert corpus.frequent(50257, 3).tolist() == [50256, 100, 101]
    twice = WindowCorpus.open(replace(CONFIG, data=corpora[:1] * 2, weights=(3.0, 1.0)))
    assert [part.weight for part in twice.validation(32)] == [0.75, 0.25]
    windows = [part.windows(4) for part in twice.validation(32)]
    assert [sum(batch.targets.size for batch in each) for each in windows] == [24, 8]
    assert replace(corpus, weights=[1.0, 100.0]).frequent(50257, 3).tolist() == [50256, 200, 201]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"data": ()}, "no data: give --data DIR"),
        ({"data": ("nowhere",)}, "nowhere: no such directory; write a corpus"),
        ({"n_ctx": 512}, "260 tokens are too few for windows of 512"),
        ({"n_head": 3}, "n_embd .8. must be a multiple of n_head .3."),
        ({"device": "abacus"}, "PyTorch finds no device 'abacus' here; train with --device cpu"),
        ({"weights": (1.0, 2.0)}, "weights must be as many as the directories of data"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path: Path, corpora: tuple[str, str], changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(CutawayError, match=complaint):
        run(tmp_path / "run", CONFIG, **({"data": corpora[:1]} | changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["train-00000.tokens.npy", "valid-00000.tokens.npy", "valid-00000.documents.npy"])
def test_a_shard_that_is_cut_short_is_refused_before_anything_is_written(
    tmp_path: Path, corpora: tuple[str, str], name: str
) -> None:
    data = shutil.copytree(corpora[0], tmp_path / "data")
    (data / name).write_bytes((data / name).read_bytes()[:-1])
    with pytest.raises(UsageError, match=rf"data/{name}: missing or damaged"):
        run(tmp_path / "run", CONFIG, data=(str(data),))
    assert not (tmp_path / "run").exists()


def test_a_missing_compiler_is_reported_before_anything_is_written(
    tmp_path: Path, corpora: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-c++")
    with pytest.raises(EngineError, match=r"^--compile needs a C\+\+ compiler, and there is no no-such-c\+\+: "):
        run(tmp_path / "run", CONFIG, data=corpora[:1], compile=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # PyTorch looks for a compiler once in a process
def test_a_compiler_that_does_not_work_is_one_line(tmp_path: Path, corpora: tuple[str, str]) -> None:
    shape = ["--n-layer=1", "--n-embd=8", "--n-head=1", "--n-ctx=8", "--batch-size=2", "--max-steps=2"]
    command = [sys.executable, "-m", "cutaway", "train", "--data", corpora[0], "--out", str(tmp_path / "run"), *shape]
    environment = {**os.environ, "CXX": "false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([*command, "--compile"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == EngineError.exit_code
    complaint = r"^cutaway: torch\.compile failed: .*No working C\+\+ compiler.*; fix that, or leave out --compile$"
    assert re.search(complaint, done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr


def test_a_run_killed_before_its_first_checkpoint_begins_its_log_anew(
    tmp_path: Path, corpora: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def stop_at_two(trainer: Trainer) -> object:
        if trainer.steps == 2:
            raise KeyboardInterrupt
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stop_at_two)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, CONFIG, data=corpora[:1])
    run(tmp_path, CONFIG, data=corpora[:1])
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["kind"] == "train"] == [1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, corpora: tuple[str, str]) -> Path:
    """A run of 4 steps of 6, all of which held the rate."""
    out = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        step = Trainer.step

        def stop_at_four(trainer: Trainer) -> object:
            if trainer.steps == 4:
                raise KeyboardInterrupt
            return step(trainer)

        patch.setattr(Trainer, "step", stop_at_four)
        with pytest.raises(KeyboardInterrupt):
            run(out, CONFIG, data=corpora[:1])
    return out


def resumed(begun: Path, tmp_path: Path, corpora: tuple[str, str], **changes: Any) -> tuple[Outcome, Recorder]:
    import shutil

    shutil.copytree(begun, tmp_path / "run")
    return run(tmp_path / "run", CONFIG, **({"data": corpora[:1]} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": 9},
        {"hold": 0.8, "min_lr": 0.5},
        {"average": 0.1, "full_softmax": 0.1},
        {"save_every": 1, "eval_every": 1, "keep_last": 5, "sample_prompt": "A"},
    ],
)
def test_what_changes_no_step_that_was_taken_may_change(
    begun: Path, tmp_path: Path, corpora: tuple[str, str], changes: dict[str, Any]
) -> None:
    outcome, recorder = resumed(begun, tmp_path, corpora, **changes)
    assert outcome.steps == changes.get("max_steps", 6)
    assert [note.partition(": ")[2] for note in recorder.notes] == ["resumed at step 4"]


@pytest.mark.slow
def test_a_run_with_a_changed_schedule_equals_one_begun_with_it(
    begun: Path, tmp_path: Path, corpora: tuple[str, str]
) -> None:
    resumed(begun, tmp_path, corpora, max_steps=8)
    run(tmp_path / "whole", CONFIG, data=corpora[:1], max_steps=8)
    files = [tmp_path / name / "model" / "model.safetensors" for name in ("run", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_other_arithmetic_is_said(begun: Path, tmp_path: Path, corpora: tuple[str, str]) -> None:
    _, recorder = resumed(begun, tmp_path, corpora, micro_batch_size=2, dtype="bfloat16")
    changes = "--micro-batch-size 2, --dtype bfloat16 instead of no --micro-batch-size, --dtype float32"
    assert f"{changes}: the run continues, but not bit for bit" in recorder.notes


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"n_layer": 2}, "run: the run was started with --n-layer 1, not --n-layer 2: use another --out"),
        ({"lr": 0.1, "seed": 5}, "run: the run was started with --lr 0.004, --seed 1, not --lr 0.1, --seed 5: use"),
        (
            {"max_steps": 3},
            "with --max-steps 3 instead of --max-steps 6, step 4 of the 4 taken would have been different",
        ),
        ({"warmup_steps": 4}, "with --warmup-steps 4 instead of --warmup-steps 2, step 1 of the 4 taken"),
        (
            {"schedule": "cosine", "min_lr": 0.1},
            "with --schedule cosine, --min-lr 0.1 instead of --schedule hold, --min-lr 0.05, step 2 of the 4 taken",
        ),
        ({"short_ctx": 4, "short_steps": 1}, "step 1 of the 4 taken would have been different"),
    ],
)
def test_what_changes_a_step_that_was_taken_is_refused(
    begun: Path, tmp_path: Path, corpora: tuple[str, str], changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        resumed(begun, tmp_path, corpora, **changes)
    assert (tmp_path / "run" / "config.json").read_bytes() == (begun / "config.json").read_bytes()


def test_a_schedule_of_the_clock_may_change_from_the_time_that_was_spent_on() -> None:
    config = replace(CONFIG, max_steps=None, max_time=100.0, hold=0.7)
    document = {"config": config.to_document(), "about": {"corpora": []}, "seconds": 60.0}
    saved: Any = SimpleNamespace(directory=Path("run/checkpoints/step-00000004"), step=4, document=document)
    check_resumable(replace(config, hold=0.5), [], saved, note=pytest.fail)
    with pytest.raises(UsageError, match="step 4 of the 4 taken would have been different"):
        check_resumable(replace(config, hold=0.4), [], saved, note=pytest.fail)


def test_a_longer_run_is_told_to_keep_the_warm_up_that_it_began_with() -> None:
    config = replace(CONFIG, max_steps=40, warmup_steps=None, hold=1.0, average=0.0)
    document = {"config": config.to_document(), "about": {"corpora": []}, "seconds": 60.0}
    saved: Any = SimpleNamespace(directory=Path("run/checkpoints/step-00000030"), step=30, document=document)
    longer = replace(config, max_steps=80)
    with pytest.raises(UsageError, match="step 1 of the 30 taken would have been different: give --warmup-steps 4$"):
        check_resumable(longer, [], saved, note=pytest.fail)
    check_resumable(replace(longer, warmup_steps=4), [], saved, note=pytest.fail)
    falling = replace(longer, hold=0.1)
    with pytest.raises(UsageError, match="would have been different: use another --out, or --init RUN/model$"):
        check_resumable(falling, [], saved, note=pytest.fail)


def test_settings_that_may_never_change_in_a_run() -> None:
    shape = {"n_layer", "n_head", "n_embd", "n_ctx", "relative_positions", "init"}
    data = {"weights", "task", "valid", "tokenizer", "batch_size", "seed"}
    objective = {"dropout", "label_smoothing", "sampled_vocab"}
    optimizer = {"optimizer", "lr", "matrix_lr", "beta1", "beta2", "weight_decay", "grad_clip"}
    fixed = {field.name for field in fields(TrainingConfig)} - REPORTS - SCHEDULE - ROUNDING
    assert fixed == shape | data | objective | optimizer


def test_a_damaged_newest_checkpoint_is_skipped_unless_that_is_refused(
    tmp_path: Path, corpora: tuple[str, str]
) -> None:
    run(tmp_path, CONFIG, data=corpora[:1])
    (tmp_path / "checkpoints" / "step-00000006" / "state.json").write_text("{}")
    with pytest.raises(
        RunError, match="state.json: is damaged.*; move step-00000006 away to resume from the one before"
    ):
        run(tmp_path, CONFIG, data=corpora[:1], strict=True)
    _, recorder = run(tmp_path, CONFIG, data=corpora[:1])
    assert any("resumed at step 4" in note for note in recorder.notes)


def test_other_data_is_refused(begun: Path, tmp_path: Path, corpora: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="run: the run was started on other data: use another --out"):
        resumed(begun, tmp_path, corpora, data=corpora[1:])
