"""Corpora of music: MIDI files and chorales as shards, and a model of them."""

import json
import lzma
from pathlib import Path

import pytest

from cutaway.checkpoints import ArrayWeights, open_checkpoint, save_checkpoint
from cutaway.data.dataset import open_dataset
from cutaway.data.manifest import Manifest
from cutaway.data.music import STRETCHES, TRANSPOSITIONS, draw_split, find_midi, prepare_music
from cutaway.data.prepare import prepare
from cutaway.errors import UsageError
from cutaway.loading import load
from cutaway.music.codecs import CODECS
from cutaway.music.perf388 import END, PerformanceCodec
from cutaway.music.performance import Note, Performance
from cutaway.music.satb16 import ChoraleCodec
from tests.tiny import tiny_weights

CODEC = PerformanceCodec()
SCALE = [Note(1 + n, 2 + n, 60 + n, 80) for n in range(5)]
CHORALE = [[72, 67, 64, 48], [74, 67, 62, -1]]


def write_songs(directory: Path, count: int = 4) -> None:
    for number in range(count):
        song = Performance.of(note._replace(pitch=note.pitch + number) for note in SCALE)
        (directory / f"{number}").mkdir(parents=True)
        song.to_midi().write(directory / f"{number}" / f"{number}.MID")
    (directory / "index.txt").write_text("no music")


def documents(directory: Path, split: str = "train") -> list[list[int]]:
    part = open_dataset(directory).split(split)
    return [part.ids[part.document(index)].tolist() for index in range(part.n_documents)]


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    write_songs(tmp_path / "songs")
    return tmp_path / "songs"


def test_every_song_is_a_document_from_its_first_note(songs: Path, tmp_path: Path) -> None:
    manifest = prepare_music([songs], tmp_path / "out")
    assert (manifest.tokenizer.name, manifest.tokenizer.n_vocab, manifest.tokenizer.eos) == ("perf388", 389, END)
    assert open_dataset(tmp_path / "out").codec == CODEC
    first, *_ = found = documents(tmp_path / "out")
    assert len(found) == 4
    assert first[0] == END
    assert [note.pitch for note in CODEC.decode(first).notes] == [60, 61, 62, 63, 64]
    assert CODEC.decode(first).notes[0].onset == 0


def test_further_versions_are_transposed_and_stretched_by_the_seed(songs: Path, tmp_path: Path) -> None:
    prepare_music([songs], tmp_path / "a", copies=6, seed=3)
    prepare_music([songs], tmp_path / "b", copies=6, seed=3)
    prepare_music([songs], tmp_path / "c", copies=6, seed=4)
    found = documents(tmp_path / "a")
    assert found == documents(tmp_path / "b") != documents(tmp_path / "c")
    assert len(found) == 24
    assert found[::6] == documents_of(songs, tmp_path / "d")
    for version in found[1:6]:
        notes = CODEC.decode(version).notes
        assert notes[0].pitch - 60 in TRANSPOSITIONS
        assert any(abs(notes[-1].offset - 5 * factor) < 0.02 for factor in STRETCHES)
    assert len({tuple(version) for version in found[:6]}) > 3


def documents_of(songs: Path, out: Path) -> list[list[int]]:
    prepare_music([songs], out)
    return documents(out)


def test_pieces_are_drawn_for_validation_and_have_one_version(tmp_path: Path) -> None:
    write_songs(tmp_path / "more", 9)
    songs = tmp_path / "more"
    manifest = prepare_music([songs], tmp_path / "out", valid=0.5, copies=3)
    whole = documents_of(songs, tmp_path / "whole")
    valid = documents(tmp_path / "out", "valid")
    assert valid == [document for document in whole if draw_split(document[1:], 0.5) == "valid"]
    assert 0 < len(valid) < 9
    assert manifest.splits["train"].documents == 3 * (9 - len(valid))


def test_files_may_be_given_for_validation(songs: Path, tmp_path: Path) -> None:
    manifest = prepare_music([songs / "0", songs / "1"], tmp_path / "out", valid=[songs / "2"])
    assert (manifest.splits["train"].documents, manifest.splits["valid"].documents) == (2, 1)


