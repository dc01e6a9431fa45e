import re
from itertools import repeat
from pathlib import Path

import pytest

import cutaway
from cutaway.checkpoints import open_checkpoint
from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE
from cutaway.data.chat import CHAT_TEMPLATE
from cutaway.data.records import read_records
from tests.cli.invoke import Result, choose_tokens, invoke, type_lines

OTHER = "{{ messages }}"


def chat(model: str, *arguments: str, stdin: bytes = b"", terminal: bool = False) -> Result:
    command = ("chat", "--engine", "reference", "--model", model, "--max-new-tokens", "3", "--seed", "4")
    return invoke(*command, *arguments, stdin=stdin, terminal=terminal)


@pytest.fixture
def model(tiny: str, tmp_path: Path) -> str:
    """A model that says that it has learned conversations."""
    cutaway.save_checkpoint(
        tmp_path / "chat", open_checkpoint(Path(tiny)), side_files={CHAT_TEMPLATE_FILE: CHAT_TEMPLATE}
    )
    return str(tmp_path / "chat")


def test_every_line_is_a_message_and_the_replies_are_part_of_the_conversation(model: str) -> None:
    loaded = cutaway.load(model, engine="reference")
    messages: list[dict[str, str]] = []
    for seed, content in ((4, "One"), (5, "Two")):
        messages.append({"role": "user", "content": content})
        reply = loaded.chat(messages, max_new_tokens=3, seed=seed).text
        messages.append({"role": "assistant", "content": reply})
    result = chat(model, stdin=b"One\n\nTwo\r\n")
    assert (result.code, result.err) == (0, "")
    assert [line.strip() for line in result.out.splitlines()] == [messages[1]["content"], messages[3]["content"]]
    document = chat(model, "--json", stdin=b"One\n\nTwo\r\n").document
    assert document["messages"] == messages
    assert (document["model"], document["seed"]) == ("chat", 4)


def test_what_json_writes_can_be_learned(model: str, tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    path.write_text(chat(model, "--json", "--system", "Be kind.", stdin=b"One\nTwo\n").out, encoding="utf-8")
    [record] = read_records(path)
    assert len(record.turns) == 2
    assert record.turns[1].prompt.startswith("System: Be kind.\n\nUser: One\n\nAssistant: ")


def test_an_error_ends_only_its_own_reply(model: str) -> None:
    result = chat(model, "--json", stdin=b"Caf\xe9\n" + b"x " * 500 + b"\nOne\n")
    assert result.code == 0
    first, second = result.err.splitlines()
    assert first == "cutaway: the line is not UTF-8 at byte 3"
    assert second.startswith("cutaway: the prompt is ")
    assert result.out == chat(model, "--json", "--seed", "6", stdin=b"One\n").out.replace('"seed": 6', '"seed": 4')


def test_a_full_context_is_said_once(model: str) -> None:
    result = chat(model, stdin=b"one two three four five six\n" * 4)
    assert result.code == 0
    assert result.err == "cutaway: the context of 32 tokens is full: the oldest messages are not read\n"


def test_other_models_may_only_continue_the_text(tiny: str, model: str) -> None:
    for template in (None, OTHER):
        if template:
            Path(model, CHAT_TEMPLATE_FILE).write_text(template, encoding="utf-8")
        result = chat(model if template else tiny, stdin=b"One\n")
        assert result.code == 0
        assert "does not say that it has learned conversations: it may only continue the text" in result.err


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (b"Caf\xe9", "/chat_template.jinja: not UTF-8 at byte 3; so chat does not say that"),
        (
            OTHER.encode(),
            "neither the one that `cutaway finetune` writes nor DialoGPT's; so chat does not say that",
        ),
    ],
)
def test_a_template_that_is_damaged_or_another_is_named(model: str, template: bytes, reason: str) -> None:
    Path(model, CHAT_TEMPLATE_FILE).write_bytes(template)
    result = chat(model, stdin=b"One\n")
    assert (result.code, result.err.count("\n")) == (0, 1)
    assert reason in result.err
    assert result.out.strip()


