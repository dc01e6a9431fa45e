"""Encoding of texts of any length in linear time and bounded memory.

`tokenizers` takes some 300 bytes of memory a token, and O(n log n) time for a pre-token of n bytes (a million spaces,
say). So a long text is encoded window by window: up to a cut, where the next window begins, a window's tokens are those
of the whole text. The cut must not change a token.

*Before a pre-token*, it does not. OpenAI's pattern reads from left to right, has no lookbehind and forgets a pre-token
once it is matched; no merge crosses from one pre-token to the next. It does look ahead: a pre-token is final once the
window shows where it ends, one character more (`\\s+(?!\\S)`), and three characters from its start (`'re`). So
everything before the last pre-token that begins at least three characters before the window's end is final.

*Within a pre-token* of more than half a window, the cut is between two tokens. Let the bytes left of it, merged alone,
give the tokens ..., s, and those right of it t, .... Merging picks the pair of lowest rank, leftmost, anywhere in the
pre-token. As long as no merge crosses the cut, or a border between tokens that came out separate, the bytes of each
token go through the same merges in the same order as they do alone. So the first merge across the cut, if there is one,
joins the end of what s is so far with the beginning of what t is so far, and merging just the bytes of s and t comes to
the same point. Hence, if these give the two tokens s and t, no merge crosses in the whole pre-token. Nothing is assumed
about the vocabulary.

So each cut takes one small check. It rarely fails; then earlier cuts are tried, and in the end the text is encoded in
one go. The rest of the pre-token, alone, is again a single pre-token: at least a dozen of its characters, all of one
kind, follow the cut, so that it cannot be taken for a contraction.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not needed for a first token
    from tokenizers import Encoding, Tokenizer

WINDOW = 1 << 13  # characters
_UNSETTLED = 3  # characters at the end of a window
_MARGIN = 16  # characters right of a cut within a pre-token: the last tokens of a part often differ from the whole's
_TRIES = 8  # cuts tried within a pre-token before windows are given up; the first nearly always works


def encode(fast: "Tokenizer", text: str) -> list[int]:
    """Return the ids of `fast.encode(text)`, for a tokenizer that splits as GPT-2 does and has no added tokens.

    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> fast = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    >>> fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    >>> encode(fast, "abba")
    [2, 1, 0]
    """
    ids: list[int] = []
    start = 0
    window = fast.encode(text[:WINDOW])
    while start + WINDOW < len(text):
        tokens = window.ids
        for cut, char, within in islice(_cuts(window), _TRIES):
            following = fast.encode(text[start + char : start + char + WINDOW])
            if not within or _stay_apart(fast, tokens[cut - 1], following.ids[0]):
                break
        else:
            return fast.encode(text).ids
        ids += tokens[:cut]
        start += char
        window = following
    return ids + window.ids


def _cuts(window: "Encoding") -> Iterator[tuple[int, int, bool]]:
    """Yield possible cuts of a window: tokens and characters before the cut, and if it is within a pre-token.

    A cut before a pre-token is best: no token crosses it, and the pattern does not look back. But the last three
    characters of the window may belong to other pre-tokens once more text follows (`'re` is the longest lookahead).
    """
    offsets = window.offsets
    pre_tokens = window.word_ids
    first = len(offsets) - 1
    while offsets[first][0] > WINDOW - _UNSETTLED or (first > 0 and pre_tokens[first - 1] == pre_tokens[first]):
        first -= 1
    if offsets[first][0] > WINDOW // 2:
        yield first, offsets[first][0], False
        return
    for cut in range(len(offsets) - 1, first, -1):
        char = offsets[cut][0]
        if char <= WINDOW - _MARGIN and offsets[cut - 1][1] <= char:  # else the cut would be within a character
            yield cut, char, True


def _stay_apart(fast: "Tokenizer", left: int, right: int) -> bool:
    """Return True if two tokens stay two when their bytes are merged together.

    Then no merge crosses the border in the whole pre-token: the first such merge would join their ends, which are made
    by the same merges in the same order in both.
    """
    symbols = f"{fast.id_to_token(left)}{fast.id_to_token(right)}"
    return [token.id for token in fast.model.tokenize(symbols)] == [left, right]
