"""Tokenizers of other kinds: the ids and texts of transformers, streams, labels, and control tokens only on request."""

import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from transformers import AutoTokenizer

from cutaway.errors import CheckpointError, UsageError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.joining import decode_by
from cutaway.tokenizer.library import LibraryTokenizer, Roles, Word
from cutaway.tokenizer.reading import read_tokenizer
from tests.tokenizer.other_kinds import KINDS, random_text, unigram, write_json

every_kind = pytest.mark.parametrize("kind", KINDS)
UNGUARDED = ("Unigram", "Unigram, cleaned", "WordLevel")  # transformers finds control tokens in any text


@cache
def both(kind: str) -> tuple[LibraryTokenizer, Any]:
    """Ours, and that of transformers."""
    with TemporaryDirectory() as directory:
        KINDS[kind](Path(directory))
        ours = read_tokenizer(directory)
        assert isinstance(ours, LibraryTokenizer)
        return ours, AutoTokenizer.from_pretrained(directory)


def assert_equal(kind: str, seed: int, count: int) -> None:
    """Ids and decoded texts of random texts, and texts of random ids, are those of transformers."""
    ours, theirs = both(kind)
    generator = random.Random(seed)
    forbidden = [name for name in ours.control if "unk" not in name.lower()]
    texts = [random_text(generator) for _ in range(count)]
    with_special = theirs(texts, add_special_tokens=False).input_ids
    without = theirs(texts, add_special_tokens=False, split_special_tokens=True).input_ids
    for text, special_ids, plain_ids in zip(texts, with_special, without, strict=True):
        ids = ours.encode(text, allow_special=True)
        assert ids == special_ids, text
        plain = ours.encode(text)
        if kind not in UNGUARDED or not any(name in text for name in forbidden):
            assert plain == plain_ids, text
        assert unspaced(ours.decode(ids)) == unspaced(theirs.decode(ids)), text


def unspaced(text: str) -> str:
    """The text without spaces between Chinese characters, where transformers alone has them."""
    wide = "\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef\U00020000-\U0002ffff"
    quotes = "“”‘’…—·"
    while (shorter := re.sub(f"([{wide}]) ([{wide}{quotes}])|([{quotes}]) ([{wide}])", r"\1\2\3\4", text)) != text:
        text = shorter
    return text


@pytest.mark.slow
@every_kind
def test_random_texts_equal_transformers(kind: str) -> None:
    assert_equal(kind, seed=0, count=2000)


@pytest.mark.slow
@every_kind
def test_many_random_texts_equal_transformers(kind: str) -> None:
    assert_equal(kind, seed=1, count=10_000)


@every_kind
def test_a_stream_joined_is_the_whole_text(kind: str) -> None:
    ours, _ = both(kind)
    generator = random.Random(2)
    signs = [index for sign in (" ' ", " n't", " .", "'s", "“", "，", "🌍") for index in ours.encode(sign)]
    for _ in range(300):
        ids = [
            generator.choice(signs) if generator.random() < 0.4 else generator.randrange(ours.n_vocab)
            for _ in range(generator.randrange(30))
        ]
        ids = [index for index in ids if ours.token_bytes(index) is not None]
        stream = ours.stream()
        for _again in range(2):
            parts = [*map(stream.push, [*ids, ours.n_vocab]), stream.finish()]
            assert "".join(parts) == ours.decode(ids)


@every_kind
def test_a_stream_holds_little_back(kind: str) -> None:
    """After a word every earlier one has been returned."""
    ours, _ = both(kind)
    ids = ours.encode("the robot come the robot come the robot", allow_special=False)
    stream = ours.stream()
    parts = list(map(stream.push, ids))
    assert len("".join(parts)) >= len(ours.decode(ids)) - 2
    assert sum(map(bool, parts)) > len(parts) / 2


