"""Tokens that are found in a text before BPE begins: control tokens, and words that were added to a vocabulary."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping


class WordFinder:
    """Splits texts before and after given tokens; if several begin at one place, the longest is taken.

    The time hardly depends on the number of tokens. Take the last of the sorted tokens that is not greater than the
    rest of the text. Every token that begins the rest is on the chain from that token to its longest prefix that is
    also a token, to the longest such prefix of that one, and so on. `_shorter` links these.

    >>> finder = WordFinder({"<|user|>": 300, "<|": 301})
    >>> list(finder.split("a<|user|><|b"))
    [('a', None), ('<|user|>', 300), ('<|', 301), ('b', None)]
    """

    def __init__(self, tokens: Mapping[str, int]) -> None:
        self._tokens = tokens
        self._sorted = sorted(tokens)
        self._longest = max(map(len, tokens), default=0)
        self._shorter: dict[str, str] = {}
        chain: list[str] = []
        for token in self._sorted:
            while chain and not token.startswith(chain[-1]):
                chain.pop()
            if chain:
                self._shorter[token] = chain[-1]
            chain.append(token)
        self._head = min(3, min(map(len, tokens), default=0))  # characters that rule out most places
        self._heads = {token[: self._head] for token in tokens}

    def split(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Yield the parts of a text: (token, id), or (text between tokens, None)."""
        if not self._tokens:
            if text:
                yield text, None
            return
        start = 0
        place = 0
        head = self._head
        while place <= len(text) - head:
            if text[place : place + head] not in self._heads or not (token := self._at(text, place)):
                place += 1
                continue
            if place > start:
                yield text[start:place], None
            yield token, self._tokens[token]
            place += len(token)
            start = place
        if start < len(text):
            yield text[start:], None

    def _at(self, text: str, place: int) -> str:
        """Return the longest token that begins at a place of the text, "" if none does."""
        found = bisect_right(self._sorted, text[place : place + self._longest])
        token = self._sorted[found - 1] if found else ""
        while token and not text.startswith(token, place):
            token = self._shorter.get(token, "")
        return token
