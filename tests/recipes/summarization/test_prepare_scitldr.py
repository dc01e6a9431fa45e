"""Abstracts with all their summaries, as records of the task scitldr."""

import json
import lzma
from pathlib import Path

from cutaway.tasks import open_task
from cutaway.tasks.records import read_task_records
from recipes.summarization import prepare_scitldr


def test_all_summaries_of_a_paper_are_kept(tmp_path: Path) -> None:
    papers = [
        {"source": ["We try. ", "It works."], "target": ["It works. ", "They tried."], "paper_id": "x"},
        {"source": ["Nothing."], "target": ["No."]},
    ]
    source = tmp_path / "scitldr.jsonl.xz"
    source.write_bytes(lzma.compress("\n".join(map(json.dumps, papers)).encode()))
    prepare_scitldr.main(source, tmp_path / "dev.jsonl")
    first, second = read_task_records(tmp_path / "dev.jsonl", open_task("scitldr"))
    assert first.fields == {"abstract": "We try. It works.", "summary": "It works."}
    assert first.references == ("It works.", "They tried.")
    assert second.references == ("No.",)
