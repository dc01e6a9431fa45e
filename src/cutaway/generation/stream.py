"""Streamed chunks of generated text, and the completion that they add up to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

FinishReason = Literal["stop", "eos", "length", "context"]


class TokenLogprob(NamedTuple):
    """A token and the model's own log-probability of it, in nats."""

    id: int
    logprob: float


@dataclass(frozen=True)
class Chunk:
    """The output of one step of one sequence: a token, or none if an end token was sampled.

    `text` may be empty while a character or a possible stop string is incomplete. `logprobs` and `top_logprobs` have
    an entry for each id if they were asked for. The last chunk of a sequence has a `finish_reason`.
    """

    text: str
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()  # nats
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...] = ()  # most likely first
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class Completion:
    """A finished sequence: the new text and tokens without the prompt, and the seed that reproduces it."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # nats
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...]
    finish_reason: FinishReason
    seed: int
    engine: str


def collect(events: Iterable[tuple[int, Chunk]], seeds: Sequence[int], engine: str) -> list[Completion]:
    """Run a stream of (row, chunk) pairs to its end and join the chunks of each row.

    >>> [completion] = collect([(0, Chunk("A", (32,))), (0, Chunk("!", (0,), finish_reason="length"))], [7], "cpu int8")
    >>> completion.text, completion.ids
    ('A!', (32, 0))
    """
    chunks: list[list[Chunk]] = [[] for _ in seeds]
    for row, chunk in events:
        chunks[row].append(chunk)
    return [_join(row, seed, engine) for row, seed in zip(chunks, seeds, strict=True)]


def _join(chunks: Sequence[Chunk], seed: int, engine: str) -> Completion:
    reason = chunks[-1].finish_reason
    assert reason is not None, "the last chunk of a sequence has a finish_reason"
    return Completion(
        text="".join(chunk.text for chunk in chunks),
        ids=tuple(token for chunk in chunks for token in chunk.ids),
        logprobs=tuple(value for chunk in chunks for value in chunk.logprobs),
        top_logprobs=tuple(tokens for chunk in chunks for tokens in chunk.top_logprobs),
        finish_reason=reason,
        seed=seed,
        engine=engine,
    )


def without_leading_space(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the chunks of a reply without the white space before its first word.

    >>> [chunk.text for chunk in without_leading_space([Chunk(" "), Chunk(" A"), Chunk(" robot.")])]
    ['', 'A', ' robot.']
    """
    has_begun = False
    for chunk in chunks:
        text = chunk.text if has_begun else chunk.text.lstrip()
        has_begun = has_begun or text != ""
        yield replace(chunk, text=text)
