import json
import math
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cutaway
from cutaway.checkpoints import open_checkpoint, open_source, save_checkpoint
from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE
from cutaway.config import GPT2Config
from cutaway.data.batches import Windows
from cutaway.data.chat import CHAT_TEMPLATE
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.evaluation.perplexity import token_losses
from cutaway.evaluation.task_evaluation import likelihood
from cutaway.layout import counted
from cutaway.music.perf388 import N_VOCAB, PerformanceCodec
from cutaway.tasks import TaskEncoder, open_task
from cutaway.tasks.decoding import decode_fields
from cutaway.tasks.generators import generate_records
from cutaway.tasks.records import TaskRecord
from cutaway.tasks.task import Decoding
from cutaway.tokenizer.bpe import byte_symbols
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.vocabulary import END_OF_TEXT, Vocabulary
from cutaway.training.copy_rate import copy_rate
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.finetuning import Result, finetune
from cutaway.training.loop import Outcome
from cutaway.training.material import SAMPLES, open_material
from cutaway.training.trainer import Trainer
from cutaway.training.tuners import FineTuner, make_tuner
from tests.random_weights import random_weights

SYMBOLS = byte_symbols().values()
BYTES = Tokenizer(Vocabulary({s: i for i, s in enumerate(SYMBOLS)}, [], {END_OF_TEXT: 256}, 256))  # without a merge
END = BYTES.n_vocab - 1
PAIR = {"prompt": "Who are you?", "completion": " I am a robot."}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a random GPT-2 whose tokens are bytes."""
    directory = tmp_path_factory.mktemp("models") / "base"
    shape = GPT2Config(n_vocab=257, n_ctx=64, n_embd=16, n_head=2, n_layer=2)
    save_checkpoint(directory, random_weights(shape, std=0.05), tokenizer=BYTES)
    return str(directory)


class Listener:
    """Records what a run says; interrupts it after an event of a step, if one is given."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.notes: list[str] = []
        self.events: list[Mapping[str, object]] = []
        self.interrupt_at = interrupt_at

    def start(self, trainer: Trainer, bytes_per_token: float | None) -> None:
        self.trainer = trainer

    def event(self, event: Mapping[str, object]) -> None:
        self.events.append(event)
        if (event["kind"], event["step"]) == ("train", self.interrupt_at):
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)

    def end(self) -> None:
        pass


