"""recipes/corpus.py on clones of a few made-up lines, one for each format."""

import hashlib
import json
import lzma
import random
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from recipes import corpus, origins
from recipes.origins import CorpusError, Record

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

TEI = """<?xml version="1.0" encoding="UTF-8"?>
<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt>
 <title>{title} : ELTeC edition</title><author ref="viaf:1">Reed, Ann (1820–1890)</author>
</titleStmt></fileDesc></teiHeader><text>
 <front><div><p>TITLE PAGE</p></div></front><body>{body}</body><back><div><note>A note.</note></div></back>
</text></TEI>"""


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def only(records: Iterable[Record]) -> Record:
    [record] = records
    return record


def book(path: Path, body: str) -> Record:
    return only(corpus.markdown(put(path, f"# Title: A\n\n## Author: B\n\n## Year: \n\n-------\n{body}")))


def novel(seed: int, n_words: int = 4000) -> str:
    """Text that shares no run of words with that of another seed."""
    draw = random.Random(seed)
    return " ".join(f"{draw.randrange(10**6):06}" for _ in range(n_words))


def titled(wanted: range, start: str) -> str:
    """A title whose place among the hundred is in `wanted`."""
    titles = (f"{start} {i}" for i in range(10**4))
    return next(t for t in titles if int(hashlib.sha256(t.encode()).hexdigest(), 16) % 100 in wanted)


def test_a_markdown_book_has_its_fields_in_its_head(tmp_path: Path) -> None:
    head = (
        "# Title: The Weir \n\n## Author: Ann Reed\n\n## Year: 300 BC\n\n-------\n\n##  I \n\nOnce\nupon a  time.\n\n"
    )
    record = only(corpus.markdown(put(tmp_path / "book.md", head)))
    assert record == {"title": "The Weir", "author": "Ann Reed", "year": "300 BC", "text": "I\n\nOnce upon a time."}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("the _Korfu_, **now**--", "the Korfu, now—"),
        ("an *old* gentle*man* **Rob.**)", "an old gentle*man* Rob.)"),
        ("_I_ can. _You_ can.", "I_ can. _You can."),  # the shortest pair around two characters or more comes first
        ("_I_ can.", "I can."),
        ("*A line\nand another*", "*A line and another*"),
        ("__both__ 120_l._", "_both_ 120_l._"),
        ("* * *", "* * *"),
        ("***", "*"),
        ("a\n---\nb", "a\n\nb"),
        ("_---_\n", ""),
        ("\\--No. 1650\\. \ufeff--", "—No. 1650. —"),
        ("_a *wise* man_ said", "a *wise man_ said"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9"),
        ("### ### II", "### II"),
        ("> said\xa0he;\n>  I\u2009went", "> said he; > I\u2009went"),
    ],
)
def test_markdown_marks_are_taken_off(tmp_path: Path, source: str, text: str) -> None:
    assert book(tmp_path / "book.md", f"{source}\n")["text"] == text


def test_a_file_without_a_head_is_no_book(tmp_path: Path) -> None:
    assert list(corpus.markdown(put(tmp_path / "list.md", "# Books\n\n- The Weir\n"))) == []


def test_a_tei_novel_is_the_headings_paragraphs_and_verse_of_its_body(tmp_path: Path) -> None:
    body = (
        "<div><head> I.<lb/>THE WEIR</head>\n<p>It <pb n='6'/> was\n   <hi>cold</hi>, [1] <q>\n<l>so cold</l></q></p>"
    )
    record = only(
        corpus.tei(
            put(tmp_path / "a.xml", TEI.format(title="The Weir: A Tale", body=body + "<trailer>END</trailer></div>"))
        )
    )
    assert record["title"] == "The Weir"
    assert (record["author"], record["year"]) == ("Reed, Ann", "")
    assert record["text"] == "I.THE WEIR\n\nIt was cold, [1] so cold\n\nso cold"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><a>&d;</a>', "declares a document type"),
        (TEI.format(title="A", body="<p>open"), "not well-formed XML"),
        ("<TEI xmlns='http://www.tei-c.org/ns/1.0'/>", "lacks a title, an author or a body"),
    ],
)
def test_xml_that_is_no_novel_is_refused(tmp_path: Path, source: str, complaint: str) -> None:
    with pytest.raises(CorpusError, match=complaint):
        list(corpus.tei(put(tmp_path / "a.xml", source)))


def test_a_plain_novel_breaks_at_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "Reed_Cold_Weir_1880.txt"
    path.write_bytes(b'The Weir\r\n \t\r\n\tIt was  cold, \tvery\xe9\n cold.\n\n\n"Yes."\n\nEND\n')
    record = only(corpus.plain(path))
    assert record == {"title": "Cold Weir 1880", "author": "Reed", "year": "", "text": record["text"]}
    assert record["text"].split("\n\n") == ["The Weir", "It was cold, \tvery cold.", '"Yes."', "END"]


def test_a_wiki_file_yields_its_english_articles(tmp_path: Path) -> None:
    documents = [("?curid=1", "Weir &amp; Co"), ("https://fr.wikipedia.org/wiki?curid=2", "Barrage")]
    documents.append(("https://en.wikipedia.org/wiki?curid=3", "Weir"))
    text = "".join(
        f'<doc id="{i}" url="{url}" title="{title}">\n{title}\n\nA dam. \nHistory.\n\n\n</doc>\n'
        for i, (url, title) in enumerate(documents)
    )
    records = list(corpus.wiki(put(tmp_path / "wiki_00", text)))
    assert [record["title"] for record in records] == ["Weir &amp; Co", "Weir"]
    assert records[1]["text"] == "A dam.\n\nHistory."


