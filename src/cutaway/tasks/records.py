"""Records of a task: JSON Lines, one object per line, whose keys are the fields of the task's template."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cutaway.data.json_lines import parse_json_line
from cutaway.errors import UsageError
from cutaway.tasks.task import Task
from cutaway.untrusted import quote, quote_path


@dataclass(frozen=True)
class TaskRecord:
    """The fields of an example; `place` is "FILE:LINE".

    `references` are the targets to score an output against; the first is learned. It is empty without a target.
    """

    place: str
    fields: Mapping[str, str]
    references: tuple[str, ...] = ()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the fields."""
        return hashlib.sha256(json.dumps(sorted(self.fields.items())).encode()).digest()

    def choices(self, task: Task) -> tuple[str, ...]:
        """Return the values of the task's choices, in the task's order; for a translation the languages.

        >>> from cutaway.tasks.sources import open_task
        >>> fields = {"source": "Run!", "target": "Lauf!", "to": "de", "from": "en"}
        >>> TaskRecord("", fields).choices(open_task("translation"))
        ('en', 'de')
        """
        return tuple(self.fields[name] for name in task.choices)


def read_task_records(path: Path, task: Task) -> list[TaskRecord]:
    """Read the records of a file; unknown keys are ignored. Raises UsageError naming the invalid line.

    The target may be a list of texts, which are the references.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.tasks.sources import open_task
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "pairs.jsonl")
    ...     _ = path.write_text('{"source": "a b", "target": "b a"}')
    ...     [record] = read_task_records(path, open_task("reverse"))
    >>> record.fields
    {'source': 'a b', 'target': 'b a'}
    """
    return _records(read_record_bytes(path), quote_path(path), (*task.choices, *task.sources), task.target)


def read_record_bytes(path: Path) -> bytes:
    """Read a file of records without its byte order mark, if any. Raises UsageError if it cannot be read.

    >>> read_record_bytes(Path("no such file"))
    Traceback (most recent call last):
    cutaway.errors.UsageError: no such file: cannot be read: No such file or directory
    """
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UsageError(f"{quote_path(path)}: cannot be read: {error.strerror}") from None


def parse_task_records(data: bytes, place: str, task: Task) -> list[TaskRecord]:
    """Parse records like `read_task_records`, but without requiring a target: the model is to write it.

    >>> from cutaway.tasks.sources import open_task
    >>> parse_task_records(b'{"source": "a b"}', "standard input", open_task("reverse"))
    [TaskRecord(place='standard input:1', fields={'source': 'a b'}, references=())]
    """
    return _records(data, place, (*task.choices, *task.sources))


def _records(data: bytes, place: str, names: tuple[str, ...], target: str | None = None) -> list[TaskRecord]:
    lines = enumerate(data.split(b"\n"), start=1)
    records = [_record(line, f"{place}:{number}", names, target) for number, line in lines if line.strip()]
    if not records:
        raise UsageError(f"{place}: is empty")
    return records


def _record(line: bytes, place: str, names: tuple[str, ...], target: str | None) -> TaskRecord:
    known = names if target is None else (*names, target)
    keys = ", ".join(f'"{name}"' for name in known)
    value = parse_json_line(line, place, f"a JSON object, {{{keys}}}")
    for name in known:
        if value.get(name) is None:
            near = get_close_matches(name, [key[:80] for key in value if key not in known], n=1)
            raise UsageError(f"{place}: missing key {name!r}{f'; is {quote(near[0])} meant?' if near else ''}")
    fields = {name: _text(value[name], name, place) for name in names}
    if target is None:
        return TaskRecord(place, fields)
    given = value[target]
    references = tuple(_text(each, target, place) for each in (given if isinstance(given, list) and given else [given]))
    return TaskRecord(place, {**fields, target: references[0]}, references)


def _text(value: object, name: str, place: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{place}: {name!r} must be text, not {quote(value)}")
    return value
