"""Encoding blocks of text: a pure function that workers run in this process, in others, or on other machines."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cutaway.data.blocks import Block, PartId, Passage, draw_split, passages_of
from cutaway.data.dataset import ID_TYPES
from cutaway.data.manifest import SPLITS
from cutaway.data.records import parse_line
from cutaway.errors import UsageError
from cutaway.tokenizer.reading import FileTokenizer
from cutaway.untrusted import quote_path


@dataclass(frozen=True)
class EncodedSplit:
    """Token ids of a split's passages in a block, offsets at which documents begin, and a mask of learned tokens."""

    ids: NDArray[np.unsignedinteger]
    begins: NDArray[np.int64]
    learned: NDArray[np.bool_] | None
    n_bytes: int


@dataclass(frozen=True)
class EncodedBlock:
    """The encoded text of a block by split. `control_literals` counts names of control tokens that occur as text.

    `has_conversations` is True if some of the training text is messages.
    """

    part: PartId
    position: int
    splits: Mapping[str, EncodedSplit]
    control_literals: int
    has_conversations: bool = False


@dataclass
class _Growing:
    ids: list[int] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    learned: list[NDArray[np.bool_]] = field(default_factory=list)
    n_bytes: int = 0


class Encoder:
    """Encodes blocks with a tokenizer; documents without a split are drawn for valid with probability `share`.

    Names of control tokens are encoded as text, so that no text can end a document.

    >>> from pathlib import Path
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> encoder = Encoder(Tokenizer.gpt2(), share=0)
    >>> encoder.encode(Block(Path("a.jsonl"), 0, lines=b'{"text": "A robot"}')).splits["train"].ids
    array([50256,    32,  9379], dtype=uint16)
    """

    def __init__(self, tokenizer: FileTokenizer, share: float, field: str = "text") -> None:
        self._tokenizer = tokenizer
        self._share = share
        self._field = field
        self._start = start_token(tokenizer)
        self._dtype = ID_TYPES[id_type(tokenizer.n_vocab)]
        self._control = tuple(tokenizer.control)

    def encode(self, block: Block) -> EncodedBlock:
        """Encode a block. Raises UsageError naming the line of an invalid document."""
        splits = {name: _Growing() for name in SPLITS}
        literals = 0
        split = ""  # of a document's first passage, and of those that continue it
        masked = False
        has_conversations = False
        for passage in passages(block, self._field):
            texts = [passage.text, passage.completion or ""]
            if not any(texts):
                continue
            if passage.opens or passage.split:
                split = passage.split or draw_split(passage.whole or "".join(texts), self._share)
            self._append(splits[split], passage.opens, texts, pair=passage.completion is not None)
            masked = masked or passage.completion is not None
            has_conversations = has_conversations or (passage.is_conversation and split == "train")
            literals += sum(text.count(name) for text in texts for name in self._control)
        arrays = {name: self._arrays(split, masked) for name, split in splits.items() if split.ids}
        return EncodedBlock(block.part, block.position, arrays, literals, has_conversations)

    def _append(self, split: _Growing, opens: bool, texts: list[str], pair: bool) -> None:
        prompt, completion = (self._tokenizer.encode(text) for text in texts)
        if opens:
            split.begins.append(len(split.ids))
            split.ids.append(self._start)
            split.learned.append(np.ones(1, np.bool_))  # it also ends the previous document
        split.ids += prompt
        split.ids += completion
        split.learned += [np.full(len(prompt), not pair), np.ones(len(completion), np.bool_)]
        split.n_bytes += sum(len(text.encode()) for text in texts)

    def _arrays(self, split: _Growing, masked: bool) -> EncodedSplit:
        learned = np.concatenate(split.learned) if masked else None
        ids = np.array(split.ids, self._dtype)
        return EncodedSplit(ids, np.array(split.begins, np.int64), learned, split.n_bytes)


def start_token(tokenizer: FileTokenizer) -> int:
    """Return the token that opens documents. Raises UsageError if the tokenizer has none.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> start_token(Tokenizer.gpt2())
    50256
    """
    if tokenizer.bos is None:
        raise UsageError(
            "the tokenizer has no start token to open documents with; name a bos_token in its tokenizer_config.json"
        )
    return tokenizer.bos


def passages(block: Block, field: str) -> Iterator[Passage]:
    """Yield the passages of a block, parsing its JSON lines. Raises UsageError naming an invalid line.

    >>> from pathlib import Path
    >>> block = Block(Path("a.jsonl"), 0, lines=b'{"text": "A robot"}')
    >>> [passage.text for passage in passages(block, "text")]
    ['A robot']
    """
    yield from block.passages
    if not block.lines:
        return
    for number, line in enumerate(block.lines.split(b"\n"), block.first_line):
        if line.strip():
            yield from passages_of(parse_line(line, f"{quote_path(block.path)}:{number}", field), block.split)


def id_type(n_vocab: int) -> str:
    """Return the smallest dtype for ids below n_vocab.

    >>> id_type(50257), id_type(100_000)
    ('uint16', 'uint32')
    """
    return "uint16" if n_vocab <= 1 << 16 else "uint32"
