"""Encoding a text of any length in time and memory that grow no faster than the text.

`tokenizers` takes some 300 bytes of memory a token, and O(n log n) time for a piece of n bytes (a million spaces, say).
So a long text is encoded window by window: a window's tokens are the whole text's up to a cut, where the next begins.
No cut is taken on trust: it is sound by the way GPT-2 splits text, or it is checked. docs/chunked.md says why.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not needed for a first token
    from tokenizers import Encoding, Tokenizer

WINDOW = 1 << 13  # characters
_UNSETTLED = 3  # characters at the end of a window
_MARGIN = 16  # characters that are left of a piece that is cut: its last tokens are seldom those of the whole piece
_TRIES = 8  # cuts within a piece before windows are given up; the first is nearly always sound


def encode(fast: "Tokenizer", text: str) -> list[int]:
    """The ids of `fast.encode(text)`, for a tokenizer that splits as GPT-2 does and has no added tokens."""
    ids: list[int] = []
    start, window = 0, fast.encode(text[:WINDOW])
    while start + WINDOW < len(text):
        tokens = window.ids
        for cut, char, in_piece in islice(_cuts(window), _TRIES):
            following = fast.encode(text[start + char : start + char + WINDOW])
            if not in_piece or _stay_apart(fast, tokens[cut - 1], following.ids[0]):
                break
        else:
            return fast.encode(text).ids
        ids += tokens[:cut]
        start, window = start + char, following
    return ids + window.ids


def _cuts(window: "Encoding") -> Iterator[tuple[int, int, bool]]:
    """Where a window may be cut: the tokens and the characters before the cut, and whether it is within a piece.

    Before a piece is best: no token goes from piece to piece, and nothing looks back. But what begins in the last three
    characters of the window may be other pieces once the text goes on (`'re` is the longest to be seen whole).
    """
    offsets, pieces = window.offsets, window.word_ids
    first = len(offsets) - 1
    while offsets[first][0] > WINDOW - _UNSETTLED or (first > 0 and pieces[first - 1] == pieces[first]):
        first -= 1
    if offsets[first][0] > WINDOW // 2:
        yield first, offsets[first][0], False
        return
    for cut in range(len(offsets) - 1, first, -1):
        char = offsets[cut][0]
        if char <= WINDOW - _MARGIN and offsets[cut - 1][1] <= char:  # else the cut would be within a character
            yield cut, char, True


def _stay_apart(fast: "Tokenizer", left: int, right: int) -> bool:
    """Whether two tokens stay two when their bytes are merged together.

    In the whole piece no merge goes across them then: the first that did would join their ends, which come about by the
    same merges in the same order here as there.
    """
    symbols = f"{fast.id_to_token(left)}{fast.id_to_token(right)}"
    return [token.id for token in fast.model.tokenize(symbols)] == [left, right]
