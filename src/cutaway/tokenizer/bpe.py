"""Byte-level BPE, step by step: GPT-2's tokenizer written to be read, and what the fast one is tested against.

Text is cut into pieces (OpenAI's pattern), a piece becomes UTF-8 bytes, and each byte a printable symbol. The symbols
are merged pair by pair, pairs that were learnt first before others, until no learnt pair is left: these are the tokens.
Only the standard library is used. Source: `src/encoder.py` of openai/gpt-2.
"""

import heapq
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

Ranks = Mapping[tuple[str, str], int]  # pair of tokens -> when it was learnt, 0 first


def byte_symbols() -> dict[int, str]:
    """The printable character that stands for each byte, in the order of the first 256 token ids.

    A printable byte stands for itself; the 68 others (controls, the space, ...) get U+0100, U+0101, ... so that
    vocabulary files can be plain text: a space is written "Ġ" (U+0120).
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


_SYMBOLS = byte_symbols()
_BYTES = {ord(symbol): byte for byte, symbol in _SYMBOLS.items()}
_ALPHABET = frozenset(_SYMBOLS.values())


def to_symbols(data: bytes) -> str:
    """Bytes as their stand-ins, one character a byte: b" caf\\xc3\\xa9" is "ĠcafÃ©"."""
    return data.decode("latin-1").translate(_SYMBOLS)


def from_symbols(symbols: str) -> bytes:
    """The bytes behind stand-ins; the inverse of `to_symbols`."""
    return symbols.translate(_BYTES).encode("latin-1")


def is_symbols(token: str) -> bool:
    """Whether every character stands for a byte."""
    return _ALPHABET.issuperset(token)


# OpenAI's pattern is
#   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
# but `re` knows no \p{L} (letters) and \p{N} (numbers). It reads the text's ASCII shadow, where these are plain ranges.
_PIECE = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+",
    re.ASCII,
)


def split(text: str) -> list[str]:
    """The pieces that no token crosses: words, numbers and punctuation, each with the space before it, and gaps."""
    shadow = "".join(map(_shadow, text))
    return [text[match.start() : match.end()] for match in _PIECE.finditer(shadow)]


def _shadow(char: str) -> str:
    """An ASCII character of the same kind: a letter, a number, white space or anything else."""
    if char.isascii():
        return char
    if char.isalpha():
        return "a"
    if unicodedata.category(char).startswith("N"):
        return "1"
    return "\t" if char.isspace() else "!"


@dataclass(frozen=True)
class Step:
    """One merge: the tokens `left` and `right`, which begins at byte `start` of the piece, become one."""

    rank: int
    left: str
    right: str
    start: int


@dataclass(frozen=True)
class Piece:
    """How one piece of text became tokens; every field is plain data, so that `dataclasses.asdict` gives JSON.

    `symbols` has one stand-in a byte; `tokens` are written in stand-ins too, and `ids` are their numbers.
    A token that is looked up, as control tokens are, is a piece of its own without steps.
    """

    text: str
    bytes: tuple[int, ...]
    symbols: str
    steps: tuple[Step, ...]
    tokens: tuple[str, ...]
    ids: tuple[int, ...]

    def states(self) -> Iterator[tuple[str, ...]]:
        """The parts of the piece before the first merge and after each: "h e l l o", "h e ll o", ..., the tokens."""
        starts = list(range(len(self.symbols)))
        for step in self.steps:
            yield self._parts(starts)
            starts.remove(step.start + len(step.left))
        yield self.tokens

    def _parts(self, starts: list[int]) -> tuple[str, ...]:
        return tuple(self.symbols[start:end] for start, end in pairwise([*starts, len(self.symbols)]))


def merge(symbols: str, ranks: Ranks) -> tuple[list[str], list[Step]]:
    """Merge the earliest learnt pair, leftmost first, until none is left: the tokens, and the merges in their order.

    The parts are a linked list and the pairs a heap, so that n symbols take O(n log n) time, however long the piece.
    """
    size = len(symbols)
    parts = [*symbols, ""]  # an empty part ends the list or was merged away; it pairs with nothing
    before, after = list(range(-1, size)), list(range(1, size + 2))
    heap: list[tuple[int, int]] = []  # (rank, index of the left part)

    def offer(index: int) -> None:
        rank = ranks.get((parts[index], parts[after[index]]))
        if rank is not None:
            heapq.heappush(heap, (rank, index))

    for index in range(size):
        offer(index)
    steps: list[Step] = []
    while heap:
        rank, index = heapq.heappop(heap)
        gone = after[index]
        if ranks.get((parts[index], parts[gone])) != rank:
            continue  # an earlier merge has taken one of the two
        steps.append(Step(rank, parts[index], parts[gone], index))
        parts[index], parts[gone] = parts[index] + parts[gone], ""
        after[index] = after[gone]
        before[after[index]] = index
        offer(index)
        if before[index] >= 0:
            offer(before[index])
    return [part for part in parts if part], steps


def explain(text: str, ids: Mapping[str, int], ranks: Ranks) -> list[Piece]:
    """Every step from text to token ids. The text must be valid Unicode (no lone surrogates)."""
    return [_explain_piece(piece, ids, ranks) for piece in split(text)]


def _explain_piece(text: str, ids: Mapping[str, int], ranks: Ranks) -> Piece:
    data = text.encode()
    symbols = to_symbols(data)
    tokens, steps = merge(symbols, ranks)
    return Piece(text, tuple(data), symbols, tuple(steps), tuple(tokens), tuple(ids[token] for token in tokens))