def lines(path: Path, *records: Mapping[str, object]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def pairs(tmp_path: Path, count: int = 12) -> str:
    records = [{"prompt": f"{n} and one is" * (1 + n % 3), "completion": f" {n + 1}."} for n in range(count)]
    return lines(tmp_path / "pairs.jsonl", *records)


def config(base: str, data: str, **changed: Any) -> FineTuneConfig:
    settings: dict[str, Any] = {"max_steps": 6, "eval_every": 2, "batch_size": 4, "lr": 0.01, "patience": 0}
    return FineTuneConfig(model=base, data=data, **settings | {"device": "cpu", "eval_tokens": 200} | changed)


def fine_tune(settings: FineTuneConfig, run: Path, listener: Listener | None = None) -> Result:
    return finetune(settings, run, listener or Listener())


def tensors(directory: Path) -> dict[str, bytes]:
    weights = open_checkpoint(directory)
    return {name: weights.read(name).tobytes() for name in weights.config.tensors}


@pytest.mark.slow
def test_a_pair_learned_by_heart_stops(base: str, tmp_path: Path) -> None:
    data = lines(tmp_path / "pair.jsonl", PAIR)
    listener = Listener()
    settings = config(base, data, valid="0%", max_steps=150, eval_every=150, lr=0.02, batch_size=1)
    result = fine_tune(settings, tmp_path / "run", listener)
    said = cutaway.load(tmp_path / "run" / "model", engine="reference").generate(PAIR["prompt"], temperature=0)
    assert (said.text, said.finish_reason) == (PAIR["completion"], "eos")
    assert result.after is not None
    assert result.after["copy_rate"] > 0.9
    assert any("warning: " in note and "occur in the training text" in note for note in listener.notes)
    assert result.before["copy_rate"] == 0


@pytest.mark.parametrize(("word", "rate"), [("a", None), ("a longer text", 0.0)])
def test_the_copy_rate_is_unknown_where_no_text_has_eight_tokens(
    base: str, tmp_path: Path, word: str, rate: float | None
) -> None:
    data = lines(tmp_path / "texts.jsonl", {"text": word}, {"text": "b"})
    result = fine_tune(config(base, data, valid="0%", max_steps=1, batch_size=2, lr=0.0), tmp_path / "run")
    assert (result.before["copy_rate"], result.before["samples"][0]["finish_reason"]) == (rate, "context")


def test_only_completions_and_their_ends_are_learned(base: str, tmp_path: Path) -> None:
    settings = config(base, pairs(tmp_path), valid="0%", batch_size=12)
    loss = tuner(settings).step().loss
    engine = ReferenceEngine(open_checkpoint(base))
    losses = []
    for line in Path(settings.data).read_text().splitlines():
        record = json.loads(line)
        prompt = BYTES.encode(record["prompt"])
        completion = [*BYTES.encode(record["completion"]), END]
        losses += token_losses(engine, [*prompt, *completion])[len(prompt) - 1 :].tolist()
    assert loss == pytest.approx(float(np.mean(losses)), abs=1e-5)


def tuner(settings: FineTuneConfig) -> FineTuner:
    checkpoint = open_checkpoint(settings.model)
    material = open_material(settings, BYTES, checkpoint.config.n_ctx)
    return make_tuner(settings, checkpoint, BYTES, material, CPU)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_accumulation_changes_nothing(base: str, tmp_path: Path, method: str) -> None:
    found = []
    for micro_batch_size in (4, 1):
        settings = config(base, pairs(tmp_path), method=method, micro_batch_size=micro_batch_size)
        trainer = tuner(settings)
        losses = [trainer.step().loss for _ in range(3)]
        found.append(losses)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "last", "lora"])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(base: str, tmp_path: Path, method: str) -> None:
    own: dict[str, dict[str, Any]] = {"full": {}, "last": {"last_layers": 1}, "lora": {"lora_dropout": 0.1}}
    settings = config(base, pairs(tmp_path), method=method, dropout=0.1, **own[method])
    fine_tune(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fine_tune(settings, tmp_path / "run", Listener(interrupt_at=3))
    listener = Listener()
    result = fine_tune(settings, tmp_path / "run", listener)
    assert any(note.endswith("resumed at step 2") for note in listener.notes)
    assert tensors(tmp_path / "run" / "model") == tensors(tmp_path / "whole" / "model")
    assert result.before == json.loads((tmp_path / "whole" / "before.json").read_text())


class Signaller(Listener):
    """Sends this process SIGTERM after the second step."""

    def event(self, event: Mapping[str, object]) -> None:
        super().event(event)
        if (event["kind"], event["step"]) == ("train", 2):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_a_signal_stops_a_run_which_continues_from_another_directory(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(base, pairs(tmp_path))
    stopped = fine_tune(settings, tmp_path / "run", Signaller())
    assert stopped.outcome == Outcome(2, None, signal.SIGTERM)
    assert stopped.after is None
    assert len({sample["prompt"] for sample in stopped.before["samples"]}) == SAMPLES
    monkeypatch.chdir(Path(base).parent)
    resumed = fine_tune(replace(settings, model="base", data=f"{tmp_path}/pairs.jsonl"), tmp_path / "run")
    assert resumed.outcome.steps == 6
    assert resumed.before == stopped.before


@pytest.mark.slow
def test_a_run_says_when_it_measures_and_samples_once_at_each_evaluation(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[int] = []

    def sample(trainer: Trainer) -> str:
        sampled.append(trainer.steps)
        return ""

    monkeypatch.setattr(Trainer, "sample", sample)
    listener = Listener()
    resumed = Listener()
    settings = config(base, pairs(tmp_path), max_steps=2, eval_every=1)
    fine_tune(settings, tmp_path / "run", listener)
    assert sampled == [event["step"] for event in listener.events if event["kind"] == "eval"]
    before = "measuring the loss and generating samples before the first step"
    assert before in listener.notes
    assert listener.notes[-1] == before.replace("before the first", "after the last")
    fine_tune(settings, tmp_path / "run", resumed)
    assert before not in resumed.notes


@pytest.mark.slow
def test_without_held_out_text_a_run_never_ends_early(base: str, tmp_path: Path) -> None:
    settings = config(base, pairs(tmp_path), valid="0%", patience=1, eval_every=1, max_steps=4)
    assert fine_tune(settings, tmp_path / "run").outcome.steps == 4


@pytest.mark.slow
def test_the_base_models_generation_settings_stay_beside_the_weights(base: str, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "mild")
    (tmp_path / "mild" / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.25}')
    fine_tune(config(str(tmp_path / "mild"), pairs(tmp_path), max_steps=1), tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "model" / "generation_config.json").read_text())
    assert kept["temperature"] == 0.25


def test_the_last_blocks_may_be_all_of_them(base: str, tmp_path: Path) -> None:
    blocks = {name.split(".")[1] for name in tuner(config(base, pairs(tmp_path), method="last")).parameters}
    assert blocks >= {"0", "1"}
    with pytest.raises(UsageError, match=r"--last-layers \(3\) must be at most the blocks of the model, 2$"):
        tuner(config(base, pairs(tmp_path), method="last", last_layers=3))


def test_a_run_interrupted_before_its_first_checkpoint_begins_its_log_anew(base: str, tmp_path: Path) -> None:
    settings = config(base, pairs(tmp_path), max_steps=3)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(settings, tmp_path / "run", Listener(interrupt_at=1))
    fine_tune(settings, tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["kind"] == "train"] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(("every", "patience"), [(2, 3), (1, 1)])
def test_the_best_checkpoint_remains_and_the_run_ends_early(
    base: str, tmp_path: Path, every: int, patience: int
) -> None:
    """Learn the opposite of what is validated on, so that an early evaluation is the best."""
    data = lines(tmp_path / "a.jsonl", {"prompt": "Yes or no?", "completion": " yes"})
    valid = lines(tmp_path / "b.jsonl", {"prompt": "Yes or no?", "completion": " no"})
    settings = config(base, data, valid=valid, max_steps=100, eval_every=every, patience=patience, lr=0.02)
    listener = Listener()
    result = fine_tune(settings, tmp_path / "run", listener)
    evaluations = [event for event in listener.events if event["kind"] == "eval"]
    losses = {int(str(event["step"])): float(str(event["valid_loss"])) for event in evaluations}
    best = min(losses, key=lambda step: losses[step])
    end = best + every * patience
    assert result.outcome.steps == end < 100
    count = counted(patience, "evaluation")
    assert f"ended at step {end}: {count} in a row not better than the best (--patience)" in listener.notes
    assert result.after is not None
    assert result.after["step"] == best
    assert result.after["valid_loss"] == losses[best]
    kept = open_checkpoint(tmp_path / "run" / "model")
    ids = [*BYTES.encode("Yes or no?"), *BYTES.encode(" no"), END]
    measured = token_losses(ReferenceEngine(kept), ids)[-4:].mean()
    assert measured == pytest.approx(losses[best], abs=1e-4)


@pytest.mark.slow
def test_last_trains_the_last_blocks_alone(base: str, tmp_path: Path) -> None:
    fine_tune(config(base, pairs(tmp_path), method="last", last_layers=1), tmp_path / "run")
    before = tensors(Path(base))
    after = tensors(tmp_path / "run" / "model")
    assert {name for name in before if before[name] != after[name]} == {
        name for name in before if name.startswith(("h.1.", "ln_f."))
    }
    with pytest.raises(UsageError, match="--last-layers .3. must be at most the blocks of the model, 2"):
        fine_tune(config(base, pairs(tmp_path), method="last", last_layers=3), tmp_path / "other")


@pytest.mark.slow
def test_lora_leaves_an_adapter_or_merged_the_same_model(base: str, tmp_path: Path) -> None:
    settings = config(base, pairs(tmp_path), method="lora")
    listener = Listener()
    fine_tune(settings, tmp_path / "run", listener)
    assert any(note.startswith("LoRA on 8 of 8 matrices: 4,096 parameters") for note in listener.notes)
    found = sorted(path.name for path in (tmp_path / "run" / "model").iterdir())
    assert found == ["adapter_config.json", "adapter_model.safetensors"]
    ids = BYTES.encode("two and one is")
    alone = cutaway.load(tmp_path / "run" / "model", engine="reference").logits(ids)
    fine_tune(replace(settings, merge=True), tmp_path / "run")  # which has ended, and is only written anew
    found = sorted(path.name for path in (tmp_path / "run" / "model").iterdir())
    assert "config.json" in found
    assert "adapter_config.json" not in found
    merged = cutaway.load(tmp_path / "run" / "model", engine="reference").logits(ids)
    fine_tune(settings, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "model").glob("*.json")] == ["adapter_config.json"]
    again = cutaway.load(tmp_path / "run" / "model", engine="reference").logits(ids)
    np.testing.assert_array_equal(again, alone)
    np.testing.assert_allclose(alone, merged, rtol=0, atol=1e-5)
    assert np.abs(alone - cutaway.load(base, engine="reference").logits(ids)).max() > 1e-3


@pytest.mark.slow
def test_an_adapter_is_trained_further_into_a_model_and_not_into_an_adapter_of_it(base: str, tmp_path: Path) -> None:
    data = pairs(tmp_path)
    fine_tune(config(base, data, method="lora", max_steps=1), tmp_path / "first")
    further = config(str(tmp_path / "first" / "model"), data, method="lora", max_steps=1)
    with pytest.raises(UsageError, match=r"model is an adapter, .* give --merge too$"):
        fine_tune(further, tmp_path / "second")
    assert not (tmp_path / "second").exists()
    fine_tune(replace(further, merge=True), tmp_path / "second")
    assert cutaway.load(str(tmp_path / "second" / "model"), engine="reference").logits([1]).shape == (1, 257)


@pytest.mark.slow
def test_lora_on_some_matrices_says_so(base: str, tmp_path: Path) -> None:
    listener = Listener()
    fine_tune(config(base, pairs(tmp_path), method="lora", lora_targets=("c_attn",)), tmp_path / "run", listener)
    assert any(note.startswith("LoRA on 2 of 8 matrices") for note in listener.notes)


@pytest.mark.slow
def test_a_text_is_read_in_windows_that_hold_out_a_part(base: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"The number {n} comes before {n + 1}.\n" for n in range(200)))
    settings = config(base, str(path))
    material = open_material(settings, BYTES, 64)
    assert isinstance(material.source, Windows)
    assert material.valid is not None
    assert [prompt.text for prompt in material.prompts] == [""]
    parts = [BYTES.decode(ids[1:].tolist()) for ids in material.texts]
    assert len(parts) == 2  # before what is held out, and after it
    assert all(part in path.read_text() for part in parts)
    train = "".join(parts)
    valid = "".join(BYTES.decode(e.ids[e.learned].tolist()) for e in material.valid.examples).split("<|endoftext|>")
    assert len(train) + sum(map(len, valid)) == len(path.read_text())
    assert all(text not in train for text in valid if text)
    assert material.bytes_per_token == pytest.approx(len(train) / sum(map(len, material.texts)), rel=0.02)
    assert material.rows_per_epoch == pytest.approx(sum(map(len, material.texts)) / 64)
    n_valid = sum(len(example.ids) for example in material.valid.examples)
    assert material.rows_per_evaluation(32768) == pytest.approx(n_valid / 64, rel=0.2)  # with padding
    short = tuner(replace(settings, max_steps=20, batch_size=1, eval_every=None, eval_tokens=32768)).config
    assert 10 > short.eval_every == math.ceil(material.rows_per_evaluation(32768)) > 2
    [held] = tuner(settings).validation
    assert held.bytes_per_token == pytest.approx(sum(map(len, valid)) / material.valid.n_learned)
    result = fine_tune(settings, tmp_path / "run")
    assert result.after is not None
    assert result.after["valid_loss"] < result.before["valid_loss"]
    assert len({sample["text"] for sample in result.before["samples"]}) == 3


