"""Fine-tuning examples: token ids, and a mask of the tokens that are learned.

A prompt is encoded as in `Model.generate`: unchanged, and an empty prompt becomes the token that begins a text. An
end-of-text token is appended to every completion as an id, not as text, and learned, so that the model stops there.
Names of control tokens in a text stay text.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.data.records import Record, Turn
from cutaway.errors import UsageError
from cutaway.tokenizer.codec import Codec


@dataclass(frozen=True)
class Example:
    """Token ids (T,), and a mask: True for tokens that are learned, given all tokens before. The first never is.

    The first `n_prefix` tokens see each other; with 0 attention is causal.
    """

    ids: NDArray[np.int64]
    learned: NDArray[np.bool_]
    n_prefix: int = 0


@dataclass(frozen=True)
class ExampleSet:
    """Examples made from records, with statistics of the texts.

    `texts` are the token ids before long documents were cut. `n_truncated` prompts were cut from the left to fit.
    `n_literals` names of control tokens occur in the texts as text. `n_bytes` is the length of all learned text in
    UTF-8.
    """

    examples: list[Example]
    texts: list[NDArray[np.int64]]
    n_truncated: int
    n_literals: int
    n_bytes: int

    @property
    def n_learned(self) -> int:
        """Number of tokens that are learned, including end-of-text tokens."""
        return sum(int(example.learned.sum()) for example in self.examples)


def make_examples(records: Iterable[Record], codec: Codec, n_ctx: int) -> ExampleSet:
    """Tokenize records into examples of at most `n_ctx` inputs and as many targets.

    A longer document becomes several examples; the first token of each is the last token of the example before. A
    prompt that is too long loses its beginning. Raises UsageError, naming the record's place, for a completion that is
    too long, and for a record with nothing to learn.

    >>> from cutaway.data.records import parse_line
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> line = b'{"prompt": "Who are you?", "completion": " A robot."}'
    >>> [example] = make_examples([parse_line(line, "robots.jsonl:1")], Tokenizer.gpt2(), n_ctx=64).examples
    >>> example.ids.tolist()
    [8241, 389, 345, 30, 317, 9379, 13, 50256]
    >>> example.learned.tolist()
    [False, False, False, False, True, True, True, True]
    """
    examples: list[Example] = []
    texts: list[NDArray[np.int64]] = []
    n_truncated = 0
    n_literals = 0
    n_bytes = 0
    names = control_names(codec)
    for record in records:
        if not any(turn.completion for turn in record.turns):
            raise UsageError(f"{record.place}: nothing to learn: {_why_nothing(record)}")
        for turn in record.turns:
            n_literals += sum((turn.prompt + turn.completion).count(name) for name in names)
            n_bytes += len(turn.completion.encode(errors="replace"))
            if record.is_document:
                ids = np.array([*_opening(codec), *codec.encode(turn.completion), *_ending(codec)], np.int64)
                examples += _windows(ids, n_ctx)
                texts.append(ids)
            else:
                example, is_truncated = _pair(turn, codec, n_ctx, record.place)
                examples.append(example)
                texts.append(example.ids)
                n_truncated += is_truncated
    return ExampleSet(examples, texts, n_truncated, n_literals, n_bytes)


def control_names(codec: Codec) -> set[str]:
    """Return the names of the tokens that begin and end a text.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> control_names(Tokenizer.gpt2())
    {'<|endoftext|>'}
    """
    tokens = {codec.bos, codec.eos} - {None}
    names = (codec.token_bytes(token) for token in tokens if token is not None)
    return {name.decode() for name in names if name}


def _why_nothing(record: Record) -> str:
    if not record.turns:
        return "no message is the assistant's"
    return "the text is empty" if record.is_document else "the completion is empty"


def _windows(ids: NDArray[np.int64], n_ctx: int) -> Iterator[Example]:
    for start in range(0, max(1, len(ids) - 1), n_ctx):
        window = ids[start : start + n_ctx + 1]
        yield Example(window, np.arange(len(window)) > 0)


def _pair(turn: Turn, codec: Codec, n_ctx: int, place: str) -> tuple[Example, bool]:
    prompt = codec.encode(turn.prompt) if turn.prompt else _opening(codec)
    completion = [*codec.encode(turn.completion), *_ending(codec)]
    room = n_ctx + 1 - len(completion)
    if room < 1:
        raise UsageError(
            f"{place}: the completion has {len(completion)} tokens with its end, and the context holds {n_ctx}; "
            "it is never cut, so shorten it"
        )
    return _example(prompt[-room:], completion), len(prompt) > room


def _opening(codec: Codec) -> list[int]:
    return [] if codec.bos is None else [codec.bos]


def _ending(codec: Codec) -> list[int]:
    return [] if codec.eos is None else [codec.eos]


def _example(prompt: Sequence[int], completion: Sequence[int]) -> Example:
    ids = np.array([*prompt, *completion], np.int64)
    learned = np.arange(len(ids)) >= max(1, len(prompt))
    return Example(ids, learned)
