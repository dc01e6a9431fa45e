"""A model of music beside its floors."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from cutaway.checkpoints import save_checkpoint
from cutaway.data.music import prepare_music
from cutaway.data.prepare import prepare
from cutaway.errors import UsageError
from cutaway.loading import load
from cutaway.music.ngram import NGram
from cutaway.music.perf388 import PerformanceCodec
from cutaway.music.performance import Note, Performance
from recipes.music import evaluate
from tests.tiny import tiny_weights

CODEC = PerformanceCodec()
SCALES = [[Note(0.1 * n, 0.1 * n + 0.1, start + n, 80) for n in range(12)] for start in range(40, 52)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for number, notes in enumerate(SCALES):
        Performance.of(notes).to_midi().write(tmp_path / f"{number}.mid")
    train = [tmp_path / f"{number}.mid" for number in range(10)]
    prepare_music(train, tmp_path / "shards", valid=[tmp_path / "10.mid", tmp_path / "11.mid"], copies=3)
    return tmp_path / "shards"


@pytest.fixture
def model(tmp_path: Path) -> str:
    save_checkpoint(tmp_path / "model", tiny_weights(n_vocab=389, n_ctx=16, n_embd=8, n_head=2), tokenizer=CODEC)
    return str(tmp_path / "model")


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, float]:
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    evaluate.main()
    document: dict[str, float] = json.loads(capsys.readouterr().out)
    return document


def test_model_and_floors_score_the_same_tokens(
    corpus: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = run(capsys, monkeypatch, "--model", model, "--data", str(corpus), "--copies", "3")
    train = [[388, *CODEC.encode(Performance.of(notes))] for notes in SCALES[:10]]
    valid = [[388, *CODEC.encode(Performance.of(notes))] for notes in SCALES[10:]]
    assert (document["pieces"], document["tokens"]) == (2, sum(len(ids) - 1 for ids in valid))
    scores = [load(model).score(ids) for ids in valid]
    assert document["nats"] == pytest.approx(sum(s.nats for s in scores) / sum(s.tokens for s in scores))
    trigram = NGram(3, 389)
    trigram.fit(train)
    expected = np.concatenate([trigram.losses(ids)[1:] for ids in valid]).mean()
    assert document["trigram"] == pytest.approx(expected)
    assert document["trigram"] < document["bigram"] < document["unigram"] < document["nats"]


def test_an_untrained_model_gives_the_illegal_its_share(
    corpus: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = run(capsys, monkeypatch, "--model", model, "--data", str(corpus), "--pieces", "1")
    assert document["pieces"] == 1
    assert 0.3 < document["illegal"] < 0.7


def test_a_corpus_of_text_is_refused(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("A robot must obey")
    prepare([tmp_path / "a.txt"], tmp_path / "text")
    with pytest.raises(UsageError, match="not a corpus of music"):
        run(capsys, monkeypatch, "--model", model, "--data", str(tmp_path / "text"))
