"""Tokenizers of other kinds than GPT-2's, by the `tokenizers` library: WordPiece, Unigram, WordLevel, and other BPEs.

Any `tokenizer.json` is read, and BERT's `vocab.txt`. Ids are those of transformers. No tokens are added around a text
([CLS], [SEP], ...), as in transformers' text generation. Without `allow_special`, names of control tokens in a text are
plain text, and no part of a text gets the id of a control token.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutaway.checks import check_int, show
from cutaway.errors import CheckpointError, UsageError
from cutaway.layout import visible
from cutaway.tokenizer.bpe import from_symbols, is_symbols
from cutaway.tokenizer.codec import TextDecoder, TokenCodec
from cutaway.tokenizer.fast import valid_unicode
from cutaway.tokenizer.joining import CleanedStream, WindowStream, WordPieceStream, clean_up, decode_by
from cutaway.tokenizer.parts import parse_pair, to_list
from cutaway.untrusted import quote, quote_path, raise_checkpoint_error

if TYPE_CHECKING:  # not needed for a first token
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Library

    from cutaway.tokenizer.files import TokenizerFiles

Description = Mapping[str, Any]  # what a tokenizer.json holds


@dataclass(frozen=True)
class Word:
    """A part of a text that is encoded by itself, and its tokens."""

    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Roles:
    """Control tokens by text, and those that begin and end a text, if there are any."""

    control: Mapping[str, int]
    bos: int | None = None
    eos: int | None = None


class LibraryTokenizer:
    """The `Codec` of a `tokenizer.json`.

    With `clean_up`, decoding removes the spaces before punctuation, as transformers' `clean_up_tokenization_spaces`
    does. Raises CheckpointError if the library cannot read the description; `place` says where it comes from.

    >>> words = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "robot": 2}, "unk_token": "[UNK]"}
    >>> codec = LibraryTokenizer({"model": words, "pre_tokenizer": {"type": "Whitespace"}}, Roles({}))
    >>> codec.encode("a robot obeys"), codec.n_vocab
    ([1, 2, 0], 3)
    """

    def __init__(
        self,
        description: Description,
        roles: Roles,
        *,
        clean_up: bool = False,
        files: "TokenizerFiles | None" = None,
        place: Path = Path("tokenizer.json"),
    ) -> None:
        self.description = _without_extras(description)
        _check_merges(self.description["model"], place)
        self.control = roles.control
        self.bos = roles.bos
        self.eos = roles.eos
        self._files = files
        self._place = place
        self._clean_up = clean_up and self.description["model"].get("type") != "BPE"  # as transformers has it
        self.n_vocab = 1 + max(self._library.get_vocab(with_added_tokens=True).values(), default=0)
        self._parts = _parts(self.description.get("decoder"))

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the token ids of a text; names of control tokens in it are tokens only with `allow_special`.

        A lone surrogate, which UTF-8 cannot hold, is replaced by U+FFFD. Raises UsageError if the library cannot encode
        the text.
        """
        ids: list[int] = self._encoding(text, allow_special).ids
        return ids

    def encodes_like(self, other: TokenCodec) -> bool:
        """Return True if another codec gives every text the same ids, and begins texts with the same token."""
        return (
            isinstance(other, LibraryTokenizer)
            and self.description == other.description
            and (self.control, self.bos) == (other.control, other.bos)
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids as transformers does, but without spaces between Chinese characters.

        Raises UsageError for an unknown id.
        """
        if not hasattr(ids, "__iter__"):
            raise UsageError(f"token ids must be a list, not {show(ids)}")
        checked = [self._check_known(index) for index in ids]
        if self._is_word_piece:
            return decode_by(self.stream(), checked)
        text = self._decode(checked)
        return clean_up(text) if self._clean_up else text

    def stream(self) -> TextDecoder:
        """Return a decoder for tokens that come one by one."""
        stream: TextDecoder
        if self._is_word_piece:
            decoder = self.description["decoder"]
            stream = WordPieceStream(self._token, decoder.get("prefix", "##"), cleanup=decoder.get("cleanup", True))
        else:
            stream = WindowStream(self._token, self._decode)
        return CleanedStream(stream) if self._clean_up else stream

    def token_bytes(self, index: int) -> bytes | None:
        """Return the bytes of a token, without the mark of a token that continues a word; None for an unknown id."""
        index = check_int("a token id", index, 0)
        token = self._token(index)
        if token is None:
            return None
        if token in self.control:
            return token.encode()
        if "ByteLevel" in self._parts and is_symbols(token):
            return from_symbols(token)
        if "ByteFallback" in self._parts and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        for before, after in self._marks:
            token = token.replace(before, after)
        return token.encode()

    def label(self, index: int) -> str:
        """Return a token on one line with white space made visible, "#id" for an unknown id.

        A token of BERT that continues a word keeps its mark, "##ing".
        """
        data = self.token_bytes(index)
        if data is None:
            return f"#{index}"
        return visible((self._token(index) or "").encode() if self._is_word_piece else data)

    def explain(self, text: str, *, allow_special: bool = False) -> list[Word]:
        """Return the words that a text is split into, and the tokens of each."""
        text = valid_unicode(text)
        encoding = self._encoding(text, allow_special)
        pieces = zip(encoding.word_ids, encoding.offsets, encoding.tokens, encoding.ids, strict=True)
        return list(_words(text, pieces))

    def token_id(self, text: str) -> int | None:
        """Return the id of a token as the vocabulary writes it; None for an unknown one."""
        index: int | None = self._library.token_to_id(text)
        return index

    def write(self, directory: Path) -> None:
        """Write the files that the tokenizer was read from, or a `tokenizer.json`. Raises OSError if that fails."""
        if self._files is not None:
            self._files.write(directory)
        else:
            (directory / "tokenizer.json").write_text(self._library.to_str(), encoding="utf-8")

    def _encoding(self, text: str, allow_special: bool) -> "Encoding":
        if not isinstance(text, str):
            raise UsageError(f"text must be a str, not {type(text).__name__}")
        text = valid_unicode(text)
        if allow_special:
            return self._run(self._library, text)
        encoding = self._run(self._plain, text)
        forbidden = self._forbidden
        return self._run(self._guarded, text) if any(index in forbidden for index in encoding.ids) else encoding

    def _run(self, library: "Library", text: str) -> "Encoding":
        with _one_line(UsageError, f"{quote_path(self._place)}: the text cannot be encoded"):
            return library.encode(text, add_special_tokens=False)

    def _decode(self, ids: Sequence[int]) -> str:
        with _one_line(UsageError, f"{quote_path(self._place)}: the ids cannot be decoded"):
            text: str = self._library.decode(list(ids), skip_special_tokens=False)
            return text

    @cached_property
    def _library(self) -> "Library":
        return self._load(self.description)

    @cached_property
    def _plain(self) -> "Library":
        """The same tokenizer, for which names of control tokens are text."""
        library = self._load(self.description)
        library.encode_special_tokens = True
        return library

    @cached_property
    def _guarded(self) -> "Library":
        """The same for models that find names of control tokens in a text by themselves, as Unigram does."""
        model = dict(self.description["model"])
        forbidden = self._forbidden
        if isinstance(model["vocab"], list):
            model["vocab"] = [
                [_hidden(i) if i in forbidden else piece, score] for i, (piece, score) in enumerate(model["vocab"])
            ]
        else:
            model["vocab"] = {_hidden(i) if i in forbidden else piece: i for piece, i in model["vocab"].items()}
        added = [token for token in self.description.get("added_tokens", ()) if token["id"] not in forbidden]
        return self._load({**self.description, "model": model, "added_tokens": added})

    @cached_property
    def _forbidden(self) -> frozenset[int]:
        """Ids of the control tokens that no text may get: all but the unknown token, which stands for unknown text."""
        model = self.description["model"]
        unknown = model.get("unk_token")
        return frozenset(
            index for text, index in self.control.items() if text != unknown and index != model.get("unk_id")
        )

    def _load(self, description: Description) -> "Library":
        from tokenizers import Tokenizer as Library

        with _one_line(CheckpointError, f"{quote_path(self._place)}: the tokenizers library cannot read it"):
            return Library.from_str(json.dumps(description))

    def _token(self, index: int) -> str | None:
        token: str | None = self._library.id_to_token(index)
        return token

    def _check_known(self, index: int) -> int:
        index = check_int("a token id", index, 0, self.n_vocab - 1)
        if self._token(index) is None:
            raise UsageError(f"unknown token id {index}: this vocabulary has a gap there")
        return index

    @cached_property
    def _is_word_piece(self) -> bool:
        return bool(self._parts == ("WordPiece",))

    @cached_property
    def _marks(self) -> list[tuple[str, str]]:
        """List the marks in tokens, and the text that decoding puts in place of each."""
        return list(_marks(self.description.get("decoder")))


def _without_extras(description: Description) -> dict[str, Any]:
    """Drop what a tokenizer.json may ask for besides ids: truncation, padding, tokens around a text, and dropout."""
    model = description.get("model")
    if isinstance(model, dict) and model.get("dropout") is not None:
        description = {**description, "model": {**model, "dropout": None}}
    return {**description, "truncation": None, "padding": None, "post_processor": None}


def _check_merges(model: Any, place: Path) -> None:
    """Raise CheckpointError for merges on which the library would end the process instead of raising an error."""
    if not isinstance(model, dict):
        raise_checkpoint_error(place, f"model must be a JSON object, not {quote(model)}")
    prefix = model.get("continuing_subword_prefix")
    if model.get("type", "BPE") != "BPE" or not isinstance(prefix, str):
        return
    for number, entry in enumerate(to_list(place, "model.merges", model.get("merges")), 1):
        _, right = parse_pair(place, f"merge {number}", entry)
        if not right.startswith(prefix):
            raise_checkpoint_error(
                place, f"merge {number} is of {quote(right)}, which does not begin with {quote(prefix)}"
            )


def _components(decoder: Any) -> Iterator[Description]:
    """Yield a decoder, or the decoders of a sequence."""
    if isinstance(decoder, dict) and decoder.get("type") == "Sequence":
        for each in decoder.get("decoders", ()):
            yield from _components(each)
    elif isinstance(decoder, dict):
        yield decoder


def _parts(decoder: Any) -> tuple[str, ...]:
    return tuple(str(each.get("type")) for each in _components(decoder))


def _marks(decoder: Any) -> Iterator[tuple[str, str]]:
    for each in _components(decoder):
        match each:
            case {"type": "Metaspace", "replacement": str(mark)}:
                yield mark, " "
            case {"type": "Replace", "pattern": {"String": str(mark)}, "content": str(content)}:
                yield mark, content
            case {"type": "BPEDecoder", "suffix": str(mark)}:
                yield mark, " "
            case {"type": "WordPiece", "prefix": str(mark)}:
                yield mark, ""


def _hidden(index: int) -> str:
    """Return a name for a token that no text may match: it is made of characters that no text contains."""
    return f"\ufdd0\ufdd1\ufdd2{index}\ufdd3\ufdd4\ufdd5"


Piece = tuple[int | None, tuple[int, int], str, int]  # number of the word, place in the text, token, id


def _words(text: str, pieces: Iterable[Piece]) -> Iterator[Word]:
    for _, group in groupby(enumerate(pieces), lambda entry: (-1 - entry[0]) if entry[1][0] is None else entry[1][0]):
        word = [piece for _, piece in group]
        first = min(start for _, (start, _), _, _ in word)
        last = max(end for _, (_, end), _, _ in word)
        yield Word(text[first:last], tuple(token for _, _, token, _ in word), tuple(index for _, _, _, index in word))


@contextmanager
def _one_line(kind: type[CheckpointError | UsageError], what: str) -> Iterator[None]:
    """Turn an error of the library into a one-line error. Its panics are not Exceptions."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise kind(f"{what}: {quote(' '.join(str(error).split()) or type(error).__name__)}") from error