@every_kind
def test_text_never_becomes_a_control_token(kind: str) -> None:
    ours, _ = both(kind)
    generator = random.Random(3)
    control = {index for name, index in ours.control.items() if "unk" not in name.lower()}
    for name in ours.control:
        for text in (name, f"a {name}", f"{name}{name} b", f"x{name}", *(random_text(generator) + name for _ in "123")):
            assert not control & set(ours.encode(text))
        assert ours.control[name] in ours.encode(name, allow_special=True)
    words = ours.explain(" ".join(ours.control))
    assert not control & {index for word in words for index in word.ids}


@every_kind
def test_every_token_has_bytes_and_a_label_on_one_line(kind: str) -> None:
    ours, theirs = both(kind)
    for index in theirs.get_vocab().values():
        assert ours.token_bytes(index) is not None
        assert "\n" not in ours.label(index)
        assert ours.label(index) != f"#{index}"
    assert ours.token_bytes(ours.n_vocab) is None
    assert ours.label(ours.n_vocab) == f"#{ours.n_vocab}"


@every_kind
def test_an_explanation_has_the_ids_of_the_text(kind: str) -> None:
    ours, _ = both(kind)
    generator = random.Random(4)
    for _ in range(100):
        text = random_text(generator)
        for special in (False, True):
            words = ours.explain(text, allow_special=special)
            assert [index for word in words for index in word.ids] == ours.encode(text, allow_special=special)
            assert all(len(word.tokens) == len(word.ids) for word in words)


def test_words_of_an_explanation() -> None:
    ours, _ = both("vocab.txt, lower case")
    words = ours.explain("Robots 从前")
    assert [(word.text, word.tokens) for word in words] == [
        ("Robots", ("robot", "##s")),
        ("从", ("从",)),
        ("前", ("前",)),
    ]
    assert ours.explain("x [SEP]", allow_special=True)[-1] == Word("[SEP]", ("[SEP]",), (3,))


def test_chinese_reads_without_spaces() -> None:
    ours, theirs = both("vocab.txt, as it is")
    ids = ours.encode("他说：“机器人 robots 必须服从命令！”")
    assert ours.decode(ids) == "他说：“机器人 robots 必须服从命令！”"
    assert theirs.decode(ids) == "他 说 ： “ 机 器 人 robots 必 须 服 从 命 令 ！ ”"
    assert [ours.label(index) for index in ids[:5]] == ["他", "说", "：", "“", "机"]
    assert ours.label(ours.encode("robots")[-1]) == "##s"
    assert ours.token_bytes(ours.encode("robots")[-1]) == b"s"


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("Unigram", "a robot", [b" a", b" robot"]),
        ("BPE of words", "the robot", [b"the ", b"robot "]),
        ("BPE with byte fallback", "ȝ", [b" ", b"\xc8", b"\x9d"]),
        ("byte-level BPE of another pattern", " robot", [b" robot"]),
    ],
)
def test_bytes_of_tokens(kind: str, text: str, expected: list[bytes]) -> None:
    ours, _ = both(kind)
    assert b"".join(ours.token_bytes(index) or b"" for index in ours.encode(text)) == b"".join(expected)


def test_half_a_surrogate_is_replaced() -> None:
    ours, _ = both("BPE with byte fallback")
    assert ours.encode("a\ud800") == ours.encode("a\ufffd")


def test_a_codec_is_like_itself_only() -> None:
    ours, _ = both("Unigram")
    assert ours.encodes_like(LibraryTokenizer(ours.description, Roles(ours.control, ours.bos, ours.eos)))
    assert not ours.encodes_like(LibraryTokenizer(ours.description, Roles(ours.control)))
    assert not ours.encodes_like(Tokenizer.gpt2())
    assert not Tokenizer.gpt2().encodes_like(ours)


def test_invalid_arguments_are_errors_of_one_line() -> None:
    ours, _ = both("WordPiece")
    for ids in ([ours.n_vocab], [-1], [1.5], 7):
        with pytest.raises(UsageError, match="token id"):
            ours.decode(ids)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="text must be a str, not bytes"):
        ours.encode(b"a")  # type: ignore[arg-type]


