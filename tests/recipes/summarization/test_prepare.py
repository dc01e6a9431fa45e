"""Leads of articles: what comes before the first heading, of articles that are long enough."""

import json
import lzma
from pathlib import Path

import pytest

from cutaway.tasks import open_task
from cutaway.tasks.records import read_task_records
from recipes.summarization import prepare

LEAD = "Ada Lovelace was a mathematician who wrote about the engine of Charles Babbage in the year 1843."
ARTICLE = f"{LEAD}\n\nEarly life.\n\n" + "She was born in London and learned mathematics. " * 30


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("Early life.", True),
        ("She left. He stayed.", False),
        ("A sentence that has more than eight words in it.", False),
        ("Early life", False),
        ("Early\nlife.", False),
    ],
)
def test_headings(paragraph: str, expected: bool) -> None:
    assert prepare.is_heading(paragraph) == expected


def test_the_lead_ends_at_the_first_heading() -> None:
    assert prepare.split_lead("One.\n\nTwo is longer than that, it\nis.\n\nLife.\n\nBody.") == (
        "One. Two is longer than that, it is.",
        "Life.\n\nBody.",
    )
    assert prepare.split_lead("No heading after this long paragraph, which is all.") is None


def test_records_are_those_of_the_task(tmp_path: Path) -> None:
    articles = [
        {"title": "Ada", "text": ARTICLE},
        {"title": "Short body", "text": f"{LEAD}\n\nLife.\n\nShort."},
        {"title": "Short lead", "text": ARTICLE.replace(LEAD, "Ada.")},
    ]
    source = tmp_path / "articles.jsonl.xz"
    source.write_bytes(lzma.compress("\n".join(map(json.dumps, articles)).encode()))
    prepare.main(source, tmp_path / "train.jsonl")
    [record] = read_task_records(tmp_path / "train.jsonl", open_task("wiki-lead"))
    assert record.fields["lead"] == LEAD
    assert record.fields["body"].startswith("Early life.\n\nShe was born")
    prepare.main(source, tmp_path / "shorter.jsonl", 15)
    assert (tmp_path / "shorter.jsonl").read_text() == "\n"
