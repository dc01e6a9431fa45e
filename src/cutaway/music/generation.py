"""Generation of pieces with a music model, until a length in seconds is reached or the piece ends."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cutaway.music.codecs import MusicCodec, music_codec
from cutaway.music.grammar import Allowed, mask_of
from cutaway.tokenizer.codec import TokenCodec

TEMPERATURE = 1.0
TOP_P = 0.98
_MAX_TOKENS = 1_000_000  # the time limit is reached long before

Mask = Callable[[Sequence[int]], Allowed]


class Step(Protocol):
    """The output of one step of a sequence."""

    @property
    def ids(self) -> Sequence[int]:
        """The new ids, if any."""

    @property
    def finish_reason(self) -> str | None:
        """The finish reason; None while the sequence is not finished."""


class Generator(Protocol):
    """A model that generates token ids, as `Model` does."""

    def stream(
        self,
        prompt: Sequence[int],
        *,
        mask: Mask | None,
        max_new_tokens: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        context_shift: bool,
    ) -> Iterator[Step]:
        """Continue a prompt, one step at a time."""


@dataclass(frozen=True)
class GeneratedPiece:
    """The ids of a piece, including its primer but no start token, and its finish reason ("length": the time limit)."""

    ids: list[int]
    finish_reason: str


def grammar_mask(codec: TokenCodec | None) -> Mask | None:
    """Return the grammar's mask of allowed next ids for generation; None for a text codec.

    >>> from cutaway.music.satb16 import ChoraleCodec
    >>> bool(grammar_mask(ChoraleCodec())([47])[47]), grammar_mask(None)
    (False, None)
    """
    music = music_codec(codec)
    return None if music is None else mask_of(music)


def generate_piece(
    model: Generator,
    codec: MusicCodec,
    seconds: float,
    *,
    seed: int,
    primer: Sequence[int] = (),
    temperature: float = TEMPERATURE,
    top_p: float = TOP_P,
    grammar: bool = True,
) -> GeneratedPiece:
    """Continue a primer until the piece is `seconds` long or ends.

    With `grammar`, only sequences that the codec could produce are sampled. The context shifts, so a piece may be
    longer than the context.

    >>> import cutaway
    >>> from cutaway.music.perf388 import PerformanceCodec
    >>> piece = generate_piece(cutaway.load("builtin-piano"), PerformanceCodec(), 0.2, seed=1)
    >>> piece.finish_reason, sum(map(PerformanceCodec().seconds, piece.ids)) >= 0.2
    ('length', True)
    """
    ids = list(primer)
    passed = sum(map(codec.seconds, ids))
    stream = model.stream(
        [codec.bos, *ids],
        mask=grammar_mask(codec) if grammar else None,
        max_new_tokens=_MAX_TOKENS,
        temperature=temperature,
        top_k=0,
        top_p=top_p,
        seed=seed,
        context_shift=True,
    )
    for step in stream:
        ids += step.ids
        passed += sum(map(codec.seconds, step.ids))
        if step.finish_reason:
            return GeneratedPiece(ids, step.finish_reason)
        if passed >= seconds:
            break
    return GeneratedPiece(ids, "length")
