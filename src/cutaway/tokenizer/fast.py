"""Byte-level BPE by the `tokenizers` library: text to GPT-2 token ids and back. `bpe.py` is the same to be read.

Tokens stand for bytes, not characters, so decoding a stream holds back incomplete characters. Names of control tokens
never enter `tokenizers`; with `allow_special`, the text is cut at them first. So untrusted text can never end a
document. Nothing here starts a thread, and TOKENIZERS_PARALLELISM is not touched, so the process may be forked
afterwards.
"""

import codecs
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_int, show
from cutaway.errors import UsageError
from cutaway.layout import visible
from cutaway.tokenizer import bpe, chunked
from cutaway.tokenizer.added import WordFinder
from cutaway.tokenizer.codec import TokenCodec
from cutaway.tokenizer.gpt2 import N_VOCAB, ShortTexts
from cutaway.tokenizer.vocabulary import END_OF_TEXT, Vocabulary, gpt2_vocabulary

if TYPE_CHECKING:  # not needed for a first token
    from tokenizers import Tokenizer as FastTokenizer

    from cutaway.tokenizer.files import TokenizerFiles


class Tokenizer:
    """Byte-level BPE over one vocabulary: the `Codec` of GPT-2. `decode(encode(text)) == text` for every valid text.

    >>> tokenizer = Tokenizer.gpt2()
    >>> tokenizer.encode("A robot must obey")
    [32, 9379, 1276, 22389]
    >>> tokenizer.decode([9379])
    ' robot'
    """

    bos: int | None
    eos: int | None

    def __init__(self, vocabulary: Vocabulary, files: "TokenizerFiles | None" = None) -> None:
        self.vocabulary = vocabulary
        self.n_vocab = vocabulary.n_vocab
        self.eos = vocabulary.end_of_text
        self.bos = self.eos if vocabulary.start_of_text is None else vocabulary.start_of_text
        self._files = files
        self._bytes: dict[int, bytes] = {}  # cache of `token_bytes`

    @staticmethod
    def gpt2() -> "Tokenizer":
        """Return GPT-2's own tokenizer: 50,257 tokens, from the vocabulary inside this package (cached).

        >>> Tokenizer.gpt2().n_vocab, Tokenizer.gpt2().eos
        (50257, 50256)
        """
        return _gpt2()

    @classmethod
    def from_files(cls, directory: str | Path, tokenizer_class: str | None = None) -> "Tokenizer":
        """Read byte-level BPE from a checkpoint directory: `tokenizer.json`, or else `vocab.json` and `merges.txt`.

        `tokenizer_class` is the kind that `config.json` names, if any. Raises CheckpointError if the files are missing,
        malformed or not GPT-2's byte-level BPE; `reading.read_tokenizer` reads other kinds too.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as directory:
        ...     Tokenizer.gpt2().save(directory)
        ...     Tokenizer.from_files(directory).encode("A robot")
        [32, 9379]
        """
        from cutaway.tokenizer.kinds import find_kind
        from cutaway.untrusted import raise_checkpoint_error

        path = Path(directory)
        if find_kind(path, tokenizer_class) == "bert":
            raise_checkpoint_error(path, "has BERT's WordPiece, not GPT-2's byte-level BPE")
        return cls.from_known_files(path)

    @classmethod
    def from_known_files(cls, path: Path) -> "Tokenizer":
        """Read the tokenizer without checking the kind of the files first.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as directory:
        ...     Tokenizer.gpt2().save(directory)
        ...     Tokenizer.from_known_files(Path(directory)).n_vocab
        50257
        """
        from cutaway.tokenizer.files import TokenizerFiles, holds_gpt2, read_vocabulary

        files = TokenizerFiles.read(path)
        return _Gpt2Tokenizer(files) if holds_gpt2(path) else cls(read_vocabulary(path), files)

    @property
    def control(self) -> Mapping[str, int]:
        """Control tokens, by text."""
        return self.vocabulary.control

    def save(self, directory: str | Path) -> None:
        """Write the files that the tokenizer was read from, or `vocab.json`, `merges.txt` and `tokenizer_config.json`.

        Raises CheckpointError if that fails.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as directory:
        ...     Tokenizer.gpt2().save(directory)
        ...     sorted(path.name for path in Path(directory).iterdir())
        ['merges.txt', 'tokenizer_config.json', 'vocab.json']
        """
        from cutaway.tokenizer.files import save_tokenizer

        save_tokenizer(self, Path(directory))

    def write(self, directory: Path) -> None:
        """Write the files of `save`. Raises OSError if that fails.

        >>> Tokenizer.gpt2().write(Path("no such directory"))
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'no such directory/vocab.json.part'
        """
        from cutaway.tokenizer.files import TokenizerFiles

        if self._files is None:
            self._files = TokenizerFiles.of(self.vocabulary)  # kept, because every checkpoint of a run has them
        self._files.write(directory)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the token ids of a text; "<|endoftext|>" in it is a control token only with `allow_special`.

        A lone surrogate, which UTF-8 cannot hold, is replaced by U+FFFD.

        >>> Tokenizer.gpt2().encode("a<|endoftext|>", allow_special=True)
        [64, 50256]
        """
        if not isinstance(text, str):
            raise UsageError(f"text must be a str, not {type(text).__name__}")
        ids: list[int] = []
        for run, index in self._runs(text, allow_special):
            if index is None:
                ids += self._encode_run(run)
            else:
                ids.append(index)
        return ids

    @cached_property
    def max_token_bytes(self) -> int:
        """The length of the longest token: n tokens hold at most n times as many bytes of text.

        >>> Tokenizer.gpt2().max_token_bytes
        128
        """
        looked_up = (text.encode() for text in self.vocabulary.texts.values())
        return max(map(len, [*self.vocabulary.ids, *looked_up]))  # a symbol of `ids` stands for one byte

    def encodes_like(self, other: TokenCodec) -> bool:
        """Return True if another codec gives every text the same ids, and begins texts with the same token.

        >>> Tokenizer.gpt2().encodes_like(Tokenizer(Vocabulary({"a": 0}, [], control={})))
        False
        """
        if not isinstance(other, Tokenizer):
            return False
        ours = self.vocabulary
        theirs = other.vocabulary
        same_ids = (ours.ids, ours.merges, ours.added) == (theirs.ids, theirs.merges, theirs.added)
        return same_ids and self.bos == other.bos

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; invalid UTF-8 is replaced by U+FFFD. Raises UsageError for an unknown id.

        >>> Tokenizer.gpt2().decode([32, 9379]), Tokenizer.gpt2().decode([447])
        ('A robot', '�')
        """
        if not hasattr(ids, "__iter__"):
            raise UsageError(f"token ids must be a list, not {show(ids)}")
        return b"".join(map(self._known_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, index: int) -> bytes | None:
        """Return the bytes of a token, often not whole characters; None for an id that has no token.

        >>> Tokenizer.gpt2().token_bytes(447), Tokenizer.gpt2().token_bytes(50257)
        (b'\\xe2\\x80', None)
        """
        index = check_int("a token id", index, 0)
        known = self._bytes.get(index)
        if known is None and (known := self._look_up(index)) is not None:
            self._bytes[index] = known
        return known

    def _known_bytes(self, index: int) -> bytes:
        data = self.token_bytes(check_int("a token id", index, 0, self.n_vocab - 1))
        if data is None:
            raise UsageError(f"unknown token id {index}: this vocabulary has a gap there")
        return data

    def label(self, index: int) -> str:
        """Return a token on one line with white space made visible, "#id" for an unknown id.

        >>> [Tokenizer.gpt2().label(index) for index in (9379, 198, 447, 50257)]
        ['␣robot', '\\\\n', '\\\\xe2\\\\x80', '#50257']
        """
        data = self.token_bytes(index)
        return f"#{index}" if data is None else visible(data)

    def stream(self) -> "TextStream":
        """Return a decoder for tokens that come one by one.

        >>> stream = Tokenizer.gpt2().stream()
        >>> [stream.push(index) for index in (32, 9379)]
        ['A', ' robot']
        """
        return TextStream(self)

    def explain(self, text: str, *, allow_special: bool = False) -> list[bpe.PreToken]:
        """Return the steps from a text to its ids, merge by merge, by `bpe.py`; the ids are those of `encode`.

        >>> [robots] = Tokenizer.gpt2().explain(" robots")
        >>> [step.left + step.right for step in robots.steps]
        ['ro', 'ot', 'Ġro', 'ots', 'Ġrob', 'Ġrobots']
        """
        pre_tokens: list[bpe.PreToken] = []
        for run, index in self._runs(text, allow_special):
            if index is None:
                pre_tokens.extend(bpe.explain(run, self.vocabulary.ids, self.vocabulary.ranks))
            else:
                data = run.encode()
                symbols = bpe.to_symbols(data)
                pre_tokens.append(bpe.PreToken(run, tuple(data), symbols, steps=(), tokens=(symbols,), ids=(index,)))
        return pre_tokens

    @cached_property
    def _fast(self) -> "FastTokenizer":
        from tokenizers import Tokenizer as FastTokenizer
        from tokenizers import models, pre_tokenizers

        # Control tokens never enter the fast tokenizer, so nothing in a text can turn into one by accident.
        fast = FastTokenizer(models.BPE(self.vocabulary.ids, self.vocabulary.merges))
        fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return fast

    @cached_property
    def _added(self) -> WordFinder:
        return WordFinder(self.vocabulary.added)

    @cached_property
    def _added_and_control(self) -> WordFinder:
        return WordFinder(self.vocabulary.added | self.vocabulary.control)

    def _encode_run(self, run: str) -> list[int]:
        return chunked.encode(self._fast, run)

    def _look_up(self, index: int) -> bytes | None:
        vocabulary = self.vocabulary
        if index in vocabulary.tokens:
            return bpe.from_symbols(vocabulary.tokens[index])
        return vocabulary.texts[index].encode() if index in vocabulary.texts else None

    def _runs(self, text: str, allow_special: bool) -> Iterator[tuple[str, int | None]]:
        """Yield the text in runs: (run, None) is text for BPE, (run, id) a token that is looked up."""
        finder = self._added_and_control if allow_special else self._added
        return finder.split(valid_unicode(text))


class _Gpt2Tokenizer(Tokenizer):
    """GPT-2's own tokenizer, which parses its vocabulary only if it has to encode more than a few short texts."""

    def __init__(self, files: "TokenizerFiles | None" = None) -> None:
        self._short = ShortTexts()
        self._files = files
        self._bytes = {}
        self.n_vocab = N_VOCAB
        self.bos = N_VOCAB - 1
        self.eos = N_VOCAB - 1

    @cached_property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]  # an attribute of other tokenizers
        return gpt2_vocabulary()

    @cached_property
    def _added(self) -> WordFinder:
        return WordFinder({})

    @cached_property
    def _added_and_control(self) -> WordFinder:
        return WordFinder({END_OF_TEXT: N_VOCAB - 1})

    def _encode_run(self, run: str) -> list[int]:
        return self._short.encode(run) if self._short.takes(run) else super()._encode_run(run)

    def _look_up(self, index: int) -> bytes | None:
        return self._short.token_bytes(index) if index < N_VOCAB else None


@cache
def _gpt2() -> Tokenizer:
    return _Gpt2Tokenizer()


class TextStream:
    """Decodes tokens one by one; the returned parts, joined, are `Tokenizer.decode` of all tokens.

    >>> stream = Tokenizer.gpt2().stream()
    >>> [stream.push(index) for index in Tokenizer.gpt2().encode("🌍")]
    ['', '', '🌍']
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, index: int) -> str:
        """Return the characters that this token completes, if any; an id without a token has no text."""
        return self._decoder.decode(self._tokenizer.token_bytes(index) or b"")

    def finish(self) -> str:
        """Return U+FFFD if the tokens ended inside a character, else nothing, and reset the stream."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def valid_unicode(text: str) -> str:
    """Replace each lone surrogate by U+FFFD and each pair by its character, as tiktoken does.

    >>> valid_unicode("a" + chr(0xD800)) == "a\ufffd"
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
