"""GPT-2's own vocabulary: parsed only as far as a short text needs, and recognised by its files in a checkpoint.

`vocab.bpe` holds one merge a line, and merge n makes token 256 + n. A dictionary of its lines is ready in a few
milliseconds, and is enough to encode a prompt and decode its continuation. The tables of the `tokenizers` library take
ten times as long, and are only built for the first long text.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from cutaway.tokenizer import bpe
from cutaway.tokenizer.vocabulary import END_OF_TEXT, gpt2_merge_lines
from cutaway.untrusted import read_bytes

N_BYTES = 256
N_VOCAB = 50257  # the bytes, the merges and <|endoftext|>
MAX_CHARACTERS = 2000  # encoded here, all texts together, before the fast tokenizer is built

# SHA-256 and size of the files that OpenAI's four models have on the hub.
_PUBLISHED = {
    "vocab.json": ("196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783", 1042301),
    "merges.txt": ("1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5", 456318),
    "tokenizer.json": ("8414cab924d8b9b33013f0d221c5862f365ee9be39c5c2bfae8a5a9e970478a6", 1355256),
}


class MergeRanks(Mapping[tuple[str, str], int]):
    """Ranks of the merges, looked up by line: the pair ("Ġ", "t") is the line "Ġ t".

    >>> ranks = MergeRanks(["Ġ t", "Ġ a"])
    >>> ranks["Ġ", "a"], ("Ġ", "b") in ranks
    (1, False)
    """

    def __init__(self, lines: list[str]) -> None:
        self._ranks = dict(zip(lines, range(len(lines)), strict=True))

    def __getitem__(self, pair: tuple[str, str]) -> int:
        return self._ranks[f"{pair[0]} {pair[1]}"]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((left, right) for left, right in map(str.split, self._ranks))

    def __len__(self) -> int:
        return len(self._ranks)


class ShortTexts:
    """Encoder of short ASCII texts (all versions of Unicode agree on how these are split), and decoder of any token.

    >>> short = ShortTexts()
    >>> short.takes("A robot"), short.takes("机器人")
    (True, False)
    >>> short.encode("A robot"), short.token_bytes(9379)
    ([32, 9379], b' robot')
    """

    def __init__(self) -> None:
        self._lines = gpt2_merge_lines()
        self._ranks = MergeRanks(self._lines)
        self._symbols = list(bpe.byte_symbols().values())
        self._left = MAX_CHARACTERS

    def takes(self, text: str) -> bool:
        """Return True if this text is to be encoded here; count its characters."""
        self._left -= len(text)
        return self._left >= 0 and text.isascii()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        ids: list[int] = []
        for piece in bpe.split(text):
            tokens, steps = bpe.merge(bpe.to_symbols(piece.encode()), self._ranks)
            made = {step.left + step.right: N_BYTES + step.rank for step in steps}
            ids += [made[token] if token in made else self._symbols.index(token) for token in tokens]
        return ids

    def token_bytes(self, index: int) -> bytes:
        """Return the bytes of a token."""
        if index == N_VOCAB - 1:
            return END_OF_TEXT.encode()
        merged = self._lines[index - N_BYTES].replace(" ", "") if index >= N_BYTES else self._symbols[index]
        return bpe.from_symbols(merged)


def is_published(path: Path) -> bool:
    """Return True if a tokenizer file is one of OpenAI's models', byte for byte.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "merges.txt"
    ...     path.write_text("#version: 0.2")
    ...     is_published(path)
    13
    False
    """
    digest, size = _PUBLISHED[path.name]
    return path.stat().st_size == size and hashlib.sha256(read_bytes(path, size)).hexdigest() == digest
