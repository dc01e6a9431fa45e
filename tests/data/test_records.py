import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from cutaway.data.records import (
    Record,
    Turn,
    cut_blocks,
    parse_line,
    parse_record,
    read_records,
    render_messages,
    split_records,
    take_share,
)
from cutaway.errors import UsageError
from tests.data.test_sources import PACKED, write_parquet


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_reads_the_three_forms_and_skips_blank_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"text": "a", "title": "ignored"}',
        "",
        '{"prompt": "b", "completion": " c"}',
        '{"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "e"}]}',
    )
    assert read_records(path) == [
        Record(f"{path}:1", (Turn("", "a"),), is_document=True),
        Record(f"{path}:3", (Turn("b", " c"),)),
        Record(f"{path}:4", (Turn("User: d\n\nAssistant:", " e"),), is_conversation=True),
    ]


def test_each_message_of_the_assistant_is_learned_after_all_before_it() -> None:
    said = [("system", "Be brief."), ("user", "1?"), ("assistant", " 2\n"), ("user", "3?"), ("assistant", "4")]
    messages = [{"role": role, "content": content} for role, content in said]
    first = "System: Be brief.\n\nUser: 1?\n\nAssistant:"
    second = f"{first} 2\n\nUser: 3?\n\nAssistant:"
    assert render_messages(messages) == [Turn(first, " 2"), Turn(second, " 4")]
    assert render_messages(messages[:2]) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "[",  # as a list of objects begins, which others write on many lines
            '2: not valid JSON: Expecting value at character 2; must be a JSON object, {"text"}, {"prompt", ',
        ),
        ('{"text": "a', "2: not valid JSON: Unterminated string starting at character 10; must be a JSON object"),
        ('{"text": "a\t', "2: not valid JSON: Invalid control character at character 12; must be a JSON object"),
        ('"text"', '2: must be a JSON object, {"text"}, {"prompt", "completion"} or {"messages"}, not \'text\''),
        ("{}", '2: must be {"text"}, {"prompt", "completion"} or {"messages"}, and has no keys'),
        ('{"prompt": "a"}', "2: must be"),
        ('{"text": "a", "messages": []}', "2: must be"),
        ('{"text": "a", "prompt": "b", "completion": "c"}', "2: must be"),
        ('{"prompt": "a", "competion": "b"}', "2: unknown key 'competion'; did you mean 'completion'?"),
        ('{"text": 1}', "2: 'text' must be text, not 1"),
        ('{"prompt": 1, "completion": "b"}', "2: 'prompt' must be text, not 1"),
        ('{"prompt": "a", "completion": null}', "2: 'completion' must be text, not None"),
        ('{"messages": {}}', "2: 'messages' must be a list, not {}"),
        ('{"messages": ["a"]}', '2: message 1: must be {"role", "content"}, both text, not \'a\''),
        (
            '{"messages": [{"role": "assistent", "content": "a"}]}',
            "2: message 1: the role must be one of system, user, assistant, not 'assistent'; did you mean 'assistant'?",
        ),
    ],
)
def test_an_invalid_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, '{"text": "a"}', line)
    with pytest.raises(UsageError) as refused:
        read_records(path)
    assert str(refused.value).startswith(f"{path}:{message}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        r'{"prompt": "\ud800a", "completion": "b\udfff"}',
        r'{"messages": [{"role": "user", "content": "\ud800a"}, {"role": "assistant", "content": "b\udfff"}]}',
    ],
)
def test_lone_surrogates_are_replaced_in_every_form(line: str) -> None:
    [turn] = parse_line(line.encode(), "x.jsonl:1").turns
    assert "\ufffda" in turn.prompt
    assert turn.completion.endswith("b\ufffd")


def test_a_known_key_is_no_misspelling_of_the_field() -> None:
    with pytest.raises(UsageError) as refused:
        parse_record({"prompt": "a"}, "x.jsonl:1", field="prompts")
    assert str(refused.value).endswith("""or {"messages"}, and has 'prompt'""")