def test_a_book_is_new_unless_its_name_or_a_sixth_of_it_has_been() -> None:
    is_new = corpus.new_books()
    first = novel(1)
    assert is_new({"author": "George Eliot", "title": "Adam Bede", "text": first})
    assert not is_new({"author": "Eliot, George", "title": "Adam Bede.", "text": novel(2)})
    assert not is_new({"author": "Another", "title": "Selections", "text": first[:14000] + " " + novel(3, 2000)})
    assert is_new({"author": "Another", "title": "A Quotation", "text": first[:700] + " " + novel(4)})
    assert is_new({"author": "Another", "title": "A Line", "text": "too short for a window"})


def test_articles_are_long_enough_and_come_once() -> None:
    is_new = corpus.new_articles()
    assert not is_new({"title": "Weir", "text": "x" * 399})
    assert is_new({"title": "Weir", "text": "x" * 400})
    assert not is_new({"title": "Weir", "text": "y" * 500})


def test_two_titles_of_a_hundred_are_kept_aside_and_one_is_for_validation() -> None:
    aside, valid, train = (titled(r, "Book") for r in (range(2), range(2, 3), range(3, 100)))
    trained, validated = corpus.split({"title": title} for title in (aside, valid, train))
    assert [json.loads(line)["title"] for _, line in trained] == [train]
    assert [json.loads(line)["title"] for line in validated] == [valid]


def test_shards_follow_the_hashes_and_are_about_as_large() -> None:
    lines = [(f"{i:02}", b"%02d" % i) for i in range(30)]
    parts = corpus.shards(lines[::-1])
    assert b"".join(b"".join(part) for part in parts) == b"".join(line for _, line in lines)
    assert [len(part) for part in parts] == [10, 10, 10]


def clones(folder: Path) -> Path:
    """The five repositories with a training book or article in each, and one for validation."""
    for i, title in enumerate(titled(range(3, 100), name) for name in ("First", "Second")):
        text = f"# Title: {title}\n\n## Author: A\n\n## Year: 1880\n\n-------\n{novel(i)}\n"
        put(folder / "classic-books-markdown" / "A" / f"{title}.md", text)
    valid = TEI.format(title=titled(range(2, 3), "Valid"), body=f"<p>{novel(2)}</p>")
    put(folder / "ELTeC-eng" / "level1" / "ENG1.xml", valid)
    put(folder / "100_english_novels" / "corpus" / "Reed_Weir_1880.txt", novel(0))  # a repetition
    for i, path in enumerate(("WikiTasks/text/AA/wiki_00", "WikiSearchEngine/wiki_en")):
        title = titled(range(3, 100) if i else range(2, 3), "Article")
        put(folder / path, f'<doc id="1" url="?curid=1" title="{title}">\n{title}\n\n{novel(i, 100)}\n</doc>\n')
    put(folder / "WikiSearchEngine" / "index.txt", "weir 1 2\n")
    return folder


def lines_of(path: Path) -> list[Record]:
    with lzma.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def test_the_whole_from_clones_to_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus.build(clones(tmp_path / "clones"), tmp_path / "out")
    records = {path.name.removesuffix(".jsonl.xz"): lines_of(path) for path in (tmp_path / "out").iterdir()}
    assert {name: len(lines) for name, lines in records.items()} == {
        "books-train-0": 1, "books-train-1": 1, "books-train-2": 0, "books-valid": 1,
        "wikipedia-train": 1, "wikipedia-valid": 1,
    }  # fmt: skip
    assert list(records["books-valid"][0]) == ["title", "author", "year", "source", "text"]
    assert records["books-valid"][0]["source"] == "ELTeC-eng"
    assert list(records["wikipedia-train"][0]) == ["title", "source", "text"]
    said = capsys.readouterr().out
    assert "100_english_novels: 1 read, 0 kept" in said
    assert said.count("differs from the recorded text") == len(corpus.RECORDED) == len(records)


def test_the_recorded_text_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(corpus.RECORDED, "books-valid", (hashlib.sha256(b"{}\n").hexdigest(), 1))
    corpus.write(tmp_path, "books-valid", [b"{}\n"])
    assert capsys.readouterr().out == "books-valid: 1 lines, the recorded text\n"


def test_files_of_four_mebibytes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [plain] = (source for source in corpus.BOOKS if source.name == "100_english_novels")
    path = put(tmp_path / "corpus" / "Reed_Weir_1880.txt", "It was cold.")
    monkeypatch.setattr(origins, "MAX_BYTES", path.stat().st_size + 1)
    assert len(list(plain.records(tmp_path))) == 1
    monkeypatch.setattr(origins, "MAX_BYTES", path.stat().st_size)
    assert list(plain.records(tmp_path)) == []


@needs_git
def test_rejects_a_clone_without_books_or_at_another_commit(tmp_path: Path) -> None:
    (tmp_path / "ELTeC-eng").mkdir()
    [tei] = (source for source in corpus.BOOKS if source.name == "ELTeC-eng")
    with pytest.raises(CorpusError, match="nothing to read in .*ELTeC-eng"):
        list(corpus.gather([tei], tmp_path, corpus.new_books()))
    commit = ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty")
    for arguments in (("init", "-q"), commit):
        subprocess.run(["git", "-C", str(tmp_path / "ELTeC-eng"), *arguments], check=True)
    with pytest.raises(CorpusError, match="not at its commit; run git -C .* checkout 3db3b6738a"):
        tei.clone(tmp_path)


@needs_git
def test_a_failing_git_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "none")  # no test reaches the network
    monkeypatch.setattr("sys.argv", ["corpus.py", "--out", str(tmp_path / "out")])
    assert corpus.main() == 1
    said = capsys.readouterr()
    assert said.err.startswith("corpus.py: git clone")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
