"""Prompts of samples."""

from cutaway.music.codecs import CODECS
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training.held_out import text_prompt

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
