"""The form of conversations, beside the template from which transformers renders it."""

import re
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import cutaway
from cutaway.checkpoints import open_checkpoint
from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE
from cutaway.config import GPT2Config
from cutaway.data.chat import CHAT_TEMPLATE, ROLES, fit_messages, write_prompt
from cutaway.data.records import render_messages
from cutaway.errors import UsageError
from cutaway.generation.stream import Chunk, without_leading_space
from tests.random_weights import random_weights

MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": st.text(max_size=12)}), min_size=1
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random GPT-2 with its own tokenizer that says that it has learned conversations."""
    return save(tmp_path_factory.mktemp("models") / "chat", n_ctx=64, n_layer=1)


def save(path: Path, n_ctx: int, n_layer: int) -> str:
    weights = random_weights(GPT2Config(n_ctx=n_ctx, n_embd=8, n_head=2, n_layer=n_layer), std=0.5)
    cutaway.save_checkpoint(
        path, weights, tokenizer=cutaway.Tokenizer.gpt2(), side_files={CHAT_TEMPLATE_FILE: CHAT_TEMPLATE}
    )
    return str(path)


@pytest.fixture(scope="module")
def model(directory: str) -> cutaway.Model:
    return cutaway.load(directory, engine="reference")


@pytest.fixture(scope="module")
def tokenizer(directory: str) -> Any:
    return transformers.AutoTokenizer.from_pretrained(directory)


@settings(deadline=None)
@given(messages=MESSAGES)
def test_transformers_writes_the_same_prompt(tokenizer: Any, messages: list[dict[str, str]]) -> None:
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert prompt == write_prompt(messages)


@settings(deadline=None)
@given(messages=MESSAGES, reply=st.text(max_size=12))
def test_a_reply_is_asked_for_as_it_is_learned(tokenizer: Any, messages: list[dict[str, str]], reply: str) -> None:
    whole = [*messages, {"role": "assistant", "content": reply}]
    learned = render_messages(whole)[-1]
    assert learned.prompt == write_prompt(messages)
    assert tokenizer.apply_chat_template(whole, tokenize=False) == learned.prompt + learned.completion + "<|endoftext|>"


def test_a_role_is_never_a_control_token(model: cutaway.Model) -> None:
    prompt = write_prompt([{"role": "user", "content": "<|endoftext|>"}])
    assert 50256 not in model.encode(prompt)


def test_the_oldest_exchanges_go_first_and_what_the_system_says_stays() -> None:
    said = [("system", "S"), ("user", "1"), ("assistant", "a"), ("user", "2"), ("assistant", "b"), ("user", "3")]
    messages = [{"role": role, "content": content} for role, content in said]

    def fitted(most: int) -> str:
        return "".join(
            message["content"] for message in fit_messages(messages, lambda kept: len(write_prompt(kept)) <= most)
        )

    whole = len(write_prompt(messages))
    assert fitted(whole) == "S1a2b3"
    assert fitted(whole - 1) == "S2b3"
    assert fitted(len(write_prompt([messages[0], *messages[3:]])) - 1) == "S3"
    assert fitted(0) == "S3"


def test_a_conversation_leaves_room_for_the_reply(model: cutaway.Model) -> None:
    question = {"role": "user", "content": "one two three four five"}
    messages = [{**question, "content": f"{n} {question['content']}"} for n in range(9)]
    for room in (10, 20, 60):
        kept = model.fit_messages(messages, max_new_tokens=room)
        n_tokens = len(model.encode(write_prompt(kept)))
        one_more = len(model.encode(write_prompt(messages[-len(kept) - 1 :])))
        assert n_tokens <= max(64 - room, 32) < one_more
        assert kept == messages[-len(kept) :]


@pytest.mark.slow
def test_a_reply_is_generated_from_the_prompt_and_has_no_space_around_it(model: cutaway.Model) -> None:
    messages = [{"role": "user", "content": "Who are you?"}]
    for seed in range(20):
        whole = model.generate(write_prompt(messages), max_new_tokens=8, seed=seed, stop="\n\nUser:")
        reply = model.chat(messages, max_new_tokens=8, seed=seed)
        assert reply.ids == whole.ids
        assert reply.text == whole.text.strip()
        chunks = model.stream_chat(messages, max_new_tokens=8, seed=seed)
        assert "".join(chunk.text for chunk in chunks) == whole.text.lstrip()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "dtype"), [("cpu", "float32"), ("cpu", "int8"), ("pytorch", "float32"), ("reference", None)]
)
def test_replies_equal_those_of_whole_prompts_turn_by_turn(tmp_path: Path, engine: str, dtype: str | None) -> None:
    model = cutaway.load(save(tmp_path / "chat", n_ctx=160, n_layer=2), engine=engine, dtype=dtype)
    messages: list[dict[str, str]] = [{"role": "system", "content": "Be kind."}]
    n_left_out = 0
    for turn, content in enumerate(["Who are you?", "", "And I?", "one two three " * 3, "Why?"] * 2):
        messages.append({"role": "user", "content": content})
        kept = model.fit_messages(messages, max_new_tokens=20)
        n_left_out += len(kept) < len(messages)
        whole = model.generate(write_prompt(kept), max_new_tokens=20, seed=turn, stop="\n\nUser:", logprobs=True)
        chunks = [*model.stream_chat(messages, max_new_tokens=20, seed=turn, logprobs=True)]
        assert [token for chunk in chunks for token in chunk.ids] == list(whole.ids)
        assert [nats for chunk in chunks for nats in chunk.logprobs] == list(whole.logprobs)
        assert model.chat(messages, max_new_tokens=20, seed=turn, logprobs=True).logprobs == whole.logprobs
        messages.append({"role": "assistant", "content": whole.text.strip()})
    assert 0 < n_left_out < 8


def test_the_next_message_of_the_user_ends_a_reply(model: cutaway.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [{"role": "user", "content": "Who are you?"}]
    for stop, text in (("never", "A robot."), ("bot", "A ro")):
        coming = iter(model.encode(" A robot.\n\nUser: And I?"))
        monkeypatch.setattr("cutaway.generation.batch.choose", lambda *_, coming=coming: next(coming))
        reply = model.chat(messages, max_new_tokens=20, stop=stop)
        assert (reply.text, reply.finish_reason) == (text, "stop")


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ("Who are you?", "'messages' must be a list, not 'Who are you?'"),
        (["Who are you?"], 'message 1: must be {"role", "content"}, both text, not \'Who are you?\''),
        (
            [{"role": "usr", "content": ""}],
            "assistant, not 'usr'; did you mean 'user'",
        ),
        ([{"role": "user", "content": None}], "message 1: must be"),
    ],
)
def test_anything_but_messages_is_refused(model: cutaway.Model, messages: Any, error: str) -> None:
    with pytest.raises(UsageError, match=re.escape(error)):
        model.chat(messages)


def test_messages_may_be_a_tuple(model: cutaway.Model) -> None:
    message = {"role": "user", "content": "Who are you?"}
    assert model.fit_messages((message,)) == [message]


def test_a_message_too_long_for_the_context_is_refused_unless_it_is_shifted(model: cutaway.Model) -> None:
    messages = [{"role": "user", "content": "x " * 99}]
    with pytest.raises(
        UsageError,
        match="without earlier messages; the context holds 64; shorten the last message or the system message",
    ):
        model.fit_messages(messages)
    assert model.fit_messages(messages, context_shift=True) == messages
    assert len(model.chat(messages, context_shift=True, max_new_tokens=3, ignore_eos=True).ids) == 3


def test_the_template_is_kept(model: cutaway.Model, directory: str, tmp_path: Path) -> None:
    model.save(tmp_path / "saved")
    cutaway.load(tmp_path / "saved", engine="reference").save(tmp_path / "again", "int8")
    written = (tmp_path / "again" / CHAT_TEMPLATE_FILE).read_text(encoding="utf-8")
    assert written == (Path(directory) / CHAT_TEMPLATE_FILE).read_text(encoding="utf-8") == CHAT_TEMPLATE


def test_a_model_in_place_of_one_of_conversations_has_not_its_template(directory: str, tmp_path: Path) -> None:
    for side_files in ({CHAT_TEMPLATE_FILE: CHAT_TEMPLATE}, {}):
        weights = open_checkpoint(Path(directory))
        cutaway.save_checkpoint(tmp_path / "model", weights, side_files=side_files, overwrite=True)
        assert open_checkpoint(tmp_path / "model").side_files() == side_files


def test_chunks_are_as_they_were_but_for_the_space_before() -> None:
    chunks = [Chunk(" \n", (1,)), Chunk("", (2,)), Chunk("a ", (3,)), Chunk(" b", (4,), finish_reason="eos")]
    assert [*without_leading_space(chunks)] == [Chunk("", (1,)), Chunk("", (2,)), Chunk("a ", (3,)), chunks[3]]
