"""Prompts from files and pipes of any system, and control tokens in them on request."""

import json
from pathlib import Path

import pytest

from tests.cli.invoke import invoke

JOEL = [9908, 417, 318]


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (b"Joel is", JOEL),
        (b"Joel is\n", JOEL),
        (b"Joel is\r\n", JOEL),
        (b"\xef\xbb\xbfJoel is\r\n", JOEL),
        (b"Joel is\r", [*JOEL, 201]),
        (b"Joel is\n\n", [*JOEL, 198]),
        (b"Joel is\r\n\r\n", [*JOEL, 201, 198]),
        ("Joel is\ufeff\n".encode(), [*JOEL, 171, 119, 123]),
    ],
)
def test_a_line_end_and_a_byte_order_mark_are_no_part_of_a_prompt(
    tiny: str, tmp_path: Path, data: bytes, ids: list[int]
) -> None:
    (tmp_path / "prompt.txt").write_bytes(data)
    command = ("next", "--model", tiny, "--engine", "reference", "--json")
    assert invoke(*command, "--file", str(tmp_path / "prompt.txt")).document["prompt_ids"] == ids
    assert invoke(*command, stdin=data).document["prompt_ids"] == ids


def test_a_byte_order_mark_is_no_part_of_a_text_to_score_or_tokenize(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbfJoel is")
    score = ("eval", "--model", tiny, "--engine", "reference", "--json")
    plain = invoke(*score, "--text", "Joel is").document
    assert invoke(*score, str(tmp_path / "text.txt")).document["nats"] == plain["nats"]
    assert invoke("tokenizer", "encode", "--file", str(tmp_path / "text.txt"), "--json").document == {"ids": JOEL}
    assert invoke("tokenizer", "decode", stdin=b"\xef\xbb\xbf32 9379").out == "A robot"


def test_utf_16_is_named(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_bytes("Joel is".encode("utf-16"))
    assert "prompt.txt is UTF-16; save it as UTF-8" in invoke("next", "--file", str(tmp_path / "prompt.txt")).error


@pytest.mark.parametrize("command", [("next",), ("generate", "--max-new-tokens", "1")])
def test_control_tokens_in_a_prompt_on_request(tiny: str, command: tuple[str, ...]) -> None:
    arguments = (*command, "--model", tiny, "--engine", "reference", "--json", "Hi<|endoftext|>")
    assert invoke(*arguments, "--special").document["prompt_ids"] == [17250, 50256]
    assert len(json.dumps(invoke(*arguments).document["prompt_ids"]).split()) > 2