def test_freed_memory_is_kept_where_batches_are_alike(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Path] = []
    text = tmp_path / "text.txt"
    text.write_text("A robot must obey.\n" * 40, encoding="utf-8")
    for data in (Path(pairs(tmp_path)), text):
        monkeypatch.setattr("cutaway.training.loop.keep_freed_memory", lambda data=data: kept.append(data))
        fine_tune(config(base, str(data), max_steps=1, eval_every=1), tmp_path / data.stem)
    assert kept == [text]


def test_a_text_in_several_examples_is_whole_for_the_copy_rate(base: str, tmp_path: Path) -> None:
    text = "".join(f"{n} is before {n + 1}. " for n in range(20))
    material = open_material(config(base, lines(tmp_path / "a.jsonl", {"text": text}), valid="0%", n_ctx=8), BYTES, 8)
    assert copy_rate(BYTES.encode(text), material.texts) == 1


def test_the_work_of_a_step_is_that_of_the_weights_that_have_gradients(base: str, tmp_path: Path) -> None:
    data = pairs(tmp_path)
    last = tuner(config(base, data, method="last", last_layers=1))
    trained = sum(p.numel() for p in last.parameters.values()) / last.model.config.n_params
    assert last.work() == pytest.approx((1 + 2 * trained) / 3)
    assert tuner(config(base, data)).work() == 1
    assert tuner(config(base, data, method="lora")).work() == pytest.approx(2 / 3)


