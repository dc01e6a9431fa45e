"""Blocks: cut where no token is, and a function of the files alone."""

from codecs import BOM_UTF8
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cutaway.data import blocks as module
from cutaway.data.blocks import (
    BLOCK_BYTES,
    PASSAGE,
    Block,
    Lot,
    Passage,
    cut_passages,
    draw_split,
    last_cut,
    make_lots,
)
from cutaway.data.sources import SourceFile, find_sources
from cutaway.errors import UsageError
from cutaway.tokenizer.bpe import split
from cutaway.tokenizer.fast import Tokenizer
from tests.data.test_sources import write_parquet

ENCODE = Tokenizer.gpt2().encode
# Spaces of all kinds, contractions, digits and letters: everything that GPT-2's pattern tells apart.
PIECES = st.sampled_from(
    [
        " ",
        "  ",
        "\n",
        "\t",
        "\r\n",
        "\x1c",
        "\x85",
        "\xa0",
        "\u2003",
        "\u180e",
        "'re",
        "'",
        "a",
        "é",
        "机",
        "1",
        ".",
        "🤖",
        "­",
        " the",
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@given(text=TEXTS)
def test_tokens_of_both_sides_of_a_cut_are_those_of_the_whole(text: str) -> None:
    cut = last_cut(text)
    assert split(text[:cut]) + split(text[cut:]) == split(text)  # so whatever the merges are
    assert ENCODE(text[:cut]) + ENCODE(text[cut:]) == ENCODE(text)


@given(text=TEXTS, times=st.integers(1, 3000))
@pytest.mark.slow
def test_tokens_of_passages_are_those_of_the_whole(text: str, times: int) -> None:
    passages = list(cut_passages((text * times)[:40_000]))
    assert "".join(passages) == (text * times)[:40_000]
    assert [token for passage in passages for token in ENCODE(passage)] == ENCODE((text * times)[:40_000])


def test_passages_end_at_line_ends() -> None:
    passages = list(cut_passages("A line of words.\n" * 2000))
    assert len(passages) == 8
    assert all(PASSAGE <= len(passage) < PASSAGE + 20 for passage in passages[:-1])
    assert all(passage.startswith("\n") for passage in passages[1:])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\n\r\n"])
@pytest.mark.parametrize("line", ["A line of words.", "word"])
def test_passages_end_at_the_line_ends_of_any_system(line: str, end: str) -> None:
    passages = list(cut_passages((line + end) * 3000))
    assert len(passages) > 2
    assert all(passage.startswith(end + line[:1]) and passage.endswith(line) for passage in passages[1:-1])


@pytest.mark.parametrize(("space", "cut"), [(" ", 4), ("\n", 4), ("\r\n", 4), ("\u200b ", 0)])
def test_long_white_space_is_searched_once(space: str, cut: int) -> None:  # or this test would take an hour
    assert last_cut("word" + space * (1 << 22)) == cut


def test_a_cut_is_found_only_from_the_start_on() -> None:
    text = "one two" + "x" * 10_000
    assert [last_cut(text, start) for start in (0, 3, 4, 10_000)] == [3, 3, 0, 0]


def test_a_line_of_many_blocks_is_joined_once(tmp_path: Path) -> None:  # or this test would take an hour
    (tmp_path / "a.jsonl").write_bytes(b"x" * (1 << 26) + b"\nlast")
    [lot] = lots(tmp_path / "a.jsonl", block_bytes=1 << 8)
    assert [(block.first_line, len(block.lines)) for block in lot.blocks()] == [(1, (1 << 26) + 1), (2, 4)]


def texts_of(blocks: list[Block]) -> list[str]:
    """Documents that blocks of passages hold."""
    documents: list[str] = []
    for passage in (passage for block in blocks for passage in block.passages):
        if passage.opens:
            documents.append("")
        documents[-1] += passage.text
    return documents


def lots(path: Path, share: float = 0, block_bytes: int = 50, part_bytes: int = 10**6) -> list[Lot]:
    return make_lots([SourceFile(path, path.stat().st_size)], "text", share, block_bytes, part_bytes)


@settings(max_examples=50)
@given(text=TEXTS.filter(lambda text: text != ""), size=st.integers(1, 60))
def test_a_plain_text_is_one_document(text: str, size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.txt"
    path.write_bytes(text.encode())
    [lot] = lots(path, block_bytes=size)
    blocks = list(lot.blocks())
    assert texts_of(blocks) == [text]
    assert [token for block in blocks for passage in block.passages for token in ENCODE(passage.text)] == ENCODE(text)
    assert blocks[-1].position == len(text.encode())


@given(
    lines=st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), min_size=1), size=st.integers(1, 60)
)
@example(lines=[BOM_UTF8], size=1)
def test_json_lines_are_cut_at_line_ends(
    lines: list[bytes], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_bytes(b"\n".join(lines))
    blocks = [block for lot in lots(path, block_bytes=size) for block in lot.blocks()]
    assert b"".join(block.lines for block in blocks) == b"\n".join(lines).removeprefix(BOM_UTF8)
    counts = [block.lines.count(b"\n") for block in blocks]
    assert [block.first_line for block in blocks] == [1 + sum(counts[:i]) for i in range(len(counts))]


def test_a_plain_text_is_drawn_once(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"{number} " + "word " * 100)
    splits: list[list[str | None]] = []
    for lot in make_lots(find_sources([tmp_path]), "text", 0.5, block_bytes=100):
        for block in lot.blocks():
            splits += [[] for passage in block.passages if passage.opens]
            splits[-1] += [passage.split for passage in block.passages]
    assert len(splits) == 40
    assert all(len(part) > 3 and len(set(part)) == 1 for part in splits)
    assert 5 < sum(part[0] == "valid" for part in splits) < 35


def test_a_part_begins_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 200)
    [lot] = lots(tmp_path / "a.txt", block_bytes=100, part_bytes=300)
    blocks = list(lot.blocks())
    assert {block.part for block in blocks} == {(0, part) for part in range(4)}
    assert len(texts_of(blocks)) == 4
    assert "".join(texts_of(blocks)) == "word " * 200


def test_parts_that_are_done_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 200)
    [lot] = lots(tmp_path / "a.txt", block_bytes=100, part_bytes=300)
    blocks = list(lot.blocks())
    assert list(lot.blocks(frozenset({(0, 0), (0, 2)}))) == [block for block in blocks if block.part[1] in (1, 3)]


