"""Tokenizer files: what is written is read again, foreign vocabularies keep their tokens, what is broken says so."""

import json
import random
from pathlib import Path

import pytest
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

from cutaway.errors import CheckpointError
from cutaway.tokenizer import parts
from cutaway.tokenizer.bpe import byte_symbols, from_symbols
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.files import TokenizerFiles, added_beside, read_vocabulary, save_tokenizer
from cutaway.tokenizer.vocabulary import END_OF_TEXT, Vocabulary

MERGES = [("a", "b"), ("ab", "c"), ("Ġ", "abc")]
IDS = {token: index for index, token in enumerate([*byte_symbols().values(), "ab", "abc", "Ġabc"])}
SMALL = Vocabulary(IDS, MERGES, control={END_OF_TEXT: 259}, end_of_text=259)


def tokenizer_json() -> FastTokenizer:
    """Write the small vocabulary with the `tokenizers` library."""
    fast = FastTokenizer(models.BPE(IDS | {END_OF_TEXT: 259}, MERGES))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([END_OF_TEXT])
    return fast


def write(directory: Path, **files: object) -> Path:
    """Files named as the keys, a dot for each underscore pair; a str as it is, anything else as JSON."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (directory / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return directory


def pair(directory: Path, **files: object) -> Path:
    """The small vocabulary as `vocab.json` and `merges.txt`, with some files replaced or added."""
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in MERGES)
    return write(directory, **{"vocab__json": IDS | {END_OF_TEXT: 259}, "merges__txt": merges, **files})


ADDED = [
    SMALL,
    Vocabulary(IDS, MERGES, {END_OF_TEXT: 259, "<pad>": 300}, 259, {"größer": 261, "<user>": 270}),
    Vocabulary({token: index + 5 for token, index in IDS.items()}, MERGES, {"</s>": 2, "<s>": 0, "<mask>": 1}, 2),
]


@pytest.mark.parametrize("vocabulary", ADDED)
def test_write_and_read_round_trip(tmp_path: Path, vocabulary: Vocabulary) -> None:
    TokenizerFiles.of(vocabulary).write(tmp_path)
    assert read_vocabulary(tmp_path) == vocabulary
    assert {path.name for path in tmp_path.iterdir()} == {"vocab.json", "merges.txt", "tokenizer_config.json"}


def test_a_tokenizer_json_is_read(tmp_path: Path) -> None:
    tokenizer_json().save(str(tmp_path / "tokenizer.json"))
    assert read_vocabulary(tmp_path) == SMALL


def test_reads_vocab_and_merges_with_any_line_endings(tmp_path: Path) -> None:
    assert read_vocabulary(pair(tmp_path)) == SMALL
    assert read_vocabulary(pair(tmp_path, merges__txt="a b\r\nab c\r\nĠ abc\r\n")) == SMALL


def test_merges_may_be_pairs_or_lines(tmp_path: Path) -> None:
    data = json.loads(tokenizer_json().to_str())
    for merges in (["a b", "ab c", "Ġ abc"], [["a", "b"], ["ab", "c"], ["Ġ", "abc"]]):
        data["model"]["merges"] = merges
        assert read_vocabulary(write(tmp_path, tokenizer__json=data)) == SMALL


def test_added_tokens_are_found_before_bpe_and_control_tokens_on_request(tmp_path: Path) -> None:
    fast = tokenizer_json()
    fast.add_tokens(["größer", AddedToken("cab", normalized=False)])
    fast.add_special_tokens(["<pad>"])
    fast.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_files(tmp_path)
    for text in ["abc größer abcab", "cabc<pad>", "größergrößer", END_OF_TEXT]:
        assert ours.encode(text, allow_special=True) == fast.encode(text).ids
        assert ours.decode(ours.encode(text)) == text
        pieces = ours.explain(text)
        assert [index for piece in pieces for index in piece.ids] == ours.encode(text)
        assert b"".join(from_symbols(token) for piece in pieces for token in piece.tokens).decode() == text
    assert ours.encode("<pad>") == ours.encode("<") + ours.encode("pad>")
    assert ours.n_vocab == 263


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"special_tokens_map__json": {"eos_token": "</s>"}}, "</s>"),
        ({"tokenizer_config__json": {"eos_token": {"content": "</s>", "lstrip": False}}}, "</s>"),
        ({"special_tokens_map__json": {"eos_token": "x"}, "tokenizer_config__json": {"eos_token": "</s>"}}, "</s>"),
        ({"tokenizer_config__json": {"eos_token": "not there"}}, END_OF_TEXT),
        ({"added_tokens__json": {"[END]": 261}, "special_tokens_map__json": {"eos_token": "[END]"}}, "[END]"),
        ({"tokenizer_config__json": {"eos_token": "abc"}}, "abc"),
    ],
)
def test_the_checkpoint_says_which_token_ends_a_text(tmp_path: Path, files: dict[str, object], name: str) -> None:
    vocabulary = read_vocabulary(pair(tmp_path, vocab__json=IDS | {END_OF_TEXT: 259, "</s>": 260}, **files))
    assert vocabulary.end_of_text == vocabulary.control[name]


def model(**changes: object) -> dict[str, object]:
    data: dict[str, dict[str, object]] = json.loads(tokenizer_json().to_str())
    return {**data, "model": {**data["model"], **changes}}


def whole(**changes: object) -> dict[str, object]:
    return {**json.loads(tokenizer_json().to_str()), **changes}


def splitter(**changes: object) -> dict[str, object]:
    return whole(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "use_regex": True} | changes)


def settings(**changes: object) -> dict[str, object]:
    return {"vocab__json": IDS, "merges__txt": "", "tokenizer_config__json": changes}


BROKEN: dict[str, tuple[dict[str, object], str]] = {
    "no files": ({}, "holds no tokenizer: expected tokenizer.json, or vocab.json and merges.txt"),
    "half a pair": ({"vocab__json": IDS}, "holds no tokenizer"),
    "not JSON": ({"tokenizer__json": "{"}, "tokenizer.json: it is not valid JSON: Expecting property name"),
    "nested": ({"tokenizer__json": "[" * 200_000}, "tokenizer.json: it is nested too deeply"),
    "a list": ({"tokenizer__json": []}, "tokenizer.json: it must be a JSON object, not []"),
    "no model": ({"tokenizer__json": {}}, "tokenizer.json: model must be a JSON object, not None"),
    "WordPiece": ({"tokenizer__json": model(type="WordPiece")}, "is a 'WordPiece' tokenizer; GPT-2's is byte-"),
    "suffix": ({"tokenizer__json": model(end_of_word_suffix="</w>")}, "sets model.end_of_word_suffix to '</w>'"),
    "dropout": ({"tokenizer__json": model(dropout=0.1)}, "sets model.dropout to 0.1"),
    "normalizer": ({"tokenizer__json": whole(normalizer={"type": "NFC"})}, "has a normalizer"),
    "Metaspace": ({"tokenizer__json": splitter(type="Metaspace")}, "splits text with {"),
    "no splitter": ({"tokenizer__json": whole(pre_tokenizer=None)}, "splits text with None"),
    "prefix": ({"tokenizer__json": splitter(add_prefix_space=True)}, "must have add_prefix_space false"),
    "no regex": ({"tokenizer__json": splitter(use_regex=False)}, "use_regex true"),
    "no merges": ({"tokenizer__json": model(merges=None)}, "model.merges must be a JSON list, not None"),
    "one-sided": ({"tokenizer__json": model(merges=["a b", "ab"])}, "merge 2 is not a merge of two tokens: 'ab'"),
    "numbers": ({"tokenizer__json": model(merges=[[1, 2]])}, "merge 1 is not a merge of two tokens: [1, 2]"),
    "unknown": ({"tokenizer__json": model(merges=["a c"])}, "a merge makes 'ac', which is not a token of bytes"),
    "no symbols": (
        {"tokenizer__json": model(vocab=IDS | {"▁a": 300}, merges=["▁ a"])},
        "a merge makes '▁a', which is not",
    ),
    "missing": (
        {"tokenizer__json": model(merges=["ab c"])},
        "there is a merge of 'ab' and 'c', but none that makes the",
    ),
    "no bytes": ({"tokenizer__json": model(vocab={"a": 0})}, "255 of the 256 bytes have no token, such as '!'"),
    "negative": ({"tokenizer__json": model(vocab={"a": -1})}, "the id of 'a' must be a whole number from 0 to"),
    "boolean": ({"tokenizer__json": model(vocab={"a": True})}, "the id of 'a' must be a whole number"),
    "twice": ({"tokenizer__json": model(vocab=IDS | {"x": 7})}, "the id 7 has two tokens"),
    "two ids": ({"tokenizer__json": whole(added_tokens=[{"id": 3, "content": END_OF_TEXT}])}, "has two ids, 259 and 3"),
    "no text": ({"tokenizer__json": whole(added_tokens=[{"id": 3, "content": ""}])}, "a token that is not text: ''"),
    "surrogate": ({"tokenizer__json": whole(added_tokens=[{"id": 3, "content": "\ud800"}])}, "not text: '\\ud800'"),
    "no entry": ({"tokenizer__json": whole(added_tokens=[7])}, "an added token must be a JSON object, not 7"),
    "strip": (
        {"tokenizer__json": whole(added_tokens=[{"id": 300, "content": "x", "special": False, "lstrip": True}])},
        "the added token 'x' has lstrip set, which is not supported",
    ),
    "merges": ({"vocab__json": IDS, "merges__txt": "#version: 0.2\na b\n\na b c\n"}, "merges.txt: line 4 is not a"),
    "bytes": ({"vocab__json": IDS, "merges__txt": "a b\udcff"}, "merges.txt: is not UTF-8 at byte 3"),
    "prefix space": (settings(add_prefix_space=True), "tokenizer_config.json: sets add_prefix_space"),
    "id": (settings(added_tokens_decoder={"x": {"content": "y"}}), "the id of 'y' must be a whole number"),
    "digits": (
        {"vocab__json": IDS, "merges__txt": "", "added_tokens__json": '{"x": ' + "9" * 5000 + "}"},
        "added_tokens.json: it is not valid JSON",
    ),
    "settings": ({"tokenizer_config__json": "null"}, "tokenizer_config.json: it must be a JSON object, not None"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_rejects_a_malformed_file_in_one_line(tmp_path: Path, case: str) -> None:
    files, message = BROKEN[case]
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name.replace("__", ".")).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.from_files(tmp_path)
    line = str(caught.value)
    assert message in line
    assert line.startswith(str(tmp_path))
    assert line.isprintable()
    assert len(line) < len(str(tmp_path)) + 200


def test_does_not_read_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_BYTES", 100)
    with pytest.raises(CheckpointError, match=r"vocab\.json: is larger than the 100 bytes"):
        Tokenizer.from_files(pair(tmp_path))


@pytest.mark.parametrize("layout", ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"])
@pytest.mark.slow
def test_damaged_files_are_read_or_rejected(tmp_path: Path, layout: str) -> None:
    """Whatever bytes are changed, cut out or doubled: a vocabulary that works, or a CheckpointError of one line."""
    TokenizerFiles.of(SMALL).write(tmp_path)
    if layout == "tokenizer.json":
        tokenizer_json().save(str(tmp_path / layout))
    sound = (tmp_path / layout).read_bytes()
    rng = random.Random(layout)
    for _ in range(250):
        (tmp_path / layout).write_bytes(damage(sound, rng))
        check(tmp_path)


def check(directory: Path) -> None:
    try:
        tokenizer = Tokenizer.from_files(directory)
    except CheckpointError as error:
        line = str(error)
    else:
        line = text = "abc abc é"
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert [index for piece in tokenizer.explain(text) for index in piece.ids] == ids
    assert line.isprintable()


def damage(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice([1, 1, 2, 5, 40, 10_000]))
    return rng.choice(
        [
            data[:start] + rng.randbytes(end - start) + data[end:],
            data[:start] + rng.choice([b"0", b'"', b"-", b"}", b"]", b"null", b"\n", b" "]) + data[end:],
            data[:start] + data[end:],
            data[:end] + data[start:],
        ]
    )


def test_save_creates_the_directory_or_raises_one_line(tmp_path: Path) -> None:
    save_tokenizer(Tokenizer(SMALL), tmp_path / "a" / "b")
    assert read_vocabulary(tmp_path / "a" / "b") == SMALL
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "c", tmp_path / ("x" * 300)):
        with pytest.raises(CheckpointError, match="cannot be saved: "):
            save_tokenizer(Tokenizer(SMALL), place)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such directory"):
        read_vocabulary(tmp_path / "nowhere")


def test_a_token_of_the_older_file_is_a_control_token_if_it_has_a_role(tmp_path: Path) -> None:
    (tmp_path / "added_tokens.json").write_text('{"<pad>": 7, "<name>": 8}')
    found = added_beside(tmp_path, {"pad_token": "<pad>"})
    assert [(token.text, token.control) for token in found] == [("<pad>", True), ("<name>", False)]
