"""Records of text files, for training, fine-tuning and evaluation.

A text file is one record. So is each line of JSON Lines, and each row of Parquet with columns of these names. Lines and
rows have one of three forms; other keys are ignored:

    {"text": "..."}                                       a document
    {"prompt": "...", "completion": "..."}                a prompt, and the text to learn
    {"messages": [{"role": "user", "content": "..."}]}    a conversation; roles are system, user and assistant

`cutaway.data.chat` writes a conversation as text. Each of the assistant's messages is learned, given all before it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from cutaway.data.chat import Message, parse_messages, write_message, write_prompt
from cutaway.data.json_lines import parse_json_line
from cutaway.data.sources import LINES, PARQUET, Tap, decode_text, is_plain_text, kind_of, open_bytes, parquet_rows
from cutaway.errors import UsageError
from cutaway.untrusted import quote, quote_path

PAIR = ("prompt", "completion")
MESSAGES = ("messages",)

# A text file is held out in blocks of lines: at least twenty blocks, none much larger than this.
_BLOCK = 8000  # characters
_BLOCKS = 20


@dataclass(frozen=True)
class Turn:
    """A completion, which is learned, and its prompt, which is not. An empty prompt begins a document."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Record:
    """The turns of a line or row of a file, of a text file, or of a block of it. `place` is "FILE:LINE".

    With `is_document` the text may be cut anywhere to fit a context; completions are never cut.
    """

    place: str
    turns: tuple[Turn, ...]
    is_document: bool = False
    is_conversation: bool = False

    @property
    def digest(self) -> bytes:
        """SHA-256 of the texts."""
        texts = json.dumps([(turn.prompt, turn.completion) for turn in self.turns])
        return hashlib.sha256(texts.encode()).digest()


def read_documents(path: Path, field: str = "text", tap: Tap | None = None) -> Iterator[Record]:
    """Yield the records of a file of any kind; a text file is a single record. `field` is the key of a text.

    `tap` is called with the raw bytes of the file. Raises UsageError, naming an invalid line, or a file that cannot be
    read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "robots.jsonl")
    ...     _ = path.write_text('{"prompt": "Who are you?", "completion": " A robot."}')
    ...     [record] = read_documents(path)
    >>> record.turns
    (Turn(prompt='Who are you?', completion=' A robot.'),)
    """
    place = quote_path(path)
    kind = kind_of(path)
    if kind in PARQUET:
        rows = parquet_rows(path, (field, *PAIR, *MESSAGES), tap)
        yield from (parse_record(row, f"{place}:{number}", field) for number, row in enumerate(rows, start=1))
        return
    with open_bytes(path, tap) as (stream, _):
        if kind in LINES:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield parse_line(line, f"{place}:{number}", field)
        else:
            yield Record(f"{place}:1", (Turn("", decode_text(stream.read(), place)),), is_document=True)


def read_records(path: Path) -> list[Record]:
    """Read the records of a file for fine-tuning; a text file is cut into blocks of lines.

    Raises UsageError as `read_documents` does, and if the file is empty or a folder.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "poem.txt")
    ...     _ = path.write_text("To be,\\nor not\\n")
    ...     [record.turns[0].completion for record in read_records(path)]
    ['To be,\\n', 'or not\\n']
    """
    if path.is_dir():
        raise UsageError(f"{quote_path(path)}: is a folder; give one file, such as JSON Lines with a text a line")
    records = list(read_documents(path))
    if is_plain_text(path):
        records = list(_blocks(path, records[0].turns[0].completion))
    if not records:
        raise UsageError(f"{quote_path(path)}: is empty")
    return records


def parse_line(line: bytes, place: str, field: str = "text") -> Record:
    """Parse a line of JSON Lines. Raises UsageError, beginning with `place`, if it has none of the three forms.

    >>> parse_line(b'{"text": "A robot."}', "robots.jsonl:1").is_document
    True
    >>> parse_line(b'{"promt": "A", "completion": " robot"}', "robots.jsonl:2")
    Traceback (most recent call last):
    cutaway.errors.UsageError: robots.jsonl:2: unknown key 'promt'; did you mean 'prompt'?
    """
    return parse_record(parse_json_line(line, place, f"a JSON object, {_forms(field)}"), place, field)


def parse_record(value: Mapping[str, object], place: str, field: str = "text") -> Record:
    """Parse an object. Raises UsageError, beginning with `place`, if it has none or several of the three forms.

    >>> parse_record({"body": "A robot."}, "robots.jsonl:1", field="body").turns
    (Turn(prompt='', completion='A robot.'),)
    """
    forms = [keys for keys in ((field,), PAIR, MESSAGES) if all(key in value for key in keys)]
    if len(forms) != 1:
        raise UsageError(f"{place}: {_unknown_form([*value], field)}")
    if forms == [MESSAGES]:
        messages = parse_messages(value["messages"], place)
        said = [{**message, "content": valid_unicode(message["content"])} for message in messages]
        return Record(place, tuple(render_messages(said)), is_conversation=True)
    if forms == [PAIR]:
        return Record(place, (Turn(_text(value, "prompt", place), _text(value, "completion", place)),))
    return Record(place, (Turn("", _text(value, field, place)),), is_document=True)


