"""Prompts of samples, and what tells held-out texts apart."""

import numpy as np

from cutaway.data.batches import Batch
from cutaway.music.codecs import CODECS
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training.held_out import Validation, text_prompt

GPT2 = Tokenizer.gpt2()


def test_a_prompt_has_the_ids_of_its_text() -> None:
    prompt = text_prompt("A robot", GPT2)
    assert (prompt.text, prompt.ids, prompt.n_prefix) == ("A robot", GPT2.encode("A robot"), 0)


def test_without_a_text_a_sample_continues_the_token_that_begins_one_or_the_first() -> None:
    chorale = CODECS["satb16"]
    assert text_prompt("", GPT2).ids == [GPT2.bos]
    assert text_prompt("of no use to music", chorale).ids == [chorale.bos]
    beginless = Tokenizer(GPT2.vocabulary)
    beginless.bos = None
    assert text_prompt("", beginless).ids == [0]


def test_held_out_texts_differ_by_all_that_their_loss_depends_on() -> None:
    ids = np.arange(6).reshape(2, 3)
    batches = [
        Batch(ids, ids + 1, None),
        Batch(ids + 1, ids + 1, None),
        Batch(ids, ids, None),
        Batch(ids, ids + 1, ids > 1),
        Batch(ids, ids + 1, ids > 2),
        Batch(ids, ids + 1, ids > 1, np.array([1, 2])),
    ]
    assert len({Validation(lambda n_ctx, batch=b: [batch]).digest(3) for b in batches}) == len(batches)  # type: ignore[misc]
