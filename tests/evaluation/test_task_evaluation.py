"""Evaluation of a task: a model that copies what it has learned by heart, its control, and likelihoods."""

from dataclasses import replace

import numpy as np
import pytest

from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.protocol import Engine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.evaluation.task_evaluation import (
    Likelihood,
    TaskEvaluation,
    evaluate_task,
    likelihood,
    score_texts,
    shuffle_sources,
)
from cutaway.numerics import log_softmax
from cutaway.tasks import TaskEncoder, open_task
from cutaway.tasks.records import TaskRecord
from cutaway.tasks.task import Decoding
from tests.tasks.models import CODEC, WEIGHTS, translation_encoder

ENGINES: dict[str, Engine] = {"reference": ReferenceEngine(WEIGHTS), "cpu": CpuEngine(WEIGHTS, "float32", threads=2)}
SHORT = Decoding(beams=2, max_new_extra=4)


def record(source: str, target: str, to: str = "de") -> TaskRecord:
    fields = {"from": "en" if to == "de" else "de", "to": to, "source": source, "target": target}
    return TaskRecord("pairs:1", fields)


RECORDS = [record("night", "Nacht"), record("kleine", "little", "en"), record("a little night", "eine kleine Nacht")]


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_the_likelihood_is_of_the_whole_example_at_once(engine: Engine) -> None:
    encoder = translation_encoder()
    nats = 0.0
    for each in RECORDS:
        example = encoder.encode(each.fields)
        logits = engine.forward([example.ids[:-1].tolist()], logits="all", n_prefix=[example.n_prefix])
        chosen = log_softmax(logits)[np.arange(len(logits)), example.ids[1:]]
        nats -= float(chosen[example.learned[1:]].sum())
    found = likelihood(engine, encoder, RECORDS)
    assert found.nats == pytest.approx(nats, abs=1e-3)
    assert found.bytes == sum(len(each.fields["target"]) for each in RECORDS)
    assert found.bits_per_byte == pytest.approx(nats / np.log(2) / found.bytes, abs=1e-3)


def test_each_direction_has_its_own_result() -> None:
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))

    first, second = evaluate_task(
        ENGINES["reference"], translation_encoder(), RECORDS, train=RECORDS, decoding=SHORT, progress=progress
    )
    assert first.choices == {"from": "en", "to": "de"}
    assert [len(first.records), len(second.records)] == [2, 1]
    assert list(first.scores) == ["model", "copy", "nearest", "shuffled source"]
    assert first.scores["nearest"]["bleu"][0] == 0  # a word of one and one of three: no four words in all
    assert list(first.likelihoods) == ["model", "shuffled source"]
    assert first.likelihoods["model"].nats != first.likelihoods["shuffled source"].nats
    assert second.likelihoods["model"].nats == second.likelihoods["shuffled source"].nats  # a record has no other
    assert calls == [(2, 6), (4, 6), (5, 6), (6, 6)]


def test_shuffled_sources_keep_targets_and_choices() -> None:
    chosen = [record(text, text.upper()) for text in "abcd"]
    shuffled = shuffle_sources(chosen, translation_encoder(), seed=1)
    assert [each.fields["target"] for each in shuffled] == list("ABCD")
    assert sorted(each.fields["source"] for each in shuffled) == list("abcd")
    assert all(each.fields["source"] != text for each, text in zip(shuffled, "abcd", strict=True))


def test_metrics_are_those_of_the_task() -> None:
    encoder = TaskEncoder(open_task("wiki-lead"), CODEC, 64)
    lead = [TaskRecord("", {"title": "t", "body": "a cat slept", "lead": "a cat"})]
    scores = score_texts(["a dog"], lead, encoder)
    assert scores["rouge1"] == (50.0, None)
    assert scores["novel bigrams"] == (100.0, None)
    assert scores["copy rate"] == (0.0, None)
    assert scores["length ratio"] == (100.0, None)
    bleu = score_texts(["eins zwei drei vier"] * 2, [record("", "eins zwei drei vier")] * 2, translation_encoder())
    assert bleu["bleu"] == pytest.approx((100, 0))


def test_the_best_reference_counts_for_each_metric() -> None:
    encoder = TaskEncoder(open_task("scitldr"), CODEC, 64)
    several = TaskRecord("", {"abstract": "x", "summary": "a cat"}, ("a cat", "two dogs bark loudly"))
    scores = score_texts(["two dogs bark"], [several], encoder)
    assert scores["rouge1"][0] == pytest.approx(100 * 6 / 7)
    assert scores["length ratio"][0] == pytest.approx(100)  # 3 words, of references with 2 and 4
    assert scores == score_texts(["two dogs bark"], [replace(several, references=several.references[::-1])], encoder)


def test_the_source_saves_what_is_read_in_it() -> None:
    found = TaskEvaluation(
        {}, [], [], {}, {"model": Likelihood([1, 2], 3, 4), "shuffled source": Likelihood([2, 3], 3, 4)}
    )
    value, error = found.saving
    assert value == pytest.approx(2 / 5)
    # the errors of a ratio are those of its residuals: 1 - 0.4 * 2 and 1 - 0.4 * 3
    assert error == pytest.approx(np.sqrt(2 * (0.2**2 + 0.2**2)) / 5)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", "x" * 99)], "^pairs:1: the target has"),
        ([("a", "x" * 45), ("x" * 99, "a")], "^pairs:1: the target has"),  # it fits with its own source only
    ],
)
def test_a_record_that_does_not_fit_is_named_before_anything_is_decoded(
    pairs: list[tuple[str, str]], message: str
) -> None:
    records = [record(source, target) for source, target in pairs]
    decoded: list[int] = []

    def progress(done: int, total: int) -> None:
        decoded.append(done)

    with pytest.raises(UsageError, match=message):
        evaluate_task(ENGINES["reference"], translation_encoder(), records, decoding=SHORT, progress=progress)
    assert not decoded


def test_a_floor_without_training_records_is_refused_before_anything_is_decoded() -> None:
    decoded: list[int] = []

    def progress(done: int, total: int) -> None:
        decoded.append(done)

    with pytest.raises(UsageError, match="pairs:1: no training record has de, en"):
        evaluate_task(
            ENGINES["reference"], translation_encoder(), RECORDS, train=RECORDS[:1], decoding=SHORT, progress=progress
        )
    assert not decoded
