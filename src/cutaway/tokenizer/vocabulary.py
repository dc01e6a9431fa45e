"""The vocabulary of a byte-level BPE tokenizer, and GPT-2's own, which ships in this directory.

`vocab.bpe` is OpenAI's list of 50,000 merges, from which the ids follow: the 256 bytes are the first tokens, each merge
makes the next, and `<|endoftext|>` is the last. (OpenAI's second file, `encoder.json`, holds the same in a megabyte.)
"""

from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from cutaway.tokenizer.bpe import byte_symbols

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens, merges and control tokens of a byte-level BPE tokenizer.

    `ids` are the tokens that merging can make, written in symbols (`bpe.to_symbols`), every single byte among them;
    `merges` the pairs in the order they were learnt. Tokens that are looked up instead are written in plain text:
    `control` tokens are found in a text only on request, `added` ones always. `end_of_text` is the control token that
    ends a text, if there is one, and begins it too unless `start_of_text` is another.

    >>> vocabulary = Vocabulary({"a": 0, "b": 1, "ab": 2}, [("a", "b")], control={"<end>": 3}, end_of_text=3)
    >>> vocabulary.n_vocab, vocabulary.tokens[2], vocabulary.ranks
    (4, 'ab', {('a', 'b'): 0})
    """

    ids: dict[str, int]
    merges: list[tuple[str, str]]
    control: dict[str, int]
    end_of_text: int | None = None
    added: dict[str, int] = field(default_factory=dict)
    start_of_text: int | None = None

    @cached_property
    def ranks(self) -> dict[tuple[str, str], int]:
        """Rank of each merge: 0 for the one that was learnt first."""
        return {pair: rank for rank, pair in enumerate(self.merges)}

    @cached_property
    def tokens(self) -> dict[int, str]:
        """The inverse of `ids`."""
        return dict(zip(self.ids.values(), self.ids, strict=True))

    @cached_property
    def texts(self) -> dict[int, str]:
        """The tokens that are looked up, by id."""
        return {index: text for text, index in (self.added | self.control).items()}

    @cached_property
    def n_vocab(self) -> int:
        """One more than the largest id."""
        largest = [max(ids.values(), default=0) for ids in (self.ids, self.control, self.added)]
        return 1 + max(largest)


def gpt2_merge_lines() -> list[str]:
    """Read OpenAI's 50,000 merges as the file in this package has them: "Ġ t" first.

    >>> lines = gpt2_merge_lines()
    >>> len(lines), lines[0]
    (50000, 'Ġ t')
    """
    return (Path(__file__).parent / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]


@cache
def gpt2_vocabulary() -> Vocabulary:
    """Read OpenAI's 50,257 tokens from the file in this package (cached).

    >>> gpt2_vocabulary().n_vocab
    50257
    """
    symbols = " ".join(gpt2_merge_lines()).split(" ")
    merges = list(zip(symbols[::2], symbols[1::2], strict=True))
    tokens = [*byte_symbols().values(), *(left + right for left, right in merges)]
    ids = {token: index for index, token in enumerate(tokens)}
    return Vocabulary(ids, merges, control={END_OF_TEXT: len(tokens)}, end_of_text=len(tokens))
