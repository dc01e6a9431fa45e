"""The protocols of codecs: token ids with names, and text to token ids and back.

Sampling and checkpoints only need a `TokenCodec`, whatever its ids stand for. Text needs a `Codec`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable


class TextDecoder(Protocol):
    """Decodes tokens one by one; the returned parts, joined, are the text of all tokens."""

    def push(self, index: int) -> str:
        """Return the text that this token completes, if any; an id without a token has no text."""

    def finish(self) -> str:
        """Return the rest of the text, at the end of the tokens."""


class TokenCodec(Protocol):
    """Token ids of anything, text or music.

    Its ids may differ from a model's. A model may have ids that stand for no token (its vocabulary is padded, or has
    gaps) and generate them: they have no text. A codec may have tokens outside the model's vocabulary.
    """

    @property
    def n_vocab(self) -> int:
        """One more than the largest id."""

    @property
    def bos(self) -> int | None:
        """The token that begins a text or a piece, if there is one."""

    @property
    def eos(self) -> int | None:
        """The token that ends a text or a piece, if there is one."""

    def label(self, index: int) -> str:
        """Return a token on one line with white space made visible, "#id" for an unknown id."""

    def write(self, directory: Path) -> None:
        """Write the files that the codec can be read from. Raises OSError if that fails."""


@runtime_checkable
class Codec(TokenCodec, Protocol):
    """Converts text to token ids and back; byte-level BPE (`fast.Tokenizer`) is one."""

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the token ids of a text; names of control tokens in it are plain text unless `allow_special`."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; raises UsageError for an unknown id."""

    def stream(self) -> TextDecoder:
        """Return a decoder for tokens that come one by one."""

    def token_bytes(self, index: int) -> bytes | None:
        """Return the bytes that a token stands for; None if it stands for none, and for an id without a token."""