def test_files_that_are_missing_empty_or_not_utf8_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; give one file, such as JSON Lines with a text a line$"):
        read_records(tmp_path)
    with pytest.raises(UsageError, match="none.txt: cannot be read: No such file"):
        read_records(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="data.jsonl: is empty"):
        read_records(written(tmp_path, "", ""))
    for name, place in (("latin.txt", "latin.txt:1:"), ("latin.jsonl", "latin.jsonl:1:")):
        (tmp_path / name).write_bytes('{"text": "é"}'.encode("latin-1"))
        with pytest.raises(UsageError, match=f"{place} not UTF-8 at byte 10; save the file as UTF-8"):
            read_records(tmp_path / name)


LINES = [
    {"text": "a"},
    {"prompt": "b", "completion": " c"},
    {"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "e"}]},
]


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files_give_the_same_records(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, *map(json.dumps, LINES))
    packed = tmp_path / f"data.jsonl{suffix}"
    packed.write_bytes(PACKED[suffix](path.read_bytes()))
    assert [record.turns for record in read_records(packed)] == [record.turns for record in read_records(path)]


@pytest.mark.parametrize("line", LINES)
def test_a_row_of_parquet_is_the_line_with_its_columns(tmp_path: Path, line: dict[str, object]) -> None:
    path = write_parquet(tmp_path / "data.parquet", **{key: [value] for key, value in line.items()}, id=[1])
    [record] = read_records(path)
    assert record == replace(parse_line(json.dumps(line).encode(), "x"), place=f"{path}:1")


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_bytes(b'\xef\xbb\xbf{"text": "a"}')
    assert read_records(tmp_path / "a.jsonl")[0].turns == (Turn("", "a"),)
    assert read_records(tmp_path / "a.txt")[0].turns == (Turn("", '{"text": "a"}'),)


def test_a_text_file_is_cut_into_blocks_that_know_their_line(tmp_path: Path) -> None:
    text = "".join(f"line {n}\n" for n in range(1000))
    path = tmp_path / "text.txt"
    path.write_text(text)
    records = read_records(path)
    assert "".join(record.turns[0].completion for record in records) == text
    assert 15 <= len(records) <= 20
    for record in records:
        line = int(record.place.removeprefix(f"{path}:"))
        assert record.turns[0].completion.startswith(f"line {line - 1}\n")


def test_blocks_end_at_line_ends_and_none_is_much_longer_than_8000_characters() -> None:
    assert cut_blocks("no end of line") == ["no end of line"]
    blocks = cut_blocks("a line of text\n" * 100_000)
    assert max(map(len, blocks)) <= 8015
    assert cut_blocks("") == []


def numbered(n: int) -> list[Record]:
    return [Record(f"data.jsonl:{i}", (Turn(str(i), str(-i)),)) for i in range(n)]


def test_a_split_depends_on_the_texts_alone() -> None:
    records = numbered(40)
    train, valid = split_records(records, 0.1)
    assert (len(train), len(valid)) == (36, 4)
    assert max(record.digest for record in valid) < min(record.digest for record in train)
    backwards = split_records(records[::-1], 0.1)
    assert [sorted(part, key=records.index) for part in backwards] == [train, valid]


def test_equal_records_stay_together() -> None:
    records = [Record(f"data.jsonl:{i}", (Turn("", str(i % 10)),)) for i in range(100)]
    train, valid = split_records(records, 0.2)
    assert len(valid) == 20
    assert {record.digest for record in train} & {record.digest for record in valid} == set()


def test_a_split_leaves_at_least_one_of_each() -> None:
    assert [len(part) for part in split_records(numbered(3), 0.01)] == [2, 1]
    assert [len(part) for part in split_records(numbered(3), 0.99)] == [1, 2]
    assert [len(part) for part in split_records(numbered(1), 0)] == [1, 0]
    with pytest.raises(UsageError, match="data.jsonl:0: a single example cannot be split"):
        split_records(numbered(1) * 3, 0.05)


def test_digests_tell_a_prompt_from_its_completion() -> None:
    one = parse_line(json.dumps({"prompt": "a", "completion": "b"}).encode(), "x:1")
    other = parse_line(json.dumps({"prompt": "ab", "completion": ""}).encode(), "x:2")
    assert one.digest != other.digest


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    records = numbered(50)
    shares = [take_share(records, share) for share in (0.001, 0.1, 0.5, 1.0)]
    assert [len(part) for part in shares] == [1, 5, 25, 50]
    assert all(set(map(id, less)) <= set(map(id, more)) for less, more in pairwise(shares))