def test_what_was_cut_and_what_stayed_text_is_counted(base: str, tmp_path: Path) -> None:
    records = [{"prompt": "a" * 168 + "b" * 32, "completion": "b<|endoftext|>"}, {"text": "<|endoftext|>"}]
    material = open_material(config(base, lines(tmp_path / "a.jsonl", *records), valid="0%"), BYTES, 64)
    assert (
        "1 prompt truncated on the left to fit; control tokens occur by name in the texts, 2 times" in material.summary
    )
    assert material.prompts[0].text == "b" * 32


def test_another_run_or_other_settings_are_refused(base: str, tmp_path: Path) -> None:
    settings = config(base, pairs(tmp_path), max_steps=2)
    fine_tune(settings, tmp_path / "run")
    with pytest.raises(
        UsageError, match="started with --batch-size 4, --seed 1, not --batch-size 2, --seed 2: use another"
    ):
        fine_tune(replace(settings, seed=2, batch_size=2), tmp_path / "run")
    with pytest.raises(UsageError, match="the run was started on other data"):
        fine_tune(replace(settings, data=pairs(tmp_path, 13)), tmp_path / "run")
    settings = replace(settings, data=pairs(tmp_path))
    save_checkpoint(tmp_path / "other", open_checkpoint(base), tokenizer=BYTES)
    settings = replace(settings, model=str(tmp_path / "other"))
    with pytest.raises(
        UsageError, match="the run was started from the model .*base: use another --out; --model RUN/model begins"
    ):
        fine_tune(settings, tmp_path / "run")
    settings = replace(settings, seed=3, data=pairs(tmp_path, 13))
    with pytest.raises(
        UsageError, match="on other data and from the model .*base and with --seed 1, not --seed 3: use"
    ):
        fine_tune(settings, tmp_path / "run")


