"""Finding tasks: by name, in a file of one's own."""

from pathlib import Path

import pytest

from cutaway.errors import UsageError
from cutaway.tasks.sources import open_task
from tests.tasks.test_task import SMALL


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    assert open_task(str(path)).name == "small"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())  # with a byte order mark
    assert open_task(str(path)).name == "small"


def test_unknown_and_invalid_tasks_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL.replace("target =", "goal ="))
    with pytest.raises(UsageError, match=r"small.toml: unknown key 'goal'"):
        open_task(str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8 at byte 0"):
        open_task(str(path))
    with pytest.raises(UsageError, match="cannot read .*no.toml: No such file"):
        open_task(str(tmp_path / "no.toml"))
    with pytest.raises(
        UsageError, match="unknown task 'music'; known are number-words, reverse, scitldr, tldr, translation"
    ):
        open_task("music")
