import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.data.examples import Example, control_names, make_examples
from cutaway.data.records import Record, Turn, parse_line
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer

GPT2 = Tokenizer.gpt2()
END = GPT2.eos


def record(**line: object) -> Record:
    return parse_line(json.dumps(line).encode(), "data.jsonl:7")


def learned_text(example: Example) -> str:
    return GPT2.decode(example.ids[example.learned].tolist())


def test_only_the_completion_and_its_end_are_learned() -> None:
    [example] = make_examples([record(prompt="Who are you?", completion=" A robot.")], GPT2, 64).examples
    assert GPT2.decode(example.ids.tolist()) == "Who are you? A robot.<|endoftext|>"
    assert learned_text(example) == " A robot.<|endoftext|>"
    assert example.ids[-1] == END


def test_a_document_and_a_completion_without_a_prompt_open_with_the_start_token() -> None:
    for line in ({"text": "A robot."}, {"prompt": "", "completion": "A robot."}):
        [example] = make_examples([record(**line)], GPT2, 64).examples
        assert example.ids.tolist() == [END, *GPT2.encode("A robot."), END]
        assert example.learned.tolist() == [False] + [True] * (len(example.ids) - 1)


def test_a_long_document_is_learned_whole_in_several_examples() -> None:
    ids = [END, *GPT2.encode("one two three four five six seven eight nine"), END]
    examples = make_examples([record(text="one two three four five six seven eight nine")], GPT2, 4).examples
    assert [len(example.ids) for example in examples] == [5, 5, 3]
    assert [i for example in examples for i in example.ids[example.learned]] == ids[1:]
    assert examples[0].ids[-1] == examples[1].ids[0]


@pytest.mark.parametrize("n_words", range(1, 14))
def test_a_document_of_any_length_is_learned_once_and_its_text_stays_whole(n_words: int) -> None:
    ids = [END, *GPT2.encode(" one" * n_words), END]
    made = make_examples([record(text=" one" * n_words)], GPT2, 4)
    assert [i for example in made.examples for i in example.ids[example.learned]] == ids[1:]
    assert all(2 <= len(example.ids) <= 5 and not example.learned[0] for example in made.examples)
    assert [text.tolist() for text in made.texts] == [ids]


def test_the_end_of_a_text_is_a_control_token_too() -> None:
    beginless = Tokenizer(GPT2.vocabulary)
    beginless.bos = None
    assert control_names(beginless) == {"<|endoftext|>"}


def test_the_first_token_is_never_learned() -> None:
    beginless = Tokenizer(GPT2.vocabulary)
    beginless.bos = None
    made = make_examples([record(prompt="", completion="A robot."), record(text="A robot.")], beginless, 9)
    assert [example.ids.tolist() for example in made.examples] == [[*GPT2.encode("A robot."), END]] * 2
    assert [example.learned.tolist() for example in made.examples] == [[False, True, True, True]] * 2
    assert [text.tolist() for text in made.texts] == [example.ids.tolist() for example in made.examples]


@given(n_prompt=st.integers(1, 30), n_completion=st.integers(1, 8))
def test_truncation_cuts_the_prompt_from_its_left_and_never_the_completion(n_prompt: int, n_completion: int) -> None:
    text = "".join(f" {number}" for number in range(n_prompt))  # each token is another
    prompt = GPT2.encode(text)
    completion = GPT2.encode(" end" * n_completion)
    made = make_examples([Record("data.jsonl:7", (Turn(text, " end" * n_completion),))], GPT2, 9)
    [example] = made.examples
    assert example.ids[-n_completion - 1 :].tolist() == [*completion, END]
    assert int(example.learned.sum()) == n_completion + 1
    assert 2 <= len(example.ids) <= 10
    kept = example.ids[: -n_completion - 1].tolist()
    assert kept == prompt[len(prompt) - len(kept) :]
    assert made.n_truncated == (len(kept) < n_prompt)
    assert len(kept) == min(n_prompt, 9 - n_completion)


def test_a_completion_that_does_not_fit_is_an_error_with_its_line() -> None:
    with pytest.raises(UsageError, match="^data.jsonl:7: the completion has 10 tokens with its end, and the context"):
        make_examples([record(prompt="a", completion=" end" * 9)], GPT2, 9)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"text": ""}, "the text is empty"),
        ({"prompt": "a", "completion": ""}, "the completion is empty"),
        ({"messages": [{"role": "user", "content": "a"}]}, "no message is the assistant's"),
    ],
)
def test_an_example_with_nothing_to_learn_is_an_error_with_its_line(line: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=f"^data.jsonl:7: nothing to learn: {reason}"):
        make_examples([record(text="a"), record(**line)], GPT2, 9)


def test_names_of_control_tokens_stay_text_and_are_counted() -> None:
    lines = [record(prompt="a<|endoftext|>", completion="b<|endoftext|>c"), record(text="<|endoftext|>")]
    made = make_examples(lines, GPT2, 64)
    assert made.n_literals == 3
    pair, document = made.examples
    assert pair.ids.tolist().count(END) == 1
    assert document.ids.tolist().count(END) == 2


def test_counts_what_is_learned() -> None:
    made = make_examples([record(prompt="aé", completion="bé"), record(text="cd")], GPT2, 64)
    assert made.n_bytes == len("bécd".encode())
    assert made.n_learned == len(GPT2.encode("bé")) + len(GPT2.encode("cd")) + 2