def test_invalid_data_is_refused_before_anything_is_written(base: str, tmp_path: Path) -> None:
    data = lines(tmp_path / "a.jsonl", PAIR, {"prompt": "Nothing", "completion": ""})
    with pytest.raises(UsageError, match="a.jsonl:2: nothing to learn: the completion is empty"):
        fine_tune(config(base, data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_sampled_vocabulary_learns_too(base: str, tmp_path: Path) -> None:
    settings = config(base, pairs(tmp_path), valid="0%", sampled_vocab=128, max_steps=20)
    trainer = tuner(settings)
    before = trainer.objective(*trainer._tensors(trainer.source.batch(0, 4, 64)))
    for _ in range(20):
        trainer.step()
    assert trainer.objective(*trainer._tensors(trainer.source.batch(0, 4, 64))) < before


def test_from_scratch_only_the_shape_is_the_models(base: str, tmp_path: Path) -> None:
    settings = config(base, pairs(tmp_path), from_scratch=True, share=0.5)
    trainer = tuner(settings)
    assert not np.array_equal(trainer.model.export()["wte.weight"], open_checkpoint(base).read("wte.weight"))
    assert trainer.source.tokens_per_epoch < tuner(replace(settings, share=1.0)).source.tokens_per_epoch


def test_another_file_to_validate_on_is_other_data(base: str, tmp_path: Path) -> None:
    data = pairs(tmp_path)
    files = [lines(tmp_path / f"{n}.jsonl", {"text": f"number {n}"}) for n in range(2)]
    assert len({open_material(config(base, data, valid=valid), BYTES, 64).digest for valid in files}) == 2


def test_examples_to_validate_on_are_not_those_to_train_on(base: str, tmp_path: Path) -> None:
    data = pairs(tmp_path, 5)
    held = tmp_path / "held.jsonl"
    held.write_text("".join(Path(data).read_text().splitlines(keepends=True)[1:3]))
    for valid in (data, str(held)):
        with pytest.raises(UsageError, match=r"jsonl: every example in it is in .*pairs.jsonl too"):
            fine_tune(config(base, data, valid=valid), tmp_path / "run")
    held.write_text(held.read_text() + json.dumps(PAIR) + "\n")
    summary = open_material(config(base, data, valid=str(held)), BYTES, 64).summary
    assert "3 to validate on; 2 of those to validate on are to be trained on too" in summary


@pytest.mark.parametrize("valid", ["25%", "FILE"])
def test_a_share_is_of_the_examples_to_train_on(base: str, tmp_path: Path, valid: str) -> None:
    held = lines(tmp_path / "held.jsonl", PAIR)
    material = [
        open_material(config(base, pairs(tmp_path), valid=held if valid == "FILE" else valid, share=share), BYTES, 64)
        for share in (1.0, 0.5)
    ]
    assert [part.rows_per_epoch for part in material] == ([12, 6] if valid == "FILE" else [9, 4])
    assert [part.valid and len(part.valid.examples) for part in material] == ([1, 1] if valid == "FILE" else [3, 3])


def test_the_frequent_tokens_are_those_of_the_texts(base: str, tmp_path: Path) -> None:
    settings = config(base, lines(tmp_path / "a.jsonl", {"text": "aaaabbbcc"}), valid="0%", sampled_vocab=6)
    assert tuner(settings).frequent.tolist() == [*BYTES.encode("abc")]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_of_messages_says_so_beside_its_weights(base: str, tmp_path: Path, method: str) -> None:
    record = {"messages": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "2."}]}
    data = lines(tmp_path / "chat.jsonl", record)
    fine_tune(config(base, data, valid="0%", max_steps=2, method=method), tmp_path / "run")
    path = tmp_path / "run" / "model"
    assert open_source(str(path)).side_files() == {CHAT_TEMPLATE_FILE: CHAT_TEMPLATE}
    cutaway.load(path, engine="reference").save(tmp_path / "saved")
    assert (tmp_path / "saved" / CHAT_TEMPLATE_FILE).read_text(encoding="utf-8") == CHAT_TEMPLATE
    fine_tune(config(base, pairs(tmp_path), max_steps=2, method=method), tmp_path / "of-pairs")
    assert open_source(str(tmp_path / "of-pairs" / "model")).side_files() == {}


