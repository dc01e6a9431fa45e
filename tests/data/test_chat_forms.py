"""Forms of conversations: the ids that transformers makes by the same template, and what a model of each is asked."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import cutaway
from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE
from cutaway.config import GPT2Config
from cutaway.data.chat import CHAT_TEMPLATE
from cutaway.data.chat_forms import PARAGRAPHS, TURNS, find_form
from cutaway.errors import UsageError
from tests.cli.invoke import invoke
from tests.random_weights import random_weights

TURNS_TEMPLATE = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
END = 50256
SAID = [("user", "Does money buy happiness?"), ("assistant", "It depends."), ("user", "On what?")]
MESSAGES = [{"role": role, "content": content} for role, content in SAID]


def save(path: Path, n_ctx: int = 64) -> Path:
    """A random GPT-2 in the files of DialoGPT, whose template is among the settings of the tokenizer."""
    weights = random_weights(GPT2Config(n_ctx=n_ctx, n_embd=8, n_head=2, n_layer=1), std=0.5)
    cutaway.save_checkpoint(path, weights, tokenizer=cutaway.Tokenizer.gpt2())
    set_template(path, TURNS_TEMPLATE)
    return path


def set_template(path: Path, template: object) -> None:
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}), encoding="utf-8")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "dialogue")


@pytest.fixture(scope="module")
def model(directory: Path) -> cutaway.Model:
    return cutaway.load(directory, engine="reference")


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize(
    ("template", "form"),
    [
        (CHAT_TEMPLATE, PARAGRAPHS),
        (TURNS_TEMPLATE, TURNS),
        (f"\n{TURNS_TEMPLATE} ", TURNS),
        ("{%- for message in messages -%}{{ message['content'] }}{{ eos_token }}{%- endfor -%}", TURNS),
        ('{% for message in messages %}{{message["content"]}}{{eos_token}}{% endfor %}', TURNS),
        (TURNS_TEMPLATE.replace("}}{{", "}} {{"), None),
        (TURNS_TEMPLATE.replace("}}{%", "}}\n{%"), None),
        (TURNS_TEMPLATE.replace("eos", "bos"), None),
        (TURNS_TEMPLATE + "{{ eos_token }}", None),
        (TURNS_TEMPLATE.replace("message.content", "message.role"), None),
        (CHAT_TEMPLATE + "x", None),
        ("", None),
    ],
)
def test_a_form_is_found_by_all_of_its_template(template: str, form: object) -> None:
    assert find_form(template) is form


@settings(deadline=None)
@given(said=st.lists(st.text(max_size=12), min_size=1))
def test_turns_are_the_ids_that_transformers_makes(model: cutaway.Model, tokenizer: Any, said: list[str]) -> None:
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt = TURNS.prompt(messages, model.encode, END)
    if not any(tokenizer.eos_token in text for text in said):  # with us a text never becomes a control token
        assert prompt == tokenizer(rendered).input_ids
    assert prompt.count(END) == len(said)


def test_the_end_token_in_a_message_stays_text(model: cutaway.Model) -> None:
    prompt = TURNS.prompt([{"role": "user", "content": "<|endoftext|>"}], model.encode, END)
    assert prompt == [*model.encode("<|endoftext|>"), END]
    assert prompt.count(END) == 1


def test_a_model_of_turns_is_asked_in_turns(model: cutaway.Model) -> None:
    ids = [token for each in MESSAGES for token in (*model.encode(each["content"]), END)]
    for seed in range(8):
        whole = model.generate(ids, max_new_tokens=8, seed=seed)
        assert model.chat(MESSAGES, max_new_tokens=8, seed=seed).ids == whole.ids


def test_the_words_of_another_form_do_not_end_a_turn(model: cutaway.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    coming = iter([*model.encode("No.\n\nUser: no."), END])
    monkeypatch.setattr("cutaway.generation.batch.choose", lambda *_: next(coming))
    reply = model.chat(MESSAGES, max_new_tokens=20)
    assert (reply.text, reply.finish_reason) == ("No.\n\nUser: no.", "eos")


def test_the_oldest_turns_are_left_out_of_a_full_context(model: cutaway.Model) -> None:
    long = [{"role": "user", "content": "one two three " * 12}, *MESSAGES]
    assert model.fit_messages(long, max_new_tokens=20) == MESSAGES
    assert model.fit_messages(MESSAGES, max_new_tokens=20) == MESSAGES


def test_turns_have_no_system_and_need_an_end_token(model: cutaway.Model) -> None:
    with pytest.raises(UsageError, match="the system would speak as the user does; leave it out"):
        model.chat([{"role": "system", "content": "Be kind."}, *MESSAGES])
    with pytest.raises(UsageError, match="ends messages with its end token, and its tokenizer names none"):
        TURNS.prompt(MESSAGES, model.encode, None)


def test_a_file_of_its_own_prevails_and_what_is_no_template_is_none(tmp_path: Path) -> None:
    path = save(tmp_path / "dialogue")
    (path / CHAT_TEMPLATE_FILE).write_text(CHAT_TEMPLATE, encoding="utf-8")
    assert cutaway.load(path).metadata.chat_template.text == CHAT_TEMPLATE
    (path / CHAT_TEMPLATE_FILE).write_bytes(b"\xff")
    assert cutaway.load(path).metadata.chat_template.text == ""
    (path / CHAT_TEMPLATE_FILE).unlink()
    assert cutaway.load(path).metadata.chat_template.text == TURNS_TEMPLATE
    for template in (None, 7, [{"name": "default", "template": TURNS_TEMPLATE}]):
        set_template(path, template)
        assert cutaway.load(path).metadata.chat_template.text == ""
    (path / "tokenizer_config.json").write_text("{")
    assert cutaway.load(path).metadata.chat_template.text == ""


def test_turns_are_spoken_after_a_conversion_too(directory: Path, tmp_path: Path) -> None:
    converted = tmp_path / "converted"
    assert invoke("convert", str(directory), str(converted), "--dtype", "int8").code == 0
    assert cutaway.load(converted).metadata.chat_template.text == TURNS_TEMPLATE
    command = ("chat", "--model", str(converted), "--max-new-tokens", "3", "--seed", "4")
    assert invoke(*command, stdin=b"One\n").err == ""
    refused = invoke(*command, "--system", "Be kind.", stdin=b"One\n")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "has no roles" in refused.err
