"""Captions become records of the task."""

import lzma
from pathlib import Path

import pytest

from cutaway.tasks import open_task
from cutaway.tasks.records import read_task_records
from recipes.translation import multi30k


def write(folder: Path, part: str, language: str, text: str) -> None:
    (folder / f"multi30k-{part}.{language}.xz").write_bytes(lzma.compress(text.encode()))


def test_lines_are_paired(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write(tmp_path, part, "en", f"a dog of {part}\ntwo\n")
        write(tmp_path, part, "de", f"ein Hund von {part}\nzwei\n")
    multi30k.main(tmp_path, tmp_path / "out")
    records = read_task_records(tmp_path / "out" / "test.jsonl", open_task("translation"))
    assert [record.fields["source"] for record in records] == ["a dog of val", "two"]
    assert records[0].references == ("ein Hund von val",)


def test_files_of_different_lengths_are_refused(tmp_path: Path) -> None:
    for language, text in (("en", "a\nb\n"), ("de", "ein\n")):
        write(tmp_path, "train", language, text)
    with pytest.raises(ValueError, match="shorter"):
        multi30k.main(tmp_path, tmp_path / "out")