@pytest.mark.slow
def test_a_reply_learned_by_heart_is_given_in_a_conversation(base: str, tmp_path: Path) -> None:
    said = [("user", "Hi."), ("assistant", "Ho."), ("user", "Ha?"), ("assistant", "He!")]
    messages = [{"role": role, "content": content} for role, content in said]
    data = lines(tmp_path / "chat.jsonl", {"messages": messages})
    settings = config(base, data, valid="0%", max_steps=150, eval_every=150, lr=0.02, batch_size=2)
    fine_tune(settings, tmp_path / "run")
    model = cutaway.load(tmp_path / "run" / "model", engine="reference")
    for place in (1, 3):
        reply = model.chat(messages[:place], temperature=0, max_new_tokens=8)
        assert (reply.text, reply.finish_reason) == (messages[place]["content"], "eos")


def reversals(tmp_path: Path, count: int = 12) -> str:
    return lines(tmp_path / "reverse.jsonl", *generate_records("reverse", count, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_task_is_learned_and_stays_beside_the_weights(base: str, tmp_path: Path, method: str) -> None:
    settings = config(
        base, reversals(tmp_path), task="reverse", method=method, max_steps=30, eval_every=10, valid="20%"
    )
    result = fine_tune(settings, tmp_path / "run")
    assert result.after is not None
    assert result.after["valid_loss"] < result.before["valid_loss"]
    assert result.after["samples"][0]["prompt"].endswith("\n")
    model = cutaway.load(tmp_path / "run" / "model", engine="reference")
    assert model.task == open_task("reverse")
    record = generate_records("reverse", 1, seed=2)[0]
    [[output]] = decode_fields(model.engine, model.encoder(), [record], Decoding(max_new_extra=4))
    assert output.logprob < 0


def translations(tmp_path: Path) -> str:
    words = (("night", "Nacht"), ("house", "Haus"), ("cat", "Katze"), ("dog", "Hund"))
    records = [{"from": "en", "to": "de", "source": en, "target": de} for en, de in words]
    return lines(tmp_path / "pairs.jsonl", *records)


@pytest.mark.slow
def test_control_tokens_of_a_task_are_added_to_the_model(base: str, tmp_path: Path) -> None:
    listener = Listener()
    settings = config(base, translations(tmp_path), task="translation", valid="25%", max_steps=2)
    fine_tune(settings, tmp_path / "run", listener)
    assert "control tokens are added to the model: <|en|>, <|de|>" in listener.notes
    model = cutaway.load(tmp_path / "run" / "model", engine="reference")
    assert model.config.n_vocab == 259
    assert model.encode("<|de|>a<|en|>", allow_special=True) == [258, BYTES.encode("a")[0], 257]
    assert model.encode("<|en|>") == BYTES.encode("<|en|>")  # as text
    assert model.encoder().prompt({"from": "en", "to": "de", "source": "a"})[0] == 257
    before = len(list((tmp_path / "run").rglob("*")))
    fine_tune(settings, tmp_path / "run")  # it has ended, and ends again
    assert len(list((tmp_path / "run").rglob("*"))) == before


@pytest.mark.slow
def test_control_tokens_come_after_the_rows_that_pad_a_vocabulary(tmp_path: Path) -> None:
    shape = GPT2Config(n_vocab=264, n_ctx=64, n_embd=16, n_head=2, n_layer=1)
    save_checkpoint(tmp_path / "padded", random_weights(shape, std=0.05), tokenizer=BYTES)
    data = translations(tmp_path)
    fine_tune(config(str(tmp_path / "padded"), data, task="translation", valid="25%", max_steps=1), tmp_path / "run")
    model = cutaway.load(tmp_path / "run" / "model", engine="reference")
    assert model.config.n_vocab == 266
    assert model.encode("<|en|><|de|>", allow_special=True) == [264, 265]


@pytest.mark.parametrize("method", ["lora", "last"])
def test_control_tokens_are_not_added_where_they_would_not_be_trained(base: str, tmp_path: Path, method: str) -> None:
    settings = config(base, translations(tmp_path), task="translation", method=method)
    with pytest.raises(UsageError, match=r"has no control tokens <\|en\|>, <\|de\|>, .* use --method full"):
        fine_tune(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_of_music_does_not_learn_a_task_of_text(tmp_path: Path) -> None:
    shape = GPT2Config(n_vocab=N_VOCAB, n_ctx=8, n_embd=4, n_head=1, n_layer=1)
    save_checkpoint(tmp_path / "music", random_weights(shape, std=0.05), tokenizer=PerformanceCodec())
    data = translations(tmp_path)
    music = str(tmp_path / "music")
    with pytest.raises(UsageError, match=r"translation is encoded by bpe, and the codec of .*music is perf388"):
        fine_tune(config(music, data, task="translation"), tmp_path / "run")
    with pytest.raises(UsageError, match=r"^the data are text, and the codec of .*music is perf388: fine-tune"):
        fine_tune(config(music, data), tmp_path / "run")


def test_the_first_steps_loss_of_a_task_is_of_targets_after_prefixes(base: str, tmp_path: Path) -> None:
    settings = config(base, reversals(tmp_path), task="reverse", valid="0%", batch_size=12, label_smoothing=0.1)
    loss = tuner(settings).step().loss
    records = [TaskRecord("", record) for record in generate_records("reverse", 12, seed=1)]
    encoder = TaskEncoder(open_task("reverse"), BYTES, 64)
    assert loss == pytest.approx(likelihood(ReferenceEngine(open_checkpoint(base)), encoder, records).nats_per_token)


def test_a_model_of_relative_positions_learns_in_a_shorter_context_but_no_prefixes(tmp_path: Path) -> None:
    shape = GPT2Config(n_vocab=257, n_ctx=64, n_embd=16, n_head=2, n_layer=1, relative_positions=60)
    save_checkpoint(tmp_path / "model", random_weights(shape, std=0.05), tokenizer=BYTES)
    model = str(tmp_path / "model")
    with pytest.raises(UsageError, match="a model with relative positions has only causal attention"):
        fine_tune(config(model, reversals(tmp_path), task="reverse"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    data = lines(tmp_path / "a.jsonl", *({"text": f"A robot number {n}"} for n in range(8)))
    fine_tune(config(model, data, n_ctx=32, max_steps=2, valid="25%"), tmp_path / "run")
    assert cutaway.load(tmp_path / "run" / "model").config == shape


def test_another_task_is_other_data(base: str, tmp_path: Path) -> None:
    settings = config(base, reversals(tmp_path), task="reverse", max_steps=2)
    fine_tune(settings, tmp_path / "run")
    with pytest.raises(UsageError, match="was started on other data"):
        fine_tune(replace(settings, task="number-words"), tmp_path / "run")


def test_records_of_a_task_that_do_not_fit_are_named(base: str, tmp_path: Path) -> None:
    data = lines(tmp_path / "a.jsonl", {"source": "a", "target": "b" * 99})
    with pytest.raises(UsageError, match=r"a.jsonl:1: the target has 100 tokens with its end, and 63 fit"):
        fine_tune(config(base, data, task="reverse", valid="0%"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
