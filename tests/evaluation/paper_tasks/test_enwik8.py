from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.evaluation.paper_tasks import TASKS, enwik8
from cutaway.evaluation.paper_tasks.enwik8 import whole_characters
from tests.evaluation.scored import MODEL, evaluate

# In the form of enwik8: the source of an XML dump.
FILE = (
    '<mediawiki xml:lang="en">\n  <page>\n    <title>AaA</title>\n    <id>1</id>\n'
    '    <text xml:space="preserve">#REDIRECT [[Café]] &amp;ndash; 日本</text>\n  </page>\n'
)


def test_a_file_of_another_size_is_taken_whole(tmp_path: Path) -> None:
    result = evaluate(TASKS["enwik8"], tmp_path / "enwik8", FILE, stride=32)
    assert result.counts["bytes"] == len(FILE.encode())
    assert result.metrics[0].value == pytest.approx(MODEL.score(FILE).bits_per_byte)


def test_of_the_full_file_the_last_part_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = FILE.encode()
    cut = data.index("é".encode()) + 1  # the part begins within a character
    monkeypatch.setattr(enwik8, "FULL_SIZE", len(data))
    monkeypatch.setattr(enwik8, "TEST_SIZE", len(data) - cut)
    result = evaluate(TASKS["enwik8"], tmp_path / "enwik8", data, stride=32)
    assert result.metrics[0].value == pytest.approx(MODEL.score(FILE.partition("é")[2]).bits_per_byte)


def test_the_last_part_is_the_usual_test_split() -> None:
    assert len(enwik8.test_part(bytes(100_000_000))) == 5_000_000
    assert len(enwik8.test_part(bytes(5_000_000))) == 5_000_000


@given(text=st.text(max_size=8), start=st.integers(0, 4), stop=st.integers(0, 4))
def test_cut_characters_are_left_out_and_no_others(text: str, start: int, stop: int) -> None:
    data = text.encode()[start:]
    data = data[: max(0, len(data) - stop)]
    assert whole_characters(data).decode() == data.decode(errors="ignore")


def test_other_invalid_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/enwik8:2: not UTF-8 at byte 1"):
        evaluate(TASKS["enwik8"], tmp_path / "enwik8", b"\na\xffbcde")


def test_lines_are_those_of_the_full_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"1\n2\n3\n4 \xff\n5\n"
    monkeypatch.setattr(enwik8, "FULL_SIZE", len(data))
    monkeypatch.setattr(enwik8, "TEST_SIZE", 8)
    for name in ("enwik8", "text8"):
        with pytest.raises(ValueError, match=f"/{name}:4: not UTF-8 at byte 2"):
            evaluate(TASKS[name], tmp_path / name, data)
