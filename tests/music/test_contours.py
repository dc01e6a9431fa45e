"""Triangular contours, the focus of a head on their peaks, and heads that have learned to look there."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutaway.config import GPT2Config
from cutaway.data.batches import Rows
from cutaway.data.examples import Example
from cutaway.errors import UsageError
from cutaway.music.contours import HEIGHTS, TICKS, TONICS, Contour, draw_contour, head_focus, peak_focus
from cutaway.music.perf388 import PerformanceCodec
from cutaway.trace import Trace
from cutaway.training.config import TrainingConfig
from cutaway.training.model import make_model
from cutaway.training.trainer import Trainer
from tests.random_weights import random_weights

CODEC = PerformanceCodec()
N_NOTES = 30
CONTOURS = st.builds(Contour, st.sampled_from(TONICS), st.sampled_from(HEIGHTS), st.sampled_from(TICKS))


@given(contour=CONTOURS)
def test_peaks_are_the_highest_notes_and_come_back(contour: Contour) -> None:
    pitches = contour.pitches(40)
    assert [i for i, pitch in enumerate(pitches) if pitch == max(pitches)] == contour.peaks(40)
    assert pitches[contour.period :] == pitches[: -contour.period]
    assert all(0 < abs(a - b) <= 2 for a, b in itertools.pairwise(pitches))


@given(contour=CONTOURS)
def test_the_codec_keeps_a_contour(contour: Contour) -> None:
    performance = contour.performance(20)
    ids = CODEC.encode(performance)
    assert [note.pitch for note in CODEC.read(ids).notes] == contour.pitches(20)
    assert len(ids) == 61  # a velocity, and for each note its key down, its time and its key up


@given(seed=st.integers(0, 2**32))
def test_what_is_held_out_is_never_trained_on(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert not draw_contour(rng, held_out=False).is_held_out
    assert draw_contour(rng, held_out=True).is_held_out


def test_one_in_five_contours_is_held_out() -> None:
    every = [Contour(tonic, height, ticks) for tonic in TONICS for height in HEIGHTS for ticks in TICKS]
    assert np.mean([contour.is_held_out for contour in every]) == pytest.approx(0.2, abs=0.01)


def test_even_attention_has_the_focus_of_chance_and_attention_on_peaks_alone_the_most() -> None:
    contour = Contour(60, 4, 10)
    owners = CODEC.read(CODEC.encode(contour.performance(30))).owners
    query = owners.index(contour.peaks(30)[3])
    peaks = contour.peaks(30)
    assert peak_focus(np.full(query + 1, 1 / (query + 1)), owners, peaks) == pytest.approx(1)
    on_peaks = np.array([owner in peaks[:3] for owner in owners[: query + 1]]) / 6
    n_before = sum(0 <= owner < peaks[3] for owner in owners[: query + 1])
    assert peak_focus(on_peaks, owners, peaks) == pytest.approx(n_before / 6)
    off_peaks = np.array([owner not in peaks for owner in owners[: query + 1]], np.float64)
    assert peak_focus(off_peaks, owners, peaks) == 0


def test_without_an_earlier_peak_there_is_nothing_to_measure() -> None:
    with pytest.raises(UsageError, match="there is no peak before the note that asks"):
        peak_focus(np.ones(2) / 2, [0, 1], [1])


def test_an_untrained_model_has_no_head_with_a_focus_on_peaks() -> None:
    rng = np.random.default_rng(1)
    weights = random_weights(GPT2Config(389, 128, 32, 4, 2), seed=1, std=0.02, spread=0)
    found = []
    for _ in range(8):
        contour = draw_contour(rng, held_out=True)
        count = 3 * contour.period
        ids = [CODEC.bos, *CODEC.encode(contour.performance(min(count, 40)))][:128]
        owners = CODEC.read(ids).owners
        peaks = contour.peaks(count)
        queries = [place for place, index in enumerate(ids) if index < 128 and owners[place] in peaks[2:]]
        trace = Trace(weights.config, weights.arrays, None, ids)
        found.append([head_focus(trace[f"attn.{layer}"], owners, peaks, queries) for layer in range(2)])
    assert np.mean(found, axis=0).max() <= 1.5


@pytest.mark.slow  # trains for some seconds
def test_a_trained_model_has_a_head_that_looks_from_late_peaks_to_the_earlier_ones() -> None:
    """While a peak sounds, the next key to strike is the one that followed the peaks before: the article's picture."""
    rng = np.random.default_rng(1)
    config = TrainingConfig(
        n_layer=2,
        n_head=4,
        n_embd=64,
        n_ctx=96,
        relative_positions=96,
        batch_size=16,
        device="cpu",
        max_steps=200,
        lr=0.006,
        matrix_lr=0.009,
        warmup_steps=20,
    )
    rows = Rows([learned(draw_contour(rng, held_out=False)) for _ in range(600)], seed=1, pad=CODEC.bos)
    trainer = Trainer(config, make_model(config, config.shape(CODEC.n_vocab), torch.device("cpu"), None), rows)
    for _ in range(200):
        trainer.step()
    weights = trainer.weights()
    arrays = {name: np.array(weights.read(name)) for name in weights.config.tensor_shapes()}
    found = []
    for _ in range(12):
        contour = draw_contour(rng, held_out=True)
        ids = learned(contour).ids.tolist()
        owners = CODEC.read(ids).owners
        peaks = contour.peaks(N_NOTES)
        after = [owners.index(peak) + 1 for peak in peaks[2:]]  # its key is down, and time passes
        if after:
            trace = Trace(weights.config, arrays, None, ids)
            found.append([head_focus(trace[f"attn.{layer}"], owners, peaks, after) for layer in range(2)])
    assert np.mean(found, axis=0).max() > 5


def learned(contour: Contour) -> Example:
    ids = np.array([CODEC.bos, *CODEC.encode(contour.performance(N_NOTES))])
    return Example(ids, np.arange(len(ids)) > 0)
