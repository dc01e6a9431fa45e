import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from zstandard import ZstdCompressor

from cutaway.errors import UsageError
from cutaway.evaluation.paper_tasks import TASKS
from tests.evaluation.scored import MODEL


def test_files_are_found_by_their_known_names(tmp_path: Path) -> None:
    task = TASKS["ptb"]
    assert task.find(tmp_path) is None
    nested = tmp_path / "simple-examples" / "data" / "ptb.test.txt"
    nested.parent.mkdir(parents=True)
    nested.write_text(" a b \n")
    assert task.find(tmp_path) == nested
    packed = tmp_path / "ptb.test.txt.gz"
    packed.write_bytes(gzip.compress(b" a b \n"))
    assert task.find(tmp_path) == packed
    packed.with_suffix(".zst").write_bytes(ZstdCompressor().compress(b" a b \n"))
    assert task.evaluate(MODEL, packed.with_suffix(".zst"))[1] == task.evaluate(MODEL, packed)[1]
    assert task.evaluate(MODEL, packed)[1] == task.evaluate(MODEL, nested)[1]


@pytest.mark.parametrize("name", ["lambada", "cbt-cn", "cbt-ne", "hellaswag"])
def test_a_task_without_running_text_takes_no_stride(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{name} does not read running text"):
        TASKS[name].evaluate(MODEL, tmp_path / "none", stride=8)


@pytest.mark.parametrize(("noun", "count"), [("words", 3), ("bytes", 5)])
def test_another_file_than_the_published_one_is_told_by_its_count(tmp_path: Path, noun: str, count: int) -> None:
    path = tmp_path / "ptb.test.txt"
    path.write_text(" a b\n")
    task = replace(TASKS["ptb"], unit=noun, published=(count, 99))
    assert task.evaluate(MODEL, path)[1].difference == ""
    path.write_text(" a b c\n")
    more = count + (1 if noun == "words" else 2)
    assert task.evaluate(MODEL, path)[1].difference == f"{more} {noun}, not the {count} of the published file"


@pytest.mark.parametrize("name", TASKS)
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with pytest.raises(UsageError, match=r"/empty: .*(nothing to score|no passages|no questions|no examples)"):
        TASKS[name].evaluate(MODEL, path)


@pytest.mark.parametrize("name", TASKS)
def test_the_page_has_the_published_counts(name: str) -> None:
    page = Path(__file__).parents[3] / "docs" / "evaluate.md"
    [row] = [
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|") and f"`{name}`" in line
    ]
    assert all(f"{count:,} " in row or f"{count:,} |" in row for count in TASKS[name].published)
