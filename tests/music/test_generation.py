"""Pieces that end in time, from a generator whose steps are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from cutaway.music.codecs import CODECS
from cutaway.music.generation import Mask, generate_piece, grammar_mask
from cutaway.music.perf388 import PerformanceCodec
from cutaway.tokenizer.fast import Tokenizer

CODEC = PerformanceCodec()
STRIKE = [376, 60]
SHIFT = 265  # a tenth of a second


@dataclass(frozen=True)
class Written:
    ids: Sequence[int]
    finish_reason: str | None = None


class Scripted:
    """Writes a step for each id it is given, and records what it was asked."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = ids
        self.prompt: Sequence[int] = ()
        self.mask: Mask | None = None
        self.settings: dict[str, object] = {}

    def stream(self, prompt: Sequence[int], *, mask: Mask | None, **settings: object) -> Iterator[Written]:
        self.prompt = prompt
        self.mask = mask
        self.settings = settings
        yield from (Written([index]) for index in self.ids)
        yield Written((), "eos")


def test_a_piece_ends_when_the_time_is_up() -> None:
    step = CODEC.seconds(SHIFT)
    piece = generate_piece(Scripted([*STRIKE, *[SHIFT] * 9]), CODEC, 3 * step, seed=1)
    assert piece.ids == [*STRIKE, *[SHIFT] * 3]
    assert piece.finish_reason == "length"


def test_a_piece_ends_where_the_model_ends_it() -> None:
    piece = generate_piece(Scripted([*STRIKE, SHIFT]), CODEC, 100.0, seed=1)
    assert piece.ids == [*STRIKE, SHIFT]
    assert piece.finish_reason == "eos"


def test_the_primer_counts_and_stands_first() -> None:
    step = CODEC.seconds(SHIFT)
    model = Scripted([SHIFT] * 9)
    piece = generate_piece(model, CODEC, 3 * step, seed=1, primer=[*STRIKE, SHIFT, SHIFT])
    assert piece.ids == [*STRIKE, SHIFT, SHIFT, SHIFT]
    assert model.prompt == [CODEC.bos, *STRIKE, SHIFT, SHIFT]


def test_settings_reach_the_model() -> None:
    model = Scripted(STRIKE)
    generate_piece(model, CODEC, 1.0, seed=7, temperature=0.5, top_p=0.9)
    wanted = {"seed": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 0, "context_shift": True}
    assert wanted.items() <= model.settings.items()


@pytest.mark.parametrize("grammar", [True, False])
def test_the_grammar_restricts_unless_told_otherwise(grammar: bool) -> None:
    model = Scripted(STRIKE)
    generate_piece(model, CODEC, 1.0, seed=1, grammar=grammar)
    assert (model.mask is not None) == grammar


def test_only_music_has_a_grammar() -> None:
    assert grammar_mask(Tokenizer.gpt2()) is None
    for codec in CODECS.values():
        mask = grammar_mask(codec)
        assert mask is not None
        assert not mask([codec.bos])[codec.bos]