def test_what_asks_for_more_than_ids_is_left_out(tmp_path: Path) -> None:
    """Cutting, filling up, tokens around a text, and merges that are dropped by chance."""
    tokenizer = unigram()
    plain = tokenizer.encode("the robot", add_special_tokens=False).ids
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path).encode("the robot") == plain
    KINDS["BPE of words"](tmp_path)
    description = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    description["model"]["dropout"] = 0.9
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    assert len({tuple(read_tokenizer(tmp_path).encode("robots may not injure")) for _ in range(20)}) == 1


def test_the_library_starts_no_threads_for_a_text() -> None:
    """Else a process could not be forked afterwards."""
    ours, _ = both("WordPiece")
    before = threads()
    ours.encode("the robot " * 2000)
    assert threads() == before


def threads() -> int:
    """Number of threads of this process, or 0 where that is not known."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d["model"].update(type="Bigram"), "the tokenizers library cannot read it"),
        (lambda d: d.update(normalizer={"type": "Lower"}), "the tokenizers library cannot read it"),
        (lambda d: d["model"].pop("vocab"), "the tokenizers library cannot read it"),
        (lambda d: d.update(model=7), "model must be a JSON object, not 7"),
        (
            lambda d: d["model"].update(type="BPE", vocab={}, merges=["a b"], continuing_subword_prefix="##"),
            "merge 1 is of 'b', which does not begin with '##'",
        ),
        (lambda d: d.update(added_tokens=[{"id": 7, "content": "<new>"}]), "cannot have the id 7: the next one is"),
        (lambda d: d.update(added_tokens=[{"id": "7", "content": "<new>"}]), "an added token without text and id"),
        (lambda d: d.update(added_tokens={}), "added_tokens must be a JSON list"),
    ],
)
def test_a_malformed_description_is_an_error_of_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    write_json(unigram)(tmp_path)
    description = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    change(description)
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=rf"tokenizer\.json: .*{reason}") as caught:
        read_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, 2**31, 2**40, "", "x", "▁", "[", "(?:", r"\p{L}+", [], {}, [[]], {"a": 0}),
    *([["a", 0.0]], {"type": "Sequence", "normalizers": []}),
]


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of everything in a JSON document; of long lists and objects of their beginning."""
    if place:
        yield place
    if isinstance(value, dict | list):
        keys = list(value)[:40] if isinstance(value, dict) else range(min(len(value), 12))
        for key in keys:
            yield from places(value[key], (*place, key))


def damage(document: Any, generator: random.Random) -> None:
    found = list(places(document))
    place = generator.choice([each for each in found if len(each) < 3 or each[0] != "model"] + found[-20:])
    for key in place[:-1]:
        document = document[key]
    if isinstance(document, dict) and generator.random() < 0.2:
        del document[place[-1]]
    else:
        document[place[-1]] = generator.choice(VALUES)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["WordPiece", "Unigram", "BPE of words", "BPE with byte fallback", "WordLevel"])
def test_damaged_descriptions_are_read_or_rejected_in_one_line(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = path.read_text(encoding="utf-8")
    generator = random.Random(5)
    outcomes = set()
    for _ in range(150):
        description = json.loads(whole)
        damage(description, generator)
        path.write_text(json.dumps(description))
        try:
            ours = read_tokenizer(tmp_path)
            ids = ours.encode("the robot </s> [SEP] 从前 🌍", allow_special=True)
            assert isinstance(decode_by(ours.stream(), ids) + ours.decode(ids), str)
            outcomes.add("read")
        except (CheckpointError, UsageError) as error:
            outcomes.add(f"rejected with {str(error).count(chr(10))} line ends")
    assert outcomes == {"read", "rejected with 0 line ends"}


def test_a_text_that_cannot_be_encoded_is_an_error_of_one_line() -> None:
    words = LibraryTokenizer({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}}, Roles({}))
    with pytest.raises(UsageError, match=r"tokenizer\.json: the text cannot be encoded: .*UNK") as caught:
        words.encode("b")
    assert "\n" not in str(caught.value)


def test_a_codec_without_files_writes_its_description(tmp_path: Path) -> None:
    ours, _ = both("WordPiece")
    LibraryTokenizer(ours.description, Roles(ours.control)).write(tmp_path)
    assert read_tokenizer(tmp_path).encode("the robot") == ours.encode("the robot")
