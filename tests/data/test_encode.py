"""Blocks to token ids."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.data.blocks import Block, Passage
from cutaway.data.dataset import open_dataset
from cutaway.data.encode import EncodedBlock, Encoder, id_type
from cutaway.data.prepare import prepare
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.reading import read_tokenizer
from tests.tokenizer.other_kinds import CHINESE, write_bert

GPT2 = Tokenizer.gpt2()
ENCODER = Encoder(GPT2, share=0)


def lines(*records: object, first_line: int = 1) -> Block:
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    return Block(Path("a.jsonl"), 0, lines=data, first_line=first_line)


def test_control_literals_are_counted_in_all_texts_of_a_block() -> None:
    pair = {"prompt": "<|endoftext|>?", "completion": " <|endoftext|><|endoftext|>"}
    assert ENCODER.encode(lines({"text": "a<|endoftext|>"}, pair, {"text": "a robot"})).control_literals == 4


def documents(encoded: EncodedBlock, split: str = "train") -> list[str]:
    part = encoded.splits[split]
    return [GPT2.decode(ids.tolist()) for ids in np.split(part.ids, part.begins[1:])]


@given(texts=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5))
def test_documents_come_back_after_a_start_token_each(texts: list[str]) -> None:
    encoded = ENCODER.encode(lines(*({"text": text} for text in texts)))
    valid = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    assert documents(encoded) == [f"<|endoftext|>{text}" for text in valid]
    train = encoded.splits["train"]
    assert train.n_bytes == sum(len(text.encode()) for text in valid)
    assert train.ids.dtype == np.uint16
    assert train.learned is None


@given(before=st.text(max_size=9), after=st.text(max_size=9), times=st.integers(1, 3))
def test_a_control_literal_stays_text_and_is_counted(before: str, after: str, times: int) -> None:
    encoded = ENCODER.encode(lines({"text": before + "<|endoftext|>" * times + after}))
    assert np.count_nonzero(encoded.splits["train"].ids == 50256) == 1
    assert encoded.control_literals == (before + "<|endoftext|>" * times + after).count("<|endoftext|>")


def test_documents_without_text_are_left_out() -> None:
    assert documents(ENCODER.encode(lines({"text": ""}, {"text": "a"}, {"text": ""}))) == ["<|endoftext|>a"]
    assert ENCODER.encode(Block(Path("a"), 0, lines=b"\n  \n\n")).splits == {}


def test_a_passage_that_does_not_open_goes_on() -> None:
    passages = (Passage("One", "train"), Passage(" two", "train", opens=False), Passage("v", "valid"))
    encoded = ENCODER.encode(Block(Path("a"), 0, passages=passages))
    assert documents(encoded) == ["<|endoftext|>One two"]
    assert documents(encoded, "valid") == ["<|endoftext|>v"]


def test_a_share_is_drawn_and_a_given_split_kept() -> None:
    texts = [f"text {number}" for number in range(400)]
    encoded = Encoder(GPT2, share=0.25).encode(lines(*({"text": text} for text in texts)))
    assert 60 < len(encoded.splits["valid"].begins) < 140
    block = Block(Path("a"), 0, lines=b'{"text": "a"}', split="valid")
    assert list(ENCODER.encode(block).splits) == ["valid"]


def test_conversations_that_begin_alike_are_drawn_by_all_of_their_messages() -> None:
    hello = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    talks = [
        [*hello, {"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}] for n in range(400)
    ]
    encoded = Encoder(GPT2, share=0.25).encode(lines(*({"messages": talk} for talk in talks)))
    valid = documents(encoded, "valid")
    assert 60 < len(valid) < 140
    assert len(documents(encoded)) + len(valid) == 400
    assert all("Hi." in text and text.endswith(".") and text.count("Assistant:") == 2 for text in valid)


def test_of_a_pair_the_completion_and_the_end_are_learned() -> None:
    encoded = ENCODER.encode(lines({"prompt": "Question?", "completion": " Yes."}, {"text": "Text."}))
    train = encoded.splits["train"]
    assert documents(encoded) == ["<|endoftext|>Question? Yes.", "<|endoftext|>Text."]
    assert train.learned is not None
    prompt = len(GPT2.encode("Question?"))
    assert train.learned.tolist() == [True] + [False] * prompt + [True] * (len(train.ids) - prompt - 1)


def test_pairs_are_drawn_by_all_of_their_text() -> None:
    pairs = [{"prompt": "Question?", "completion": f" {number}"} for number in range(40)]
    splits = Encoder(GPT2, share=0.5).encode(lines(*pairs)).splits
    assert all(len(splits[name].begins) > 5 for name in ("train", "valid"))


def test_of_a_conversation_what_the_assistant_says_is_learned() -> None:
    talk = [("user", "1?"), ("assistant", "2"), ("user", "3?"), ("assistant", "4")]
    record = {"messages": [{"role": role, "content": content} for role, content in talk]}
    part = ENCODER.encode(lines(*[record] * 3, {"messages": [{"role": "user", "content": "1?"}]})).splits["train"]
    assert len(part.begins) == 3
    text = "User: 1?\n\nAssistant: 2\n\nUser: 3?\n\nAssistant: 4"
    ids = part.ids[: part.begins[1]]
    assert GPT2.decode(ids.tolist()) == f"<|endoftext|>{text}"
    assert part.learned is not None
    assert GPT2.decode(ids[part.learned[: part.begins[1]]].tolist()) == "<|endoftext|> 2 4"


def test_a_conversation_is_drawn_for_a_split_with_all_its_turns() -> None:
    talks = [[("user", f"{n}?"), ("assistant", "2"), ("user", "3?"), ("assistant", f"4{n}")] for n in range(12)]
    records = [{"messages": [{"role": role, "content": content} for role, content in talk]} for talk in talks]
    encoded = Encoder(GPT2, share=0.5).encode(lines(*records))
    whole = {document for name in ("train", "valid") for document in documents(encoded, name)}
    assert whole == {f"<|endoftext|>User: {n}?\n\nAssistant: 2\n\nUser: 3?\n\nAssistant: 4{n}" for n in range(12)}


@pytest.mark.parametrize(
    ("record", "part"),
    [
        (["text"], r"must be a JSON object, .*, not \['text'\]"),
        ({"txt": "a"}, "unknown key 'txt'; did you mean 'text'"),
        ({"prompt": "a"}, r'must be {"text"}, {"prompt", "completion"} or {"messages"}, and has \'prompt\''),
        ({"text": 3}, "'text' must be text, not 3"),
        ({"prompt": "a", "completion": None}, "'completion' must be text, not None"),
    ],
)
def test_an_invalid_line_is_named(record: object, part: str) -> None:
    with pytest.raises(UsageError, match=rf"a\.jsonl:8: {part}"):
        ENCODER.encode(lines({"text": "fine"}, record, first_line=7))


@pytest.mark.parametrize(("data", "part"), [(b"{\n", "not valid JSON"), (b'{"text": "\xff"}', "not UTF-8 at byte 10")])
def test_what_is_not_json_is_named(data: bytes, part: str) -> None:
    with pytest.raises(UsageError, match=rf"a\.jsonl:1: {part}") as caught:
        ENCODER.encode(Block(Path("a.jsonl"), 0, lines=data))
    assert "\n" not in str(caught.value)


def test_another_field_holds_the_text() -> None:
    encoder = Encoder(GPT2, share=0, field="body")
    assert documents(encoder.encode(lines({"body": "a", "text": "b"}))) == ["<|endoftext|>a"]


@pytest.mark.parametrize(("n_vocab", "name"), [(1 << 16, "uint16"), ((1 << 16) + 1, "uint32")])
def test_ids_have_the_smallest_type_that_holds_them(n_vocab: int, name: str) -> None:
    assert id_type(n_vocab) == name
    assert np.iinfo(name).max >= n_vocab - 1


def test_a_chinese_corpus_is_prepared_with_berts_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(CHINESE * 20, encoding="utf-8")
    write_bert()(tmp_path)
    with pytest.raises(UsageError, match=r"no start token to open documents with; name a bos_token in its tokenizer_"):
        prepare([tmp_path / "a.txt"], tmp_path / "none", tokenizer=read_tokenizer(tmp_path), workers=2)
    write_bert(bos_token="[CLS]", eos_token="[SEP]")(tmp_path)
    tokenizer = read_tokenizer(tmp_path)
    prepare([tmp_path / "a.txt"], tmp_path / "tokens", tokenizer=tokenizer, workers=2)
    dataset = open_dataset(tmp_path / "tokens")
    assert tokenizer.encodes_like(dataset.codec)
    assert dataset.manifest.splits["train"].tokens == 1 + len(tokenizer.encode(CHINESE * 20))
