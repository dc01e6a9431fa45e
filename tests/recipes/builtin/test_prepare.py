"""The corpus of the built-in model: its parts, and the same files after packing and unpacking."""

import json
import lzma
from pathlib import Path

import pytest

from cutaway.data.dataset import open_dataset
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer
from recipes.builtin.prepare import pack, prepare, unpack

RECORDS = {
    "simple-train": [
        {"kind": "tinystories", "text": "Once upon a time."},
        {"kind": "dialogues-self", "text": "A: Hi."},
    ],
    "simple-valid": [{"kind": "pg-children", "text": "A story."}, {"kind": "dialogues-sgd", "text": "B: Yes."}],
    "books-train-0": [{"title": "Emma", "author": "Jane Austen", "source": "x", "text": "Emma Woodhouse."}],
    "books-train-1": [{"title": "Heidi", "author": "Johanna Spyri", "source": "x", "text": "Up the mountain."}],
    "books-train-2": [{"title": "Persuasion", "author": "Jane Austen", "source": "x", "text": "Sir Walter."}],
    "books-valid": [{"title": "Heidi", "author": "Johanna Spyri", "source": "x", "text": "Stately, plump."}],
    "wikipedia-train": [{"title": "Robot", "text": "A robot is a machine."}],
    "wikipedia-valid": [{"title": "Law", "text": "Law is a system."}],
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, records in RECORDS.items():
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl.xz").write_bytes(lzma.compress(lines.encode()))
    (folder / "simple-books.txt").write_text("# title | author | source\nHeidi | Johanna Spyri | x\n")
    return folder


def texts(directory: Path, name: str) -> str:
    dataset = open_dataset(directory)
    return Tokenizer.gpt2().decode(dataset.split(name).ids[:].tolist())


@pytest.mark.slow
def test_parts_are_prepared_once(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tokens"
    prepare(corpus, out, workers=1)
    assert len(capsys.readouterr().out.splitlines()) == 9
    end = "<|endoftext|>"
    assert texts(out / "stories", "train") == f"{end}Once upon a time."
    assert texts(out / "dialogues", "valid") == f"{end}B: Yes."
    assert texts(out / "simple-books", "train") == f"{end}Up the mountain."
    assert texts(out / "books", "train") == f"{end}Emma Woodhouse.{end}Sir Walter."
    assert texts(out / "books", "valid") == f"{end}Stately, plump."
    assert texts(out / "wikipedia", "train") == f"{end}A robot is a machine."
    assert list(open_dataset(out / "simple-books").manifest.splits) == ["train"]
    prepare(corpus, out, workers=1)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_unpacking_restores_what_was_packed(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipes.builtin.prepare.PIECE_BYTES", 50_000)
    monkeypatch.setattr("recipes.builtin.prepare.GROUP_BYTES", 60_000)
    out = tmp_path / "tokens"
    prepare(corpus, out, workers=1)
    pack(out, tmp_path / "packed")
    assert len(list((tmp_path / "packed").iterdir())) > 3
    unpack(tmp_path / "packed", tmp_path / "again")
    files = [path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file()]
    assert [
        path.relative_to(tmp_path / "again") for path in sorted((tmp_path / "again").rglob("*")) if path.is_file()
    ] == files
    assert all((out / path).read_bytes() == (tmp_path / "again" / path).read_bytes() for path in files)
    with pytest.raises(UsageError, match="no pieces"):
        unpack(tmp_path / "again", tmp_path / "more")
