"""Parsing the parts of tokenizer files, each checked, with errors of one line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cutaway.untrusted import quote, raise_checkpoint_error, read_bytes, read_object

MAX_BYTES = 1 << 25  # twenty times the size of GPT-2's tokenizer.json
MAX_ID = 2**31 - 1

Json = Mapping[str, object]
Pair = tuple[str, str]


@dataclass(frozen=True)
class AddedToken:
    """A token that is looked up in the text: a control token, or a word that is found before BPE begins."""

    text: str
    index: int
    control: bool


def parse_ids(path: Path, entries: Json) -> dict[str, int]:
    """Parse an object of tokens and their ids.

    >>> parse_ids(Path("vocab.json"), {"Ġrobot": 9379})
    {'Ġrobot': 9379}
    """
    return {parse_text(path, text): parse_id(path, text, index) for text, index in entries.items()}


def parse_text(path: Path, text: object) -> str:
    """Parse a token, which is non-empty valid Unicode.

    >>> parse_text(Path("vocab.json"), 7)
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: vocab.json: has a token that is not text: 7
    """
    if not isinstance(text, str) or not text or text.encode(errors="ignore").decode() != text:
        raise_checkpoint_error(path, f"has a token that is not text: {quote(text)}")
    return text


def parse_id(path: Path, text: object, index: object) -> int:
    """Parse the id of the token `text`.

    >>> parse_id(Path("vocab.json"), "Ġrobot", -1)
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: vocab.json: the id of 'Ġrobot' must be a whole number from 0 to 2147483647, not -1
    """
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= MAX_ID:
        raise_checkpoint_error(
            path, f"the id of {quote(text)} must be a whole number from 0 to {MAX_ID}, not {quote(index)}"
        )
    return index


def parse_pair(path: Path, where: str, entry: object) -> Pair:
    """Parse a merge, "a b" or ["a", "b"].

    >>> parse_pair(Path("merges.txt"), "line 2", "Ġ t")
    ('Ġ', 't')
    """
    parts = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
        raise_checkpoint_error(path, f"{where} is not a merge of two tokens: {quote(entry)}")
    return parts[0], parts[1]


def parse_added(path: Path, entry: object, key: str | None = None) -> AddedToken:
    """Parse an entry of `added_tokens`, or of `added_tokens_decoder`, whose key is the id.

    >>> parse_added(Path("tokenizer.json"), {"id": 50256, "content": "<|endoftext|>", "special": True})
    AddedToken(text='<|endoftext|>', index=50256, control=True)
    """
    token = to_object(path, "an added token", entry)
    text = parse_text(path, token.get("content"))
    control = bool(token.get("special", True))
    for option in ("lstrip", "rstrip", "single_word"):
        if token.get(option) and not control:
            raise_checkpoint_error(path, f"the added token {quote(text)} has {option} set, which is not supported")
    index = token.get("id") if key is None else int(key) if key.isdecimal() and len(key) < 20 else key
    return AddedToken(text, parse_id(path, text, index), control)


def to_object(path: Path, what: str, value: object) -> Json:
    """Return `value`; raises CheckpointError unless it is a JSON object.

    >>> to_object(Path("tokenizer.json"), "model", [])
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: tokenizer.json: model must be a JSON object, not []
    """
    if not isinstance(value, dict):
        raise_checkpoint_error(path, f"{what} must be a JSON object, not {quote(value)}")
    return value


def to_list(path: Path, what: str, value: object) -> list[object]:
    """Return `value`; raises CheckpointError unless it is a JSON list.

    >>> to_list(Path("tokenizer.json"), "model.merges", ["Ġ t"])
    ['Ġ t']
    """
    if not isinstance(value, list):
        raise_checkpoint_error(path, f"{what} must be a JSON list, not {quote(value)}")
    return value


def read_json(path: Path) -> Json:
    """Read the JSON object in a tokenizer's file.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "vocab.json"
    ...     path.write_bytes(b'{"!": 0}')
    ...     read_json(path)
    8
    {'!': 0}
    """
    return read_object(path, MAX_BYTES)


def read_text(path: Path) -> str:
    """Read the UTF-8 text of a tokenizer's file.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "merges.txt"
    ...     path.write_bytes("Ġ t".encode())
    ...     read_text(path)
    4
    'Ġ t'
    """
    try:
        return read_bytes(path, MAX_BYTES).decode()
    except UnicodeDecodeError as error:
        raise_checkpoint_error(path, f"is not UTF-8 at byte {error.start}")