def test_a_preparation_that_was_stopped_continues(songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.data.music.PIECES_PER_PART", 1)
    whole = prepare_music([songs], tmp_path / "whole", copies=2)
    monkeypatch.setattr("cutaway.data.writer.CorpusWriter.finish", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_music([songs], tmp_path / "out", copies=2)
    monkeypatch.undo()
    monkeypatch.setattr("cutaway.data.music.PIECES_PER_PART", 1)
    assert prepare_music([songs], tmp_path / "out", copies=2) == whole


def _interrupt(_: object) -> Manifest:
    raise KeyboardInterrupt


def test_a_finished_corpus_is_left_as_it_is_unless_another_is_asked_for(songs: Path, tmp_path: Path) -> None:
    manifest = prepare_music([songs], tmp_path / "tokens", copies=2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert prepare_music([songs], tmp_path / "tokens", copies=2) == manifest
    with pytest.raises(UsageError, match="copies 3 instead of copies 2, seed 5 instead of seed 1"):
        prepare_music([songs], tmp_path / "tokens", copies=3, seed=5)
    with pytest.raises(
        UsageError, match=r"holds another corpus already \(tokenizer 'gpt2' instead of 'perf388', .*is new"
    ):
        prepare([__file__], tmp_path / "tokens")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_chorales_are_read_from_their_splits(tmp_path: Path) -> None:
    path = tmp_path / "chorales.json.xz"
    path.write_bytes(lzma.compress(json.dumps({"train": [CHORALE], "valid": [CHORALE[:1]]}).encode()))
    prepare_music([path], tmp_path / "out", codec="satb16", copies=5)
    codec = ChoraleCodec()
    first, *others = documents(tmp_path / "out")
    assert first == [codec.bos, *codec.encode(CHORALE)]
    assert documents(tmp_path / "out", "valid") == [[codec.bos, *codec.encode(CHORALE[:1])]]
    assert len(others) == 4
    for ids in others:
        [step, _] = codec.chorale(ids)
        assert [pitch - step[0] for pitch in step] == [0, -5, -8, -24]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "not valid JSON"),
        ("[]", "must be a JSON object with the chorales under train and valid"),
        ('{"test": []}', "must be a JSON object with the chorales under train and valid"),
        ('{"train": [[72]]}', "train must be a list of chorales, which are lists of four pitches"),
        ('{"train": [[[72, 67, 64, true]]]}', "train must be a list of chorales"),
        ('{"train": [[[72, 67, 64, 48], [72, 67, 64]]]}', "train 1: step 2: there must be 4 voices, not 3"),
        ('{"train": []}', "nothing to train on"),
    ],
)
def test_malformed_chorales_are_one_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UsageError, match=reason):
        prepare_music([tmp_path / "a.json"], tmp_path / "out", codec="satb16")


def test_too_large_a_file_of_chorales_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.data.music._MAX_JSON", 10)
    (tmp_path / "a.json").write_text('{"train": [[[72, 67, 64, 48]]]}')
    with pytest.raises(UsageError, match="is larger than the 10 bytes"):
        prepare_music([tmp_path / "a.json"], tmp_path / "out", codec="satb16")


def test_invalid_arguments_are_one_line(songs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="codec must be perf388 or satb16, not 'midi'"):
        prepare_music([songs], tmp_path / "out", codec="midi")
    with pytest.raises(UsageError, match="leave --valid out"):
        prepare_music([songs], tmp_path / "out", codec="satb16", valid=0.1)
    with pytest.raises(UsageError, match="copies must be from 1"):
        prepare_music([songs], tmp_path / "out", copies=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no MIDI files in this folder"):
        find_midi([tmp_path / "empty"])


def test_a_song_without_notes_is_refused(tmp_path: Path) -> None:
    Performance(()).to_midi().write(tmp_path / "a.mid")
    with pytest.raises(UsageError, match=r"a\.mid: holds no notes"):
        prepare_music([tmp_path / "a.mid"], tmp_path / "out")


@pytest.mark.parametrize("name", CODECS)
def test_a_model_of_music_is_saved_with_its_codec_and_has_no_text(name: str, tmp_path: Path) -> None:
    weights = tiny_weights()
    save_checkpoint(tmp_path / "model", ArrayWeights(weights.config, weights.arrays), tokenizer=CODECS[name])
    checkpoint = open_checkpoint(tmp_path / "model")
    assert checkpoint.codec() == checkpoint.tokenizer_files() == CODECS[name]
    model = load(tmp_path / "model", engine="reference")
    assert model.codec == CODECS[name]
    assert model.tokenizer is None
    with pytest.raises(UsageError, match="model has no text, its ids are such as .*; give token ids"):
        model.generate("A robot")
    assert all(each.text == CODECS[name].label(each.id) for each in model.next_tokens([1, 2]))
    completion = model.generate([1, 2], max_new_tokens=3, seed=1)
    assert (len(completion.ids), completion.text) == (3, "")
    model.save(tmp_path / "again")
    assert open_checkpoint(tmp_path / "again").codec() == CODECS[name]