def _forms(field: str) -> str:
    return f'{{"{field}"}}, {{"prompt", "completion"}} or {{"messages"}}'


def _unknown_form(keys: Sequence[str], field: str) -> str:
    from difflib import get_close_matches  # only an error needs it, so it does not delay the first token

    known = {field, *PAIR, *MESSAGES}
    for key in keys:
        near = get_close_matches(key[:80], known - set(keys), n=1)
        if near and key not in known:
            return f"unknown key {quote(key)}; did you mean {near[0]!r}?"
    return f"must be {_forms(field)}, and has {', '.join(map(quote, keys[:8])) or 'no keys'}"


def _text(value: Mapping[str, object], key: str, place: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise UsageError(f"{place}: {key!r} must be text, not {quote(text)}")
    return valid_unicode(text)


def valid_unicode(text: str) -> str:
    """Replace lone surrogates, which are valid in JSON but not in UTF-8, by U+FFFD, as the tokenizer does.

    >>> valid_unicode("a" + chr(0xD800))
    'a�'
    """
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def render_messages(messages: Sequence[Message]) -> list[Turn]:
    """Convert a conversation to turns: one for each message of the assistant, given everything before it.

    >>> [turn] = render_messages([{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}])
    >>> turn
    Turn(prompt='User: Hi.\\n\\nAssistant:', completion=' Hello.')
    """
    turns = []
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = write_prompt(messages[:place])
            turns.append(Turn(prompt, write_message(message).removeprefix("Assistant:")))
    return turns


def _blocks(path: Path, text: str) -> Iterator[Record]:
    line = 1
    for block in cut_blocks(text):
        yield Record(f"{quote_path(path)}:{line}", (Turn("", block),), is_document=True)
        line += block.count("\n")


def cut_blocks(text: str) -> list[str]:
    """Cut a text at line ends into blocks, at least twenty if it has as many lines. Joined, they are the text.

    >>> cut_blocks("To be,\\nor not\\nto be.\\n")
    ['To be,\\n', 'or not\\n', 'to be.\\n']
    """
    size = min(_BLOCK, len(text) // _BLOCKS)
    blocks = []
    start = 0
    while start < len(text):
        newline = text.find("\n", start + size)
        end = len(text) if newline < 0 else newline + 1
        blocks.append(text[start:end])
        start = end
    return blocks


class Digested(Protocol):
    """A record with its place and the SHA-256 of its content."""

    @property
    def place(self) -> str: ...

    @property
    def digest(self) -> bytes: ...


AnyRecord = TypeVar("AnyRecord", bound=Digested)


def split_records(records: Sequence[AnyRecord], share: float) -> tuple[list[AnyRecord], list[AnyRecord]]:
    """Split records into training and validation records: `share` of them for validation, at least one of each.

    The order of the hashes of their texts decides, so that the split is deterministic, does not depend on the order of
    lines, and keeps equal records together. With a share of 0 there are no validation records. Raises UsageError if
    there are too few distinct records.

    >>> records = [Record(f"numbers.jsonl:{n}", (Turn("", str(n)),)) for n in range(100)]
    >>> train, valid = split_records(records, 0.05)
    >>> len(train), len(valid)
    (95, 5)
    """
    if share == 0:
        return list(records), []
    digests = [record.digest for record in records]
    kept = lowest_digests(digests, share)
    if not kept:
        raise UsageError(
            f"{records[0].place}: a single example cannot be split for validation; give --valid FILE, or --valid 0%"
        )
    train = [record for record, digest in zip(records, digests, strict=True) if digest not in kept]
    valid = [record for record, digest in zip(records, digests, strict=True) if digest in kept]
    return train, valid


def lowest_digests(digests: Sequence[bytes], share: float) -> set[bytes]:
    """Return the lowest `share` of the distinct digests: at least one, but never all, so none if there is only one.

    >>> lowest_digests([b"a", b"b", b"b", b"c"], 0.01)
    {b'a'}
    """
    ordered = sorted(set(digests))
    return set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])


def take_share(records: Sequence[AnyRecord], share: float) -> list[AnyRecord]:
    """Return a share of the distinct records, at least one, in their order. A larger share includes a smaller one.

    >>> records = [Record(f"numbers.jsonl:{n}", (Turn("", str(n)),)) for n in range(100)]
    >>> len(take_share(records, 0.03)), len(take_share(records, 1.0))
    (3, 100)
    """
    ordered = sorted({record.digest for record in records})
    kept = set(ordered[: max(1, round(share * len(ordered)))])
    return [record for record in records if record.digest in kept]