def test_small_files_share_a_lot(tmp_path: Path) -> None:
    sources = [SourceFile(tmp_path / str(size), size) for size in (30, 30, 50, 500, 10, 10)]
    groups = [[source.n_bytes for source in lot.sources] for lot in make_lots(sources, "text", 0, part_bytes=100)]
    assert groups == [[30, 30], [50], [500], [10, 10]]


def test_one_text_alone_is_drawn_by_passages(tmp_path: Path) -> None:
    text = "".join(f"Sentence {number} of a text.\n" for number in range(5000))
    (tmp_path / "a.txt").write_text(text)
    [lot] = lots(tmp_path / "a.txt", share=0.3, block_bytes=10_000)
    passages = [passage for block in lot.blocks() for passage in block.passages]
    assert "".join(passage.text for passage in passages) == text
    share = sum(passage.split == "valid" for passage in passages) / len(passages)
    assert 0.1 < share < 0.5
    switched = [a.split != b.split for a, b in pairwise(passages)]
    assert [passage.opens for passage in passages] == [True, *switched]


def short_text(path: Path, text: str, share: float) -> list[Passage]:
    path.write_bytes(text.encode())
    [lot] = lots(path, share=share, block_bytes=BLOCK_BYTES)
    passages = [passage for block in lot.blocks() for passage in block.passages]
    assert "".join(passage.text for passage in passages) == text
    assert [token for passage in passages for token in ENCODE(passage.text)] == ENCODE(text)
    assert [passage.opens for passage in passages] == [True, *(a.split != b.split for a, b in pairwise(passages))]
    return passages


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("n_lines", [8, 40, 400, 1200])
@pytest.mark.parametrize(
    "line",
    ["Sentence {} of a text.\n", "Sentence {} of a text. ", "Sentence {} of a text.\r\n", "The-{}th-of-its-words\r\n"],
)
def test_some_of_a_short_text_is_held_out(tmp_path: Path, line: str, n_lines: int, share: float) -> None:
    text = "".join(line.format(number) for number in range(n_lines))
    passages = short_text(tmp_path / "a.txt", text, share)
    assert {passage.split for passage in passages} == {"train", "valid"}
    held = "".join(passage.text for passage in passages if passage.split == "valid")
    assert len(held.strip()) > 20
    if len(passages) > 10 and share > 0.01:
        assert share / 2 < len(held) / len(text) < share * 2


