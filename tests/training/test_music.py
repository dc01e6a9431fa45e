"""Training on music: the model's directory says what its ids are, and other ids are refused."""

import json
from pathlib import Path

import pytest

from cutaway.data.music import prepare_music
from cutaway.data.prepare import prepare
from cutaway.errors import UsageError
from cutaway.loading import load
from cutaway.music.perf388 import PerformanceCodec
from cutaway.music.performance import Note, Performance
from cutaway.training.config import TrainingConfig
from cutaway.training.loop import Silent
from cutaway.training.pretraining import train

SMALL = {"n_layer": 1, "n_head": 1, "n_embd": 8, "n_ctx": 16, "batch_size": 2, "threads": 1}


@pytest.fixture
def songs(tmp_path: Path) -> str:
    for number in range(3):
        notes = [Note(0.2 * n, 0.2 * n + 0.1, 50 + number + n, 80) for n in range(20)]
        Performance.of(notes).to_midi().write(tmp_path / f"{number}.mid")
    files = [tmp_path / "0.mid", tmp_path / "1.mid"]
    prepare_music(files, tmp_path / "songs", valid=[tmp_path / "2.mid"], copies=2)
    return str(tmp_path / "songs")


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "a.txt").write_text("A robot must obey the orders given it. " * 20)
    prepare([tmp_path / "a.txt"], tmp_path / "text")
    return str(tmp_path / "text")


def run(directory: Path, **settings: object) -> Path:
    config = TrainingConfig.from_document({**SMALL, **settings, "max_steps": 2})
    outcome = train(config, directory, Silent())
    assert outcome.model is not None
    return outcome.model


def test_a_model_of_music_is_trained_with_its_codec(songs: str, tmp_path: Path) -> None:
    model = load(run(tmp_path / "run", data=[songs]), engine="reference")
    assert model.codec == PerformanceCodec()
    assert model.config.n_vocab == 389
    assert model.bos == 388
    [checkpoint, *_] = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert load(checkpoint, engine="reference").codec == model.codec


def test_samples_of_music_are_events(songs: str, tmp_path: Path) -> None:
    run(tmp_path / "run", data=[songs], eval_every=1)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    samples = [line["sample"] for line in lines if "sample" in line]
    labels = {PerformanceCodec().label(index) for index in range(388)}
    assert samples
    assert all(set(sample.split(", ")) <= labels for sample in samples if sample)
    assert all("bits_per_byte" not in line for line in lines)


def test_training_continues_from_a_model_of_the_same_codec_only(songs: str, text: str, tmp_path: Path) -> None:
    music = run(tmp_path / "music", data=[songs])
    assert load(run(tmp_path / "more", data=[songs], init=str(music)), engine="reference").codec == PerformanceCodec()
    words = run(tmp_path / "words", data=[text])
    with pytest.raises(UsageError, match="have different tokenizers"):
        run(tmp_path / "mixed", data=[songs], init=str(words))


@pytest.mark.slow
def test_music_and_text_are_not_mixed_in_one_run(songs: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="have different tokenizers"):
        run(tmp_path / "run", data=[songs, text])
