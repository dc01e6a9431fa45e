"""Byte-level BPE, step by step: GPT-2's tokenizer written to be read; the fast one is tested against it.

Text is split into pre-tokens (OpenAI's pattern), a pre-token becomes UTF-8 bytes, and each byte a printable symbol. The
symbols are merged pair by pair, in the order in which the pairs were learnt, until no learnt pair is left. The parts
are then the tokens. Only the standard library is used.

Letters and numbers depend on the version of Unicode: Python 3.11 has version 14, `tokenizers` 0.23 has 16. Characters
known to both have the same kind in both. A character that was assigned later counts as "other" here and may be split
differently; the fast tokenizer is authoritative.

Source: `src/encoder.py` of openai/gpt-2.
"""

import heapq
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

Ranks = Mapping[tuple[str, str], int]  # pair of tokens -> when it was learnt, 0 first


def byte_symbols() -> dict[int, str]:
    """Map each byte to a printable character, in the order of the first 256 token ids.

    A printable byte stands for itself; the 68 others (controls, the space, ...) get U+0100, U+0101, ... so that
    vocabulary files can be plain text: a space is written "Ġ" (U+0120).

    >>> byte_symbols()[ord(" ")], byte_symbols()[ord("!")]
    ('Ġ', '!')
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


_SYMBOLS = byte_symbols()
_BYTES = {ord(symbol): byte for byte, symbol in _SYMBOLS.items()}
_ALPHABET = frozenset(_SYMBOLS.values())


def to_symbols(data: bytes) -> str:
    """Write bytes as symbols, one character a byte.

    >>> to_symbols(" café".encode())
    'ĠcafÃ©'
    """
    return data.decode("latin-1").translate(_SYMBOLS)


def from_symbols(symbols: str) -> bytes:
    """Return the bytes that symbols stand for; the inverse of `to_symbols`.

    >>> from_symbols("ĠcafÃ©").decode()
    ' café'
    """
    return symbols.translate(_BYTES).encode("latin-1")


def is_symbols(token: str) -> bool:
    """Return True if every character is the symbol of a byte.

    >>> is_symbols("Ġa"), is_symbols(" a")
    (True, False)
    """
    return _ALPHABET.issuperset(token)


# OpenAI's pattern is
#   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
# but `re` knows no \p{L} (letters) and \p{N} (numbers). It reads the text's ASCII shadow, where these are plain ranges.
_PATTERN = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+",
    re.ASCII,
)


def split(text: str) -> list[str]:
    """Split a text into pre-tokens: words, numbers and punctuation, each with the space before it, and white space.

    No token crosses from one pre-token to the next.

    >>> split("it's 5 robots")
    ['it', "'s", ' 5', ' robots']
    """
    shadow = "".join(map(_shadow, text))
    return [text[match.start() : match.end()] for match in _PATTERN.finditer(shadow)]


def _shadow(char: str) -> str:
    """Return an ASCII character of the same kind: a letter, a number, white space or anything else."""
    if char.isascii():
        return char
    if char.isalpha():
        return "a"
    if unicodedata.category(char).startswith("N"):
        return "1"
    return "\t" if char.isspace() else "!"


@dataclass(frozen=True)
class MergeStep:
    """One merge: the tokens `left` and `right` become one; `left` begins at byte `start` of the pre-token."""

    rank: int
    left: str
    right: str
    start: int


@dataclass(frozen=True)
class PreToken:
    """The steps from one pre-token to its tokens; every field is plain data, so that `dataclasses.asdict` gives JSON.

    `symbols` has one symbol a byte; `tokens` are written in symbols too, and `ids` are their ids. A token that is
    looked up, as control tokens are, is a pre-token of its own without steps.
    """

    text: str
    bytes: tuple[int, ...]
    symbols: str
    steps: tuple[MergeStep, ...]
    tokens: tuple[str, ...]
    ids: tuple[int, ...]

    def states(self) -> Iterator[tuple[str, ...]]:
        """Yield the parts before the first merge and after each: "h e l l o", "h e ll o", ..., the tokens."""
        starts = list(range(len(self.symbols)))
        for step in self.steps:
            yield self._parts(starts)
            starts.remove(step.start + len(step.left))
        yield self.tokens

    def _parts(self, starts: list[int]) -> tuple[str, ...]:
        return tuple(self.symbols[start:end] for start, end in pairwise([*starts, len(self.symbols)]))


def merge(symbols: str, ranks: Ranks) -> tuple[list[str], list[MergeStep]]:
    """Merge the pair of lowest rank, leftmost first, until none is left; return the tokens and the merges in order.

    The parts are a linked list and the pairs a heap, so that n symbols take O(n log n) time.

    >>> merge("hello", {("l", "l"): 0, ("e", "ll"): 1})[0]
    ['h', 'ell', 'o']
    """
    # The parts form a doubly linked list: a merge extends the left part and unlinks the right one.
    size = len(symbols)
    parts = [*symbols, ""]  # unlinked parts, and the end of the list, are empty: they are in no learnt pair
    previous = list(range(-1, size))
    following = list(range(1, size + 2))

    # The heap holds every learnt pair of neighbours as (rank, index of its left part).
    heap: list[tuple[int, int]] = []

    def push_pair(left: int) -> None:
        rank = ranks.get((parts[left], parts[following[left]]))
        if rank is not None:
            heapq.heappush(heap, (rank, left))

    for index in range(size):
        push_pair(index)

    steps: list[MergeStep] = []
    while heap:
        rank, left = heapq.heappop(heap)
        right = following[left]
        if ranks.get((parts[left], parts[right])) != rank:
            continue  # stale: an earlier merge has changed one of the two
        steps.append(MergeStep(rank, parts[left], parts[right], left))

        parts[left] += parts[right]
        parts[right] = ""
        following[left] = following[right]
        previous[following[left]] = left

        # The new part has two new neighbour pairs.
        push_pair(left)
        if previous[left] >= 0:
            push_pair(previous[left])
    return [part for part in parts if part], steps


def explain(text: str, ids: Mapping[str, int], ranks: Ranks) -> list[PreToken]:
    """Return every step from a text to its token ids. The text must be valid Unicode (no lone surrogates).

    >>> [hi] = explain("Hi", {"H": 39, "Hi": 17250, "i": 72}, {("H", "i"): 0})
    >>> hi.ids, list(hi.states())
    ((17250,), [('H', 'i'), ('Hi',)])
    """
    return [_explain_pre_token(text, ids, ranks) for text in split(text)]


def _explain_pre_token(text: str, ids: Mapping[str, int], ranks: Ranks) -> PreToken:
    data = text.encode()
    symbols = to_symbols(data)
    tokens, steps = merge(symbols, ranks)
    return PreToken(text, tuple(data), symbols, tuple(steps), tuple(tokens), tuple(ids[token] for token in tokens))