def test_a_blank_line_alone_is_not_held_out(tmp_path: Path) -> None:
    assert draw_split("\n", 0.05) == "valid"  # the text after the last cut
    text = "".join(f"Sentence {number} of a text.\n" for number in range(300))
    passages = short_text(tmp_path / "a.txt", text, 0.05)
    assert [passage.text for passage in passages if passage.split == "valid"] != ["\n"]


def test_a_draw_that_gives_both_splits_text_is_kept(tmp_path: Path) -> None:
    text = "".join(f"Sentence {number} of a text.\n" for number in range(5000))
    passages = short_text(tmp_path / "a.txt", text, 0.2)
    assert [passage.split for passage in passages] == [draw_split(passage.text, 0.2) for passage in passages]
    assert len(passages) == len(text) // PASSAGE + 1


@given(documents=st.sets(st.text(max_size=20), min_size=1), share=st.floats(0, 1))
def test_a_document_is_drawn_by_its_hash_alone(documents: set[str], share: float) -> None:
    drawn = {document for document in documents if draw_split(document, share) == "valid"}
    assert drawn <= {document for document in documents if draw_split(document, min(1, share * 1.5)) == "valid"}
    assert {draw_split(document, 0) for document in documents} == {"train"}
    assert {draw_split(document, 1) for document in documents} == {"valid"}


def test_the_beginning_of_a_long_document_decides() -> None:
    assert len({draw_split("a" * 16384 + str(number), 0.5) for number in range(40)}) == 1
    assert len({draw_split("a" * 16380 + str(1000 + number), 0.5) for number in range(40)}) == 2


def test_a_text_without_white_space_is_cut_anywhere_and_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNCUT", 100)
    (tmp_path / "a.txt").write_text("机" * 500)
    [lot] = lots(tmp_path / "a.txt", block_bytes=90)
    blocks = list(lot.blocks())
    assert texts_of(blocks) == ["机" * 500]
    assert max(block.n_bytes for block in blocks) <= 130


def test_positions_rise_through_the_files_of_a_lot_to_their_bytes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", text=[f"{number} word" for number in range(100)])
    (tmp_path / "b.txt").write_text("word " * 100)
    (tmp_path / "c.jsonl").write_text('{"text": "word"}\n' * 30)
    sources = find_sources([tmp_path])
    [lot] = make_lots(sources, "text", 0, block_bytes=100)
    positions = [block.position for block in lot.blocks()]
    assert positions == sorted(positions)
    assert positions[-1] == sum(source.n_bytes for source in sources)
    in_parquet = [position for position in positions if position <= sources[0].n_bytes]
    assert len(set(in_parquet)) == len(in_parquet) > 5
    assert in_parquet[0] > 0


def test_the_share_is_that_of_many_documents() -> None:
    drawn = [draw_split(f"document {number}", 0.1) for number in range(5000)]
    assert 430 < drawn.count("valid") < 570


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"one\ntwo\n\xff\xfe three", 3), (b"\xff", 1), (b"one\n" * 100 + b"\xe2\x82", 101), (b"a\xff\nb", 1)],
)
def test_invalid_utf8_is_named_by_its_line(tmp_path: Path, data: bytes, line: int) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    for size in (3, 1000):
        with pytest.raises(UsageError, match=rf"a\.txt:{line}: not UTF-8 .*; save the file as UTF-8"):
            list(lots(tmp_path / "a.txt", block_bytes=size)[0].blocks())


def test_a_text_in_utf16_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16"))
    with pytest.raises(UsageError, match=r"a\.txt: is UTF-16; save it as UTF-8"):
        list(lots(tmp_path / "a.txt")[0].blocks())
