"""recipes/simple_corpus.py on clones of a few made-up documents."""

import csv
import doctest
import hashlib
import importlib
import json
import lzma
from pathlib import Path

import pytest

from recipes import simple_corpus
from recipes.origins import CorpusError, Record

OPENING = (
    "Once upon a time there lived a weaver whose loom stood by the weir, and " + "day after day " * 6 + "she wove."
)


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def kind(name: str, records: list[Record], bucket: int) -> simple_corpus.Kind:
    return simple_corpus.Kind(name, lambda clones: records, lambda index, title: bucket)


@pytest.mark.parametrize("name", ["dialogues", "gutenberg", "origins", "simple_corpus"])
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"recipes.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_listed_document_has_a_kind_and_the_recorded_number_is_listed() -> None:
    for name in ("fairytaleqa", "pg-alger", "pg-boys-series", "pg-children"):
        _, n_train, n_valid = simple_corpus.RECORDED[name]
        sources = simple_corpus.listed(name)
        assert len(set(sources)) == len(sources) == n_train + n_valid
        assert all("@" in source and ":" in source for source in sources)
    deal = [simple_corpus.every_book(index, "") for index in range(327)]
    assert deal.count(2) == simple_corpus.RECORDED["pg-children"][2]


def test_a_book_of_a_repository_of_its_own_has_its_title_in_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = ["GITenberg/The-Weir_12@0123456789:12.txt", "GITenberg/The-Cold-Loom_13@0123456789:13.txt"]
    monkeypatch.setattr(simple_corpus, "listed", lambda kind: sources)
    put(tmp_path / "The-Weir_12" / "12.txt", f"Title: The\n  Weir\n\nAuthor: Ann Reed\n  Bo Reed\n\n{OPENING}\n")
    put(tmp_path / "The-Cold-Loom_13" / "13.txt", f"{OPENING}\n")
    first, second = simple_corpus.books("pg-children", tmp_path)
    assert list(first) == ["title", "kind", "source", "licence", "author", "text"]
    assert (first["title"], first["author"], first["source"]) == ("The Weir", "Ann Reed", sources[0])
    assert first["text"] == OPENING
    assert second["title"] == "The Cold Loom"
    assert "author" not in second


def test_a_book_of_gutenberg_text_is_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "rcdm-uga/Gutenberg_Text@a0b16d35a9:Reed, Ann/The Weir A Tale.txt"
    monkeypatch.setattr(simple_corpus, "listed", lambda kind: [source])
    (tmp_path / "Gutenberg_Text").mkdir()
    with pytest.raises(CorpusError, match="The Weir A Tale.txt is missing"):
        list(simple_corpus.books("pg-alger", tmp_path))
    put(tmp_path / "Gutenberg_Text" / "Reed, Ann" / "The Weir\rA Tale.txt", OPENING)
    [record] = simple_corpus.books("pg-alger", tmp_path)
    assert (record["title"], record["author"], record["source"]) == ("The Weir A Tale", "Reed, Ann", source)


def test_a_fairy_tale_is_its_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simple_corpus, "listed", lambda kind: ["uci-soe/FairytaleQAData@a:tales/the-weir-story.csv"])
    path = put(tmp_path / "tales" / "the-weir-story.csv", "")
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["section", "text"], ["1", 'She said,\n"No."'], ["2", "It ran."]])
    [document] = simple_corpus.fairy_tales(tmp_path)
    assert (document.title, document.path) == ("the weir", "tales/the-weir-story.csv")
    assert document.text == 'She said, "No."\n\nIt ran.'


def test_news_articles_come_once_and_without_their_level(tmp_path: Path) -> None:
    folder = tmp_path / "Texts-SeparatedByReadingLevel"
    put(folder / "Ele-Txt" / "Weir-ele.txt", "\ufeffElementary \r\nThe\xa0weir \t is old.\r\n \r\nIt’s cold.\r\n")
    put(folder / "Int-Txt" / "Weir-int.txt", "Intermediate\nThe weir is very old.\n")
    put(folder / "Int-Txt" / "Int-Txt" / "Weir-int.txt", "Intermediate\n“The weir is very old.”\n")
    put(folder / "Adv-Txt" / "Weir-adv.txt", "Its antiquity is astounding.\n")
    first, second = simple_corpus.news(tmp_path)
    assert (first.title, first.text) == ("Weir", "The weir is old.\nIt’s cold.")
    assert second.path == "Texts-SeparatedByReadingLevel/Int-Txt/Int-Txt/Weir-int.txt"  # before Int-Txt/Weir-int.txt


def test_tiny_stories_end_like_a_sentence(tmp_path: Path) -> None:
    text = "\nTim ran.  \n\n\n\nHe fell!\n<|endoftext|>\nTim saw a\n<|endoftext|>\n"
    put(tmp_path / "data" / "tinystories_10k.txt", text)
    [document] = simple_corpus.tiny_stories(tmp_path)
    assert document.text == "Tim ran.\n\nHe fell!"


def test_rejects_an_empty_repository(tmp_path: Path) -> None:
    (tmp_path / "Topical-Chat").mkdir()
    with pytest.raises(CorpusError, match="nothing to read in .*Topical-Chat; check that it is a clone at 7c939229cb"):
        list(simple_corpus.TOPICAL.records(tmp_path))


def test_records_go_where_their_bucket_says(tmp_path: Path) -> None:
    records = [{"title": str(i)} for i in range(5)]
    dealt = simple_corpus.Kind("tinystories", lambda clones: records, lambda index, title: index)
    train, valid = simple_corpus.split(dealt, tmp_path)
    assert [json.loads(line)["title"] for line in train] == ["3", "4"]
    assert [json.loads(line)["title"] for line in valid] == ["2"]


def test_build_writes_the_corpus_and_counts_what_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [{"title": "Weir"}]
    digest = hashlib.sha256(b'{"title": "Weir"}\n').hexdigest()
    monkeypatch.setattr(simple_corpus, "RECORDED", {"pg-alger": (digest, 1, 0), "pg-children": (digest, 0, 9)})
    kinds = (kind("pg-alger", same, 3), kind("pg-children", [{"title": "é"}] * 2, 2))
    monkeypatch.setattr(simple_corpus, "KINDS", kinds)
    out = tmp_path / "out"
    simple_corpus.build(tmp_path / "clones", out)
    assert lzma.decompress((out / "simple-train.jsonl.xz").read_bytes()) == b'{"title": "Weir"}\n'
    assert lzma.decompress((out / "simple-valid.jsonl.xz").read_bytes()) == 2 * '{"title": "é"}\n'.encode()
    assert sorted(path.name for path in out.iterdir()) == ["simple-train.jsonl.xz", "simple-valid.jsonl.xz"]
    assert capsys.readouterr().out.splitlines() == [
        "pg-alger: 1 + 0 documents, the recorded text",
        "pg-children: 0 + 2 documents, differs from the recorded text, which has 0 + 9",
        "simple: 1 of the 34,196 recorded documents are identical",
    ]
