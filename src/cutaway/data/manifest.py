"""The manifest of a prepared corpus: its tokenizer, its shards with their SHA-256, and its counts."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cutaway.checks import check_int
from cutaway.disk import replacing_file
from cutaway.errors import CheckpointError, UsageError
from cutaway.untrusted import quote, quote_path, read_object

MANIFEST = "manifest.json"
FORMAT = "cutaway-tokens/1"
SPLITS = ("train", "valid")
DTYPES = ("uint16", "uint32")
_MAX_BYTES = 1 << 28  # a source takes about 100 bytes


@dataclass(frozen=True)
class TokenizerEntry:
    """The tokenizer that encoded the corpus; `sha256` is the hash of its files (`disk.hash_files`)."""

    name: str
    n_vocab: int
    bos: int | None
    eos: int | None
    sha256: str


@dataclass(frozen=True)
class ShardEntry:
    """A shard. `file` is the name of its file of token ids; `sha256` is the hash of all its files, concatenated."""

    file: str
    tokens: int
    documents: int
    sha256: str


@dataclass(frozen=True)
class SplitEntry:
    """Counts of a split. `bytes` is the size of the text in UTF-8; `learned_tokens` is the number of targets."""

    tokens: int
    documents: int
    bytes: int
    learned_tokens: int
    shards: tuple[ShardEntry, ...]


@dataclass(frozen=True)
class Source:
    """A source file: its path as given, its size in bytes, and its split, or None if its documents are drawn."""

    path: str
    bytes: int
    split: str | None = None


@dataclass(frozen=True)
class Manifest:
    """Contents of `manifest.json`. `control_literals` counts names of control tokens that occur as text.

    `options` holds everything that determines the bytes, except files and tokenizer. `has_conversations` is True if
    some of the training text is messages.
    """

    tokenizer: TokenizerEntry
    dtype: str
    splits: Mapping[str, SplitEntry]
    sources: tuple[Source, ...]
    control_literals: int
    masked: bool
    options: Mapping[str, object] = field(default_factory=dict)
    has_conversations: bool = False

    def write(self, directory: Path) -> None:
        """Write `manifest.json`, replacing an existing one atomically. Raises OSError if that fails."""
        with replacing_file(directory / MANIFEST) as file:
            file.write((json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n").encode())


def read_manifest(directory: Path) -> Manifest:
    """Read `manifest.json`. Raises UsageError if it is missing, malformed or of an unsupported format version.

    >>> from tempfile import TemporaryDirectory
    >>> shard = ShardEntry("train-00000.tokens.npy", tokens=5, documents=1, sha256="")
    >>> split = SplitEntry(tokens=5, documents=1, bytes=17, learned_tokens=5, shards=(shard,))
    >>> tokenizer = TokenizerEntry("gpt2", 50257, 50256, 50256, sha256="")
    >>> with TemporaryDirectory() as directory:
    ...     Manifest(tokenizer, "uint16", {"train": split}, (), 0, False).write(Path(directory))
    ...     read_manifest(Path(directory)).splits["train"].tokens
    5
    """
    path = directory / MANIFEST
    if not path.is_file():
        reason = f"not a prepared corpus (no {MANIFEST})" if directory.exists() else "no such directory"
        raise UsageError(f"{quote_path(directory)}: {reason}; write a corpus with cutaway data prepare")
    try:
        document = read_object(path, _MAX_BYTES)
    except CheckpointError as error:
        raise UsageError(str(error)) from None
    if document.get("format") != FORMAT:
        raise UsageError(f"{quote_path(path)}: format must be {FORMAT!r}, not {quote(document.get('format'))}")
    return _Reader(path).manifest(document)


class _Reader:
    """Checks every field of a manifest, and names the file in the error."""

    def __init__(self, path: Path) -> None:
        self._path = quote_path(path)

    def manifest(self, document: Mapping[str, object]) -> Manifest:
        dtype = self._text(document, "dtype")
        if dtype not in DTYPES:
            raise UsageError(f"{self._path}: dtype must be uint16 or uint32, not {quote(dtype)}")
        splits = self._object(document, "splits")
        unknown = [name for name in splits if name not in SPLITS]
        if unknown or "train" not in splits:
            raise UsageError(f"{self._path}: splits must be train and perhaps valid, not {quote(list(splits))}")
        return Manifest(
            tokenizer=self._tokenizer(self._object(document, "tokenizer")),
            dtype=dtype,
            splits={name: self._split(self._object(splits, name)) for name in splits},
            sources=tuple(
                Source(self._text(entry, "path"), self._int(entry, "bytes"), self._split_name(entry))
                for entry in self._list(document, "sources")
            ),
            control_literals=self._int(document, "control_literals"),
            masked=self._bool(document, "masked"),
            options=self._as_object("options", document.get("options", {})),
            has_conversations="has_conversations" in document and self._bool(document, "has_conversations"),
        )

    def _tokenizer(self, entry: Mapping[str, object]) -> TokenizerEntry:
        return TokenizerEntry(
            self._text(entry, "name"),
            self._int(entry, "n_vocab"),
            None if entry.get("bos") is None else self._int(entry, "bos"),
            None if entry.get("eos") is None else self._int(entry, "eos"),
            self._text(entry, "sha256"),
        )

    def _split(self, entry: Mapping[str, object]) -> SplitEntry:
        shards = tuple(self._shard(shard) for shard in self._list(entry, "shards"))
        split = SplitEntry(
            self._int(entry, "tokens"),
            self._int(entry, "documents"),
            self._int(entry, "bytes"),
            self._int(entry, "learned_tokens"),
            shards,
        )
        summed = replace(
            split, tokens=sum(shard.tokens for shard in shards), documents=sum(shard.documents for shard in shards)
        )
        if split != summed:
            raise UsageError(f"{self._path}: the tokens and documents of a split must be those of its shards")
        return split

    def _shard(self, entry: Mapping[str, object]) -> ShardEntry:
        file = self._text(entry, "file")
        if Path(file).name != file or not file.endswith(".tokens.npy"):
            raise UsageError(f"{self._path}: a shard must be a file NAME.tokens.npy, not {quote(file)}")
        return ShardEntry(file, self._int(entry, "tokens"), self._int(entry, "documents"), self._text(entry, "sha256"))

    def _split_name(self, source: Mapping[str, object]) -> str | None:
        return None if source.get("split") is None else self._text(source, "split")

    def _object(self, entry: Mapping[str, object], key: str) -> Mapping[str, object]:
        return self._as_object(key, entry.get(key))

    def _as_object(self, key: str, value: object) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise UsageError(f"{self._path}: {key} must be a JSON object, not {quote(value)}")
        return value

    def _list(self, entry: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
        value = entry.get(key)
        if not isinstance(value, list):
            raise UsageError(f"{self._path}: {key} must be a JSON list, not {quote(value)}")
        return [self._as_object(f"an entry of {key}", item) for item in value]

    def _text(self, entry: Mapping[str, object], key: str) -> str:
        value = entry.get(key)
        if not isinstance(value, str):
            raise UsageError(f"{self._path}: {key} must be text, not {quote(value)}")
        return value

    def _bool(self, entry: Mapping[str, object], key: str) -> bool:
        value = entry.get(key)
        if not isinstance(value, bool):
            raise UsageError(f"{self._path}: {key} must be true or false, not {quote(value)}")
        return value

    def _int(self, entry: Mapping[str, object], key: str) -> int:
        return check_int(f"{self._path}: {key}", entry.get(key), 0)