def test_a_seed_that_was_drawn_is_said_and_reproduces_the_replies(model: str) -> None:
    command = ("chat", "--engine", "reference", "--model", model, "--max-new-tokens", "3")
    drawn = invoke(*command, stdin=b"One\nTwo\n")
    said = re.fullmatch(r"cutaway: seed (\d+)\n", drawn.err)
    assert said
    again = invoke(*command, "--seed", said[1], stdin=b"One\nTwo\n")
    assert (again.err, again.out) == ("", drawn.out)
    assert invoke(*command, "--temperature", "0", stdin=b"One\n").err == ""
    assert isinstance(invoke(*command, "--json", stdin=b"One\n").document["seed"], int)


def test_a_conversation_on_a_terminal_explains_itself(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = type_lines(monkeypatch, "One", "Two")
    result = chat(model, terminal=True)
    assert result.code == 0
    assert asked == ["> "] * 3
    assert "Ctrl-D ends" in result.err.splitlines()[0]
    assert result.out == chat(model, stdin=b"One\nTwo\n").out


def test_a_reply_does_not_drive_the_terminal(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    escape = cutaway.Tokenizer.gpt2().encode("\x1b")[0]
    choose_tokens(monkeypatch, repeat(escape))
    type_lines(monkeypatch, "One")
    assert chat(model, terminal=True).out == "␛␛␛\n"
    assert chat(model, stdin=b"One\n").out == "\x1b\x1b\x1b\n"


def test_ctrl_c_ends_a_reply_and_keeps_what_was_said(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_tokens(monkeypatch, [64, None, 65, 66, 67])
    result = chat(model, "--json", stdin=b"One\nTwo\n")
    assert result.code == 0
    assert '"a"}, {"role": "user", "content": "Two"}, {"role": "assistant", "content": "bcd"}' in result.out


def test_a_reply_that_ctrl_c_stops_before_its_first_word_is_forgotten(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = choose_tokens(monkeypatch, [None, 65, 66, 67])
    result = chat(model, "--json", stdin=b"One\nTwo\n")
    assert result.code == 0
    assert '"messages": [{"role": "user", "content": "Two"}, {"role": "assistant", "content": "bcd"}]' in result.out
    encode = cutaway.load(model, engine="reference").encode
    assert list(seen[1]) == encode("User: Two\n\nAssistant:")


def test_an_empty_reply_is_part_of_the_conversation(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_tokens(monkeypatch, [50256])
    messages = chat(model, "--json", stdin=b"One\n").document["messages"]
    assert messages == [{"role": "user", "content": "One"}, {"role": "assistant", "content": ""}]


def test_a_message_too_long_for_the_context_is_refused_and_changes_nothing(model: str) -> None:
    long = b"x " * 500 + b"\n"
    result = chat(model, "--json", stdin=b"One\n" + long + b"Two\n")
    assert result.err == (
        "cutaway: the prompt is 506 tokens long without earlier messages; the context holds 32;"
        " shorten the last message or the system message\n"
    )
    later = chat(model, stdin=b"One\n" + long + b"one two three four five six\n" * 4)
    assert later.err == result.err + "cutaway: the context of 32 tokens is full: the oldest messages are not read\n"


def test_a_reply_that_is_cut_is_explained_once_at_a_terminal(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    type_lines(monkeypatch, "One", "Two")
    result = chat(model, terminal=True)
    assert result.err.count("cutaway: a reply ends after 3 tokens: --max-new-tokens sets that\n") == 1
    assert chat(model, stdin=b"One\nTwo\n").err == ""


def test_a_model_without_text_cannot_be_talked_with(mute: str) -> None:
    result = chat(mute, stdin=b"One\nTwo\n")
    assert result.code == 2
    assert result.error.endswith("has no tokenizer files; it cannot be talked with\n")


def test_one_document_is_not_for_a_conversation_at_a_terminal(model: str) -> None:
    result = chat(model, "--json", terminal=True)
    assert result.code == 2
    assert "give the messages through a pipe" in result.error
