from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway import Tokenizer
from tests.cli.invoke import invoke
from tests.tasks.models import CODEC, save_translator

ANY_TEXT = st.text(st.characters(codec=None), max_size=30)


def test_encode_gives_ids() -> None:
    assert invoke("tokenizer", "encode", "A robot must obey").out == "32 9379 1276 22389\n"
    assert invoke("tokenizer", "encode", "<|endoftext|>").out == "27 91 437 1659 5239 91 29\n"
    assert invoke("tokenizer", "encode", "--special", "<|endoftext|>").out == "50256\n"


def test_a_directory_with_the_name_of_a_model_brings_its_own_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_translator(tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    own = " ".join(map(str, CODEC.encode("Nacht")))
    assert own != " ".join(map(str, Tokenizer.gpt2().encode("Nacht")))
    assert invoke("tokenizer", "encode", "--tokenizer", "gpt2", "Nacht").out == f"{own}\n"


def test_decode_prints_the_exact_text() -> None:
    assert invoke("tokenizer", "decode", "32", "9379").out == "A robot"
    assert invoke("tokenizer", "decode", stdin=b"[32, 9379]\n").out == "A robot"
    assert invoke("tokenizer", "decode", "50256").out == "<|endoftext|>"
    assert invoke("tokenizer", "decode", "32 9379", "1276").out == "A robot must"
    document = invoke("tokenizer", "encode", "--json", "A robot").out
    assert invoke("tokenizer", "decode", stdin=document.encode()).out == "A robot"


@pytest.mark.parametrize("word", ["x", "٣", "1_0", "-5", "1.0", "9" * 5000])
def test_rejects_invalid_ids(word: str) -> None:
    result = invoke("tokenizer", "decode", "--", word)
    assert result.code == 2
    assert "is not a token id" in result.error
    assert len(result.error) < 100


@pytest.mark.parametrize("action", ["encode", "decode", "explain", "train"])
def test_help_of_an_action_has_examples_and_fits(action: str) -> None:
    shown = invoke("tokenizer", action, "--help").out
    assert f"\n  cutaway tokenizer {action} " in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_decode_is_safe_on_a_terminal() -> None:
    assert invoke("tokenizer", "decode", "215", terminal=True).out == "␛\n"


@pytest.mark.parametrize("text", ["", "\n", "two\r\nlines\n", "naïve 机器人 🤖", " a \t"])
def test_encode_and_decode_are_a_round_trip_through_pipes(text: str) -> None:
    ids = invoke("tokenizer", "encode", stdin=text.encode()).out
    assert invoke("tokenizer", "decode", stdin=ids.encode()).out == text


EXPLAINED = """\
␣café
  bytes         20 63 61 66 c3 a9
  start         ␣ c a f \\xc3 \\xa9
  merge 14      ␣c a f \\xc3 \\xa9
  merge 1,020   ␣ca f \\xc3 \\xa9
  merge 2,379   ␣ca f é
  merge 19,690  ␣caf é
  merge 40,049  ␣café
  tokens        ␣café
  ids           40304
"""


def test_explain_shows_every_merge() -> None:
    assert invoke("tokenizer", "explain", " café").out == EXPLAINED
    assert invoke("tokenizer", "explain", "-", stdin=" café".encode()).out == EXPLAINED


def test_explain_fits_the_terminal() -> None:
    lines = invoke("tokenizer", "explain", "antidisestablishmentarianism" * 4).out.splitlines()
    assert max(map(len, lines[1:])) <= 80


def test_uses_another_tokenizer_on_request(tiny: str, mute: str, tmp_path: Path) -> None:
    Tokenizer.gpt2().save(tmp_path)
    for model in (str(tmp_path), tiny, "builtin", "gpt2", "124M"):
        assert invoke("tokenizer", "encode", "--tokenizer", model, "A robot").out == "32 9379\n"
    assert "neither a directory nor" in invoke("tokenizer", "encode", "--tokenizer", "nowhere", "A robot").error
    result = invoke("tokenizer", "encode", "--tokenizer", mute, "A robot")
    assert result.code == 3
    assert "no tokenizer" in result.error


def test_train_writes_a_tokenizer_that_the_other_actions_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A robot must obey the orders given it. " * 9)
    (tmp_path / "b.jsonl").write_text('{"text": "A robot may not"}\n' * 9)
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl")]
    out = str(tmp_path / "mine")
    shown = invoke("tokenizer", "train", *files, "--vocab-size", "280", "--out", out).out
    assert shown.startswith(f"{out}: 280 tokens, 23 merges\nlongest: ")
    text = "A robot must not obey"
    ids = invoke("tokenizer", "encode", "--tokenizer", out, text).out
    assert len(ids.split()) < len(text)
    assert invoke("tokenizer", "decode", "--tokenizer", out, stdin=ids.encode()).out == text
    again = invoke("tokenizer", "train", *files, "--vocab-size", "280", "--out", out)
    assert "is not an empty directory" in again.error
    document = invoke("tokenizer", "train", *files, "--vocab-size", "270", "--out", f"{out}2", "--json").document
    assert document == {"directory": f"{out}2", "n_vocab": 270, "merges": 13}


def test_train_reads_prompts_and_completions(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "queue", "completion": "zigzag"}\n' * 2)
    out = str(tmp_path / "mine")
    assert invoke("tokenizer", "train", str(tmp_path / "a.jsonl"), "--vocab-size", "265", "--out", out).code == 0
    for word in ("queue", "zigzag"):
        assert len(invoke("tokenizer", "encode", "--tokenizer", out, word).out.split()) == 1


def test_train_names_the_line_that_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\nnothing\n')
    command = ["tokenizer", "train", str(tmp_path / "a.jsonl"), "--vocab-size", "280", "--out", str(tmp_path / "mine")]
    assert "a.jsonl:2: not valid JSON" in invoke(*command).error
    assert not (tmp_path / "mine").exists()


@settings(max_examples=60)
@given(text=ANY_TEXT)
def test_json_always_parses(text: str) -> None:
    data = text.encode("utf-8", "replace")
    ids = invoke("tokenizer", "encode", "--json", stdin=data).document["ids"]
    assert ids == Tokenizer.gpt2().encode(data.decode())
    decoded = invoke("tokenizer", "decode", "--json", stdin=repr(ids).encode()).document["text"]
    assert decoded == data.decode()
    pieces = invoke("tokenizer", "explain", "--json", stdin=data).document["pieces"]
    assert isinstance(pieces, list)
    assert [index for piece in pieces for index in piece["ids"]] == ids
    assert bytes(byte for piece in pieces for byte in piece["bytes"]) == data


@settings(max_examples=30)
@given(text=ANY_TEXT.filter(lambda text: not text.startswith("-")))
def test_arguments_may_hold_any_text(text: str) -> None:
    for action in ("encode", "explain"):
        results = invoke("tokenizer", action, "--json", text), invoke("tokenizer", action, text)
        if not any("\ud800" <= char <= "\udfff" for char in text):
            assert [result.code for result in results] == [0, 0]
        else:
            assert [result.code for result in results] == [2, 2]
            assert all(result.error for result in results)
