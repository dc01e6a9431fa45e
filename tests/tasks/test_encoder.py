"""Encoding: prompts are the first ids of their examples, controls are never text, targets are never cut."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cutaway.errors import UsageError
from cutaway.tasks import Task, TaskEncoder, open_task
from cutaway.tasks.encoder import find_control
from cutaway.tasks.records import TaskRecord
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.train import train_vocabulary
from tests.tasks.test_task import SMALL

CODEC = Tokenizer(train_vocabulary(["eine kleine Nacht, a little night "] * 3, 275, ["<|de|>", "<|en|>", "<|fr|>"]))
TRANSLATION = open_task("translation")
WORDS = ("<|en|>", "<|de|>", "<|endoftext|>", " ", "nacht", "é", "\ud800", "\n", "a", "🙂")
ANY = st.lists(st.sampled_from(WORDS), max_size=8).map("".join) | st.text(max_size=12)
CONTROLS = set(CODEC.vocabulary.control.values())


def pair(source: str, target: str) -> dict[str, str]:
    return {"from": "en", "to": "de", "source": source, "target": target}


@given(source=ANY, target=ANY, n_ctx=st.integers(48, 100), side=st.sampled_from(["left", "right"]))
def test_a_prompt_is_an_exact_prefix_and_controls_stand_only_where_the_template_has_them(
    source: str, target: str, n_ctx: int, side: str
) -> None:
    task = Task.parse(TRANSLATION.toml.replace('side = "right"', f'side = "{side}"'))
    encoder = TaskEncoder(task, CODEC, n_ctx)
    fields = pair(source, target)
    prompt = encoder.prompt({name: fields[name] for name in ("from", "to", "source")})
    n_target = len(CODEC.encode(f" {target}")) + 1
    assume(len(prompt) + n_target <= n_ctx + 1)
    example = encoder.encode(fields)
    ids = example.ids.tolist()
    assert ids[: len(prompt)] == prompt
    assert len(prompt) <= encoder.room
    assert len(ids) <= n_ctx + 1
    assert [i for i, token in enumerate(ids) if token in CONTROLS] == [0, len(prompt) - 1, len(ids) - 1]
    assert example.learned.tolist() == [i >= len(prompt) for i in range(len(ids))]
    assert example.n_prefix == len(prompt) == encoder.n_prefix(prompt)
    assert encoder.decode(ids[len(prompt) : -1]) == target.replace("\ud800", "\ufffd")


def test_the_field_that_gives_way_is_cut_on_its_side_and_the_target_is_whole() -> None:
    long = " ".join(["nacht"] * 30)
    whole = CODEC.encode(f" {long}")
    for side in ("left", "right"):
        task = Task.parse(TRANSLATION.toml.replace('side = "right"', f'side = "{side}"'))
        encoder = TaskEncoder(task, CODEC, 64)
        example, cut = encoder.encode_and_count(pair(long, "a little night"))
        assert cut == len(whole) + 2 - 32
        body = example.ids[1:31].tolist()
        assert body == (whole[-30:] if side == "left" else whole[:30])
        assert encoder.decode(example.ids[32:-1].tolist()) == "a little night"


def test_a_target_that_does_not_fit_is_an_error_that_names_the_record() -> None:
    encoder = TaskEncoder(TRANSLATION, CODEC, 16)
    record = TaskRecord("pairs.jsonl:7", pair("nacht", "xyz" * 20))
    with pytest.raises(UsageError, match=r"^pairs.jsonl:7: the target has 62 tokens with its end, and"):
        encoder.encode_all([record])


def test_a_prompt_without_room_for_the_rest_is_an_error() -> None:
    with pytest.raises(
        UsageError, match="4 is too short: of a prompt 2 tokens fit, and 2 are needed beside its source"
    ):
        TaskEncoder(TRANSLATION, CODEC, 4).prompt(pair("nacht", ""))


def test_a_missing_control_token_is_named_with_a_way_that_works() -> None:
    with pytest.raises(
        UsageError, match=r'--control "<\|en\|>"` and give it as --tokenizer, or .* finetune --task transl'
    ):
        TaskEncoder(TRANSLATION, Tokenizer.gpt2(), 16)
    vocabulary = CODEC.vocabulary
    control = {name: index for name, index in vocabulary.control.items() if index != vocabulary.end_of_text}
    endless = Tokenizer(replace(vocabulary, control=control, end_of_text=None))
    with pytest.raises(
        UsageError, match=r"no control token <\|endoftext\|>, .*: name its own end of text, eos_token in"
    ):
        TaskEncoder(TRANSLATION, endless, 16)


def test_everything_but_the_first_token_can_be_learned() -> None:
    task = Task.parse('learn = "all"\n' + SMALL)
    example = TaskEncoder(task, CODEC, 64).encode({"to": "fr", "source": "a", "target": "b"})
    assert example.learned.tolist() == [False] + [True] * (len(example.ids) - 1)
    assert example.n_prefix == 0


def test_an_empty_target_is_learned_as_its_end_and_without_one_is_refused() -> None:
    fields = {"to": "fr", "source": "a", "target": ""}
    assert TaskEncoder(Task.parse(SMALL), CODEC, 64).encode(fields).learned.sum() == 1
    endless = Task.parse(SMALL.replace("<|endoftext|>", ""))
    with pytest.raises(UsageError, match="^a:3: nothing to learn: the target is empty, and no token ends it"):
        TaskEncoder(endless, CODEC, 64).encode_all([TaskRecord("a:3", fields)])


def test_sets_count_what_is_truncated_literal_and_learned() -> None:
    encoder = TaskEncoder(TRANSLATION, CODEC, 64)
    records = [TaskRecord("a:1", pair("<|en|> a", "é")), TaskRecord("a:2", pair("x" * 99, "ab"))]
    made = encoder.encode_all(records)
    assert (made.n_truncated, made.n_literals, made.n_bytes) == (1, 1, 4)
    assert made.n_learned == sum(int(np.count_nonzero(example.learned)) for example in made.examples)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"from": "en", "to": "de"}, "missing field 'source'"),
        ({"from": "it", "to": "de", "source": "a"}, "from must be en or de, not 'it'"),
    ],
)
def test_invalid_fields_are_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TaskEncoder(TRANSLATION, CODEC, 64).prompt(fields)


def test_a_tokenizer_without_the_control_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no control token <\|en\|>, which the task translation needs"):
        TaskEncoder(TRANSLATION, Tokenizer.gpt2(), 64)


def test_a_word_that_is_a_token_is_no_control() -> None:
    assert find_control(" the", Tokenizer.gpt2()) is None
    assert find_control("<|de|>", CODEC) == CODEC.vocabulary.control["<|de|>"]


def test_the_prefix_is_found_in_the_ids_of_an_example() -> None:
    encoder = TaskEncoder(TRANSLATION, CODEC, 64)
    example = encoder.encode({"from": "de", "to": "en", "source": "kleine Nacht", "target": "night"})
    ids = example.ids.tolist()
    assert encoder.find_prefix(ids) == example.n_prefix
    assert encoder.find_prefix(ids[: example.n_prefix - 1]) == example.n_prefix - 1  # the source is not over
    assert encoder.find_prefix(ids[:1]) == 1
    assert TaskEncoder(open_task("wiki-lead"), CODEC, 64).find_prefix(ids) == 0


def test_the_target_is_found_where_attention_is_causal_too() -> None:
    encoder = TaskEncoder(Task.parse(TRANSLATION.toml.replace('"prefix"', '"causal"')), CODEC, 64)
    ids = encoder.encode(pair("nacht", "night")).ids.tolist()
    prompt = encoder.prompt(pair("nacht", ""))
    assert encoder.find_prefix(ids) == 0
    assert encoder.find_target(ids) == len(prompt)


@given(source=st.text(min_size=1, max_size=20))
def test_the_fields_of_a_prompt_are_read_back(source: str) -> None:
    encoder = TaskEncoder(TRANSLATION, CODEC, 256)
    fields = {"from": "de", "to": "en", "source": source}
    assert encoder.parse_prompt(encoder.prompt(fields)) == fields


def test_what_is_no_prompt_has_no_fields() -> None:
    encoder = TaskEncoder(TRANSLATION, CODEC, 64)
    prompt = encoder.prompt(pair("nacht", ""))
    for ids in ([], prompt[:-1], prompt[1:], [prompt[0], prompt[-1]]):
        assert encoder.parse_prompt(ids) is None
    lead = TaskEncoder(open_task("wiki-lead"), Tokenizer.gpt2(), 64)
    assert lead.parse_prompt(lead.prompt({"title": "a", "body": "b"})) is None  # two texts


def test_generated_ids_without_a_token_have_no_text() -> None:
    encoder = TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), n_ctx=32)
    assert encoder.decode([9379, 50290, 1276]) == encoder.decode([9379, 1276]) == " robot must"


def test_a_prompt_with_an_id_that_is_no_token_is_read_without_it() -> None:
    encoder = TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), n_ctx=32)
    assert encoder.parse_prompt([64, 275, 50290, 269, 198]) == {"source": "a b c"}
