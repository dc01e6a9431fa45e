"""JSON objects from files, and how they are quoted; test_safetensors.py has more, for headers are such objects."""

from contextlib import suppress
from pathlib import Path

import pytest

from cutaway.errors import CheckpointError
from cutaway.untrusted import MAX_JSON_BYTES, quote, quote_name, quote_path, read_object


def test_reads_a_json_object(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": [1, 2.5, null, true, "é"], "b": {"a": -3}}', encoding="utf-8")
    assert read_object(tmp_path / "x.json") == {"a": [1, 2.5, None, True, "é"], "b": {"a": -3}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not valid JSON: Expecting value"),
        (b"[1]", r"it must be a JSON object, not \[1\]"),
        (b'{"a": {"b": 1, "b": 2}}', "it is not valid JSON: the key 'b' appears twice"),
        (b'{"a": -Infinity}', "it is not valid JSON: -Infinity is not a number"),
        (b'{"a": -1e400}', "the number '-1e400' is too large"),
        (b'{"a": ' + b"1" * 41 + b"}", "a whole number of 41 digits"),
        (b'{"a": ' * 100_000, "it is nested too deeply"),
        (b'{"a": "\xed\xa0\x80"}', "it is not valid JSON: 'utf-8' codec"),
        (b" " * (MAX_JSON_BYTES + 1), "is larger than the 1048576 bytes"),
    ],
)
def test_rejects_other_json_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"x\.json: .*{reason}") as error:
        read_object(tmp_path / "x.json")
    assert len(str(error.value).splitlines()) == 1


def test_deeply_nested_json_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    for depth in range(700, 1010):  # the parser gives up where about 1,000 calls are open, this one included
        path = tmp_path / "x.json"
        path.write_text('{"a": ' + "[" * depth + "]" * depth + "}")
        with suppress(CheckpointError):
            assert len(quote(read_object(path))) <= 80


def test_rejects_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"x\.json: cannot be read: No such file or directory$"):
        read_object(tmp_path / "x.json")
    with pytest.raises(CheckpointError, match=r"is not a file$"):
        read_object(tmp_path)


def test_quoting_never_breaks_a_line_or_a_terminal() -> None:
    assert quote("a\nb\ud800\x1b[31m\u2028") == r"'a\nb\ud800\x1b[31m\u2028'"
    assert len(quote("x" * 1000)) == 80
    assert len(quote([["x" * 50, 10**50] * 50] * 50)) == 80
    assert quote_name("h.0.ln_1.bias") == "h.0.ln_1.bias"
    assert quote_name("h.0\n") == r"'h.0\n'"
    assert quote_path(Path("a/b c")) == "a/b c"
    assert quote_path(Path("a\nb")) == r"'a\nb'"
