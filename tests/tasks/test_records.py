"""Records of a task: JSON Lines whose errors name their line."""

from pathlib import Path

import pytest

from cutaway.errors import UsageError
from cutaway.tasks import open_task
from cutaway.tasks.records import read_task_records


def test_other_keys_and_empty_lines_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"source": "a", "target": "b", "n": 1}\n\n{"target": "", "source": ""}\n')
    records = read_task_records(path, open_task("reverse"))
    assert [record.place.rsplit(":", 1)[1] for record in records] == ["1", "3"]
    assert [dict(record.fields) for record in records] == [{"source": "a", "target": "b"}, {"source": "", "target": ""}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"source": "a"}', "a.jsonl:1: missing key 'target'"),
        (b'{"source": "a", "tarjet": "b"}', "a.jsonl:1: missing key 'target'; is 'tarjet' meant?"),
        (b'{"source": "a", "target": 1}', "a.jsonl:1: 'target' must be text, not 1"),
        (b'{"source": "a", "target": null}', "a.jsonl:1: missing key 'target'"),
        (b'{"source": "a", "target": []}', "a.jsonl:1: 'target' must be text, not \\[]"),
        (b'{"source": "a", "target": ["b", 1]}', "a.jsonl:1: 'target' must be text, not 1"),
        (b"[]", 'a.jsonl:1: must be a JSON object, {"source", "target"}, not '),
        (b"\xff", "a.jsonl:1: not UTF-8"),
        (b"", "is empty"),
    ],
)
def test_invalid_lines_are_refused(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line)
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        read_task_records(path, open_task("reverse"))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_task_records(tmp_path / "no.jsonl", open_task("reverse"))
