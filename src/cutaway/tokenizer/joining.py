"""Streaming decoders of tokenizers other than GPT-2's: text, once returned, is never taken back.

The text of a token may depend on its neighbours. It is held back as long as a later token could change it.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from cutaway.tokenizer.codec import TextDecoder

# Spaces that BERT puts before punctuation and English endings, as transformers removes them, in its order.
_CLEANED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
_UNFINISHED = re.compile(r" n?(?: ?')* ?$| '[vr]$")  # the end of a text that more text could turn into one of these

# Characters between which Chinese has no spaces: han, as BERT counts them, and the punctuation around them.
_HAN = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\U0002f800-\U0002fa1f"
)
_WIDE = f"{_HAN}\u3000-\u303f\uff00-\uffef"
_QUOTES = "\u2014\u2018\u2019\u201c\u201d\u2026\u00b7"
_CHINESE = re.compile(f"[{_WIDE}][{_WIDE}{_QUOTES}]|[{_QUOTES}][{_WIDE}]")

CONTEXT = 4  # tokens before a new one that are decoded with it


def clean_up(text: str) -> str:
    """Remove the spaces before punctuation and English endings, as transformers' `clean_up_tokenization_spaces`.

    >>> clean_up("do n't , said he .")
    "don't, said he."
    """
    for before, after in _CLEANED:
        text = text.replace(before, after)
    return text


class Cleaner:
    """Cleans text that comes in parts; the returned parts, joined, are `clean_up` of the whole text.

    >>> cleaner = Cleaner()
    >>> [cleaner.push(part) for part in ("robots", " do", " n", "'t", " obey", " .")], cleaner.finish()
    (['robots', ' do', '', "n't", ' obey', '.'], '')
    """

    def __init__(self) -> None:
        self._held = ""

    def push(self, text: str) -> str:
        """Return the text that can be cleaned now."""
        self._held += text
        unfinished = _UNFINISHED.search(self._held)
        place = unfinished.start() if unfinished else len(self._held)
        while self._held.endswith(" '", 0, place):  # the space at this place may belong to " ' "
            place -= 2
        ready = self._held[:place]
        self._held = self._held[place:]
        return clean_up(ready)

    def finish(self) -> str:
        """Return the rest."""
        rest = clean_up(self._held)
        self._held = ""
        return rest


class CleanedStream:
    """Cleans the text of another decoder.

    >>> words = {0: "Yes", 1: "."}
    >>> stream = CleanedStream(WordPieceStream(words.get, prefix="##", cleanup=False))
    >>> [stream.push(index) for index in (0, 1)]
    ['Yes', '.']
    """

    def __init__(self, decoder: TextDecoder) -> None:
        self._decoder = decoder
        self._cleaner = Cleaner()

    def push(self, index: int) -> str:
        """Return the text that this token completes, if any."""
        return self._cleaner.push(self._decoder.push(index))

    def finish(self) -> str:
        """Return what is left."""
        return self._cleaner.push(self._decoder.finish()) + self._cleaner.finish()


class WordPieceStream:
    """Joins BERT's tokens with a space before each, except those that begin with `prefix`, which continue a word.

    Chinese characters and their punctuation, which are a token each, are joined without a space; transformers puts one
    there. `token` returns the token of an id. With `cleanup`, punctuation follows without a space.

    >>> tokens = {0: "obey", 1: "##ing", 2: "机", 3: "器"}
    >>> stream = WordPieceStream(tokens.get, prefix="##", cleanup=True)
    >>> [stream.push(index) for index in (0, 1, 2, 3)]
    ['obey', 'ing', ' 机', '器']
    """

    def __init__(self, token: Callable[[int], str | None], prefix: str, *, cleanup: bool) -> None:
        self._token = token
        self._prefix = prefix
        self._cleanup = cleanup
        self._last = ""  # token
        self._begun = False

    def push(self, index: int) -> str:
        """Return the text that this token adds; an id without a token has no text."""
        token = self._token(index)
        if token is None:
            return ""
        text = self._joined(token)
        self._last = token or self._last
        self._begun = True
        return clean_up(text) if self._cleanup else text

    def finish(self) -> str:
        """Return nothing, because no text is held back, and reset the stream."""
        self._last = ""
        self._begun = False
        return ""

    def _joined(self, token: str) -> str:
        if not self._begun:
            return token
        if token.startswith(self._prefix):
            return token.removeprefix(self._prefix)
        return token if _CHINESE.fullmatch(self._last[-1:] + token[:1]) else f" {token}"


class WindowStream:
    """Decodes each token together with the few before it, for decoders that cannot decode it alone.

    Incomplete characters are held back, and bytes until another token follows them.

    >>> tokens = {0: "▁a", 1: "▁robot"}
    >>> stream = WindowStream(tokens.get, lambda ids: "".join(map(tokens.__getitem__, ids)).replace("▁", " "))
    >>> [stream.push(index) for index in (0, 1)]
    [' a', ' robot']
    """

    def __init__(self, token: Callable[[int], str | None], decode: Callable[[Sequence[int]], str]) -> None:
        self._token = token
        self._decode = decode
        self._ids: list[int] = []
        self._shown = ""  # text of them that was returned

    def push(self, index: int) -> str:
        """Return the text that this token completes, if any; an id without a token has no text."""
        token = self._token(index)
        if token is None:
            return ""
        self._ids.append(index)
        text = self._decode(self._ids)
        if text.endswith("�") or _BYTE.fullmatch(token):
            return ""
        new = text[len(self._shown) :]
        self._ids = self._ids[-CONTEXT:]
        self._shown = self._decode(self._ids)
        return new

    def finish(self) -> str:
        """Return the text that was held back, and reset the stream."""
        rest = self._decode(self._ids)[len(self._shown) :]
        self._ids = []
        self._shown = ""
        return rest


_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def decode_by(decoder: TextDecoder, ids: Iterable[int]) -> str:
    """Decode all tokens at once.

    >>> decode_by(WordPieceStream({0: "robot", 1: "##s"}.get, prefix="##", cleanup=True), [0, 1])
    'robots'
    """
    return "".join(map(decoder.push, ids)) + decoder.finish()
