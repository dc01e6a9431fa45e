"""Decoding of a task: the same for an example alone or among others, within its length, and of different texts."""

import numpy as np
import pytest

from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.numerics import log_softmax
from cutaway.tasks import TaskEncoder, open_task
from cutaway.tasks.decoding import decode_fields
from cutaway.tasks.task import Decoding
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.vocabulary import Vocabulary
from tests.tasks.models import CODEC, WEIGHTS, translation_encoder

ENGINE = ReferenceEngine(WEIGHTS)
FIELDS = [{"from": "en", "to": "de", "source": text} for text in ("night", "a little night", "", "x", "kleine")]
SEARCH = Decoding(beams=3, max_new_extra=5)
SAMPLING = Decoding(temperature=1.0, max_new_extra=5)


@pytest.mark.parametrize("decoding", [SEARCH, SAMPLING])
def test_examples_among_others_equal_one_by_one(decoding: Decoding) -> None:
    encoder = translation_encoder()
    done: list[int] = []
    together = decode_fields(ENGINE, encoder, FIELDS, decoding, n_best=2, seed=7, progress=done.append)
    alone = [
        decode_fields(ENGINE, encoder, [each], decoding, n_best=2, seed=7 + 2 * i)[0] for i, each in enumerate(FIELDS)
    ]
    assert together == alone
    assert done == [5]


@pytest.mark.parametrize("decoding", [SEARCH, SAMPLING])
def test_more_examples_than_fit_side_by_side_are_decoded_in_groups(
    decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = decode_fields(ENGINE, translation_encoder(), FIELDS, decoding, n_best=2, seed=7)
    monkeypatch.setattr("cutaway.tasks.decoding.GROUP", 2)
    done: list[int] = []
    in_groups = decode_fields(ENGINE, translation_encoder(), FIELDS, decoding, n_best=2, seed=7, progress=done.append)
    assert in_groups == at_once
    assert done == [2, 4, 5]


def test_outputs_differ_finished_ones_come_first_and_scores_fall() -> None:
    for outputs in decode_fields(ENGINE, translation_encoder(), FIELDS, SEARCH, n_best=3):
        assert len({output.text for output in outputs}) == len(outputs)
        assert outputs == sorted(outputs, key=lambda output: (not output.is_finished, -output.score))


def test_the_log_probability_is_of_the_prompt_with_its_prefix() -> None:
    encoder = translation_encoder()
    [[output]] = decode_fields(ENGINE, encoder, FIELDS[:1], Decoding(beams=1, alpha=0, max_new_extra=1))
    prompt = encoder.prompt(FIELDS[0])
    nats = log_softmax(ENGINE.forward([prompt], n_prefix=[len(prompt)])[0])
    assert output.logprob == pytest.approx(float(np.max(nats)), abs=1e-4)


def test_the_tasks_own_decoding_is_the_default() -> None:
    encoder = translation_encoder()
    own = decode_fields(ENGINE, encoder, FIELDS[:1])
    assert own == decode_fields(ENGINE, encoder, FIELDS[:1], open_task("translation").decoding)


def test_without_an_end_token_there_is_no_end() -> None:
    codec = Tokenizer(Vocabulary(CODEC.vocabulary.ids, CODEC.vocabulary.merges, control={"<|endoftext|>": 274}))
    encoder = TaskEncoder(open_task("reverse"), codec, 64)
    with pytest.raises(UsageError, match="the tokenizer has no end token"):
        decode_fields(ENGINE, encoder, [{"source": "a"}])


def test_an_output_of_more_sentences_than_are_kept_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskEncoder, "decode", lambda encoder, ids: "One. Two.")
    encoder = translation_encoder()
    for n_sentences, text, is_finished in ((1, "One.", True), (2, "One. Two.", False)):
        decoding = Decoding(max_new_factor=0.0, max_new_extra=1, sentences=n_sentences)
        [[output]] = decode_fields(ENGINE, encoder, FIELDS[:1], decoding)
        assert (output.text, output.is_finished) == (text, is_finished)
