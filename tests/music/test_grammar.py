"""Canonical grammars: exactly what the codecs write."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cutaway.music.codecs import CODECS
from cutaway.music.grammar import Grammar, PerformanceGrammar, count_illegal, grammar_of, mask_of
from cutaway.music.perf388 import END, N_VOCAB, PerformanceCodec
from cutaway.music.performance import Note, Performance
from cutaway.music.satb16 import ChoraleCodec
from tests.music.test_performance import performances
from tests.music.test_satb16 import CHORALES

CODEC = PerformanceCodec()


@given(pieces=st.lists(performances().filter(lambda piece: bool(piece.notes)), max_size=3))
def test_what_the_codec_writes_is_legal(pieces: list[Performance]) -> None:
    ids = [index for piece in pieces for index in (*CODEC.encode(piece), END)]
    assert count_illegal(CODEC, ids) == 0


def walk(grammar: Grammar, rng: np.random.Generator, pitches: np.ndarray, length: int) -> list[int]:
    """Walk at random through what is allowed, among a few pitches and the rest, to an END or so many ids."""
    ids: list[int] = []
    while len(ids) < length:
        may = np.flatnonzero(grammar.allowed())
        chosen = may[np.isin(may % 128, pitches) | (may >= 256)]
        rare = chosen[rng.random(len(chosen)) < 0.5]
        index = int(rng.choice(rare if len(rare) else may))
        grammar.advance(index)
        if index == END:
            break
        ids.append(index)
    return ids


@given(seed=st.integers(0, 2**32))
def test_what_is_legal_is_what_the_codec_writes(seed: int) -> None:
    """A random walk that ends with all keys up is the encoding of what it decodes to."""
    rng = np.random.default_rng(seed)
    grammar = PerformanceGrammar()
    ids = walk(grammar, rng, rng.choice([0, 1, 60, 61, 126, 127], 2), int(rng.integers(1, 60)))
    closed = close(grammar, ids)
    assert CODEC.encode(CODEC.decode(closed)) == closed


def close(grammar: PerformanceGrammar, ids: list[int]) -> list[int]:
    """End the piece as the grammar allows it: release what sounds, or strike a key first if there is nothing."""
    closed = list(ids)
    while closed and not grammar.allowed()[END]:
        assert len(closed) < 1000
        may = np.flatnonzero(grammar.allowed())
        releases = may[(may >= 128) & (may < 256)]
        strikes = may[may < 128]
        shifts = may[(may >= 256) & (may < 356)]
        sounds = sum(index < 128 for index in closed) > sum(128 <= index < 256 for index in closed)
        first = (releases, shifts, strikes, may) if sounds else (strikes, may[may >= 356])
        index = int(next(part for part in first if len(part))[0])
        closed.append(index)
        grammar.advance(index)
    return closed


@given(seed=st.integers(0, 2**32))
def test_something_is_always_allowed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for grammar in (PerformanceGrammar(), grammar_of(ChoraleCodec())):
        for _ in range(50):
            may = grammar.allowed()
            assert may.any()
            grammar.advance(int(rng.choice(np.flatnonzero(may))))


@given(ids=st.lists(st.integers(-2, N_VOCAB + 2), max_size=60))
def test_any_ids_advance_the_state(ids: list[int]) -> None:
    for codec in CODECS.values():
        assert mask_of(codec)(ids).shape == (codec.n_vocab,)
        assert 0 <= count_illegal(codec, ids) <= len(ids)


def legal(ids: list[int]) -> set[str]:
    """Name the kinds of events that may follow."""
    may = mask_of(CODEC)(ids)
    kinds = {"on": may[:128], "off": may[128:256], "shift": may[256:356], "velocity": may[356:388], "end": may[388:]}
    return {kind for kind, part in kinds.items() if part.any()}


def test_the_rules_one_by_one() -> None:
    assert legal([END]) == {"shift", "velocity"}
    assert legal([END, 376]) == {"on"}
    assert legal([END, 376, 60]) == {"on", "shift", "velocity"}  # nothing is released when it is struck
    assert legal([END, 376, 60, 265]) == {"on", "off", "velocity"}
    assert legal([END, 376, 60, 355]) == {"on", "off", "shift", "velocity"}
    assert legal([END, 376, 60, 265, 188]) == {"on", "shift", "velocity", "end"}
    assert legal([END, 376, 60, 265, 188, 265]) == {"on", "velocity"}
    assert legal([376, 60, 265, 188, END]) == {"shift", "velocity"}


def test_a_velocity_changes_the_one_in_force() -> None:
    may = mask_of(CODEC)([376, 60, 265])
    assert not may[376]
    assert may[356:388].sum() == 31


def test_releases_are_of_sounding_keys_in_the_order_of_their_pitches() -> None:
    ids = CODEC.encode(Performance.of([Note(0, 1, pitch, 80) for pitch in (60, 64, 67)]))
    assert np.flatnonzero(mask_of(CODEC)(ids[:5])[128:256]).tolist() == [60, 64, 67]
    assert np.flatnonzero(mask_of(CODEC)([*ids[:5], 128 + 64])[128:256]).tolist() == [67]


def test_a_piece_ends_with_all_keys_up() -> None:
    assert not mask_of(CODEC)([376, 60, 64, 265, 188])[END]
    assert mask_of(CODEC)([376, 60, 64, 265, 188, 192])[END]


@given(chorale=CHORALES)
def test_chorales_end_after_whole_steps(chorale: list[list[int]]) -> None:
    codec = ChoraleCodec()
    ids = codec.encode(chorale)
    assert mask_of(codec)([codec.bos, *ids])[codec.eos] == bool(chorale)
    assert not mask_of(codec)([*ids, 0, 1])[codec.eos]
    assert mask_of(codec)(ids)[:-1].all()


def test_every_codec_has_a_grammar() -> None:
    for codec in CODECS.values():
        assert grammar_of(codec).allowed().shape == (codec.n_vocab,)


@given(ids=st.lists(st.integers(0, N_VOCAB - 1), max_size=30), order=st.randoms())
def test_a_mask_depends_on_the_ids_alone(ids: list[int], order: random.Random) -> None:
    mask = mask_of(CODEC)
    lengths = [*range(len(ids) + 1)] * 2
    order.shuffle(lengths)
    for length in lengths:
        assert np.array_equal(mask(ids[:length]), mask_of(CODEC)(ids[:length]))
