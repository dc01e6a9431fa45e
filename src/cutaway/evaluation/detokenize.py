"""Invertible de-tokenizers, which remove the artifacts of a corpus's tokenization and can restore them.

The GPT-2 paper scores tokenized corpora "using invertible de-tokenizers which remove as many of these tokenization /
pre-processing artifacts as possible" (section 3.1). Because they are invertible, the probability of the cleaned text is
that of the corpus. OpenAI did not release them. Here the tokens of a line are joined greedily, and only if `split`
splits the result into the same tokens. A token that looks like several, such as "St.", is an *exception*. The
exceptions of a corpus are part of its de-tokenizer, like its vocabulary.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True)
class Conventions:
    """The artifacts that a tokenization leaves, and the characters that stand for them in ordinary text."""

    closing: str = ""  # characters without a space before them: , . )
    opening: str = ""  # characters without a space after them: ( $
    quote: str = ""  # a character that alternates between opening and closing mark
    repeated: str = ""  # a character that forms one mark when repeated, as in WikiText's headings
    clitics: str = ""  # pattern of word endings that are separate tokens: 's
    infixes: Mapping[str, str] = field(default_factory=dict)  # token to the character between two words: @-@
    opening_marks: Mapping[str, str] = field(default_factory=dict)  # token to its character: `` is "
    closing_marks: Mapping[str, str] = field(default_factory=dict)


class Detokenizer:
    """The de-tokenizer of one corpus.

    >>> rules = Conventions(closing=",.", clitics="n't|'s", infixes={"@-@": "-"})
    >>> detokenizer = Detokenizer(rules, ["Mr.", "end", "."])
    >>> text = detokenizer.detokenize("Mr. Ford did n't like the well @-@ known end .")
    >>> text
    "Mr. Ford didn't like the well-known end."
    >>> detokenizer.retokenize(text)
    "Mr. Ford did n't like the well @-@ known end ."
    """

    def __init__(self, conventions: Conventions, vocabulary: Iterable[str]) -> None:
        """Find the exceptions among the tokens of a corpus."""
        rules = conventions
        self._rules = rules
        self._clitic = re.compile(rf"(?:{rules.clitics})\Z") if rules.clitics else None
        self._written = {**rules.infixes, **rules.opening_marks, **rules.closing_marks}
        self._openers = {c: c for c in rules.opening + rules.quote} | {c: t for t, c in rules.opening_marks.items()}
        self._closers = {c: c for c in rules.closing + rules.quote} | {c: t for t, c in rules.closing_marks.items()}
        self._hyphens = {c: t for t, c in rules.infixes.items() if c == "-"}
        self._points = {c: t for t, c in rules.infixes.items() if c != "-"}
        self.exceptions: frozenset[str] = frozenset()
        self.exceptions = frozenset(token for token in set(vocabulary) if self._split(token) != [token])

    def detokenize(self, line: str) -> str:
        """Join the tokens of a line, given with single spaces between them."""
        tokens = line.split(" ")
        chunks = [[tokens[0]]]
        inside_quote = tokens[0] == self._rules.quote
        for token, following in pairwise([*tokens[1:], ""]):
            inside_quote ^= token == self._rules.quote
            if self._belongs(chunks[-1], token, following, inside_quote):
                chunks[-1].append(token)
            else:
                chunks.append([token])
        return " ".join(map(self._write, chunks))

    def retokenize(self, text: str) -> str:
        """Restore the line from which `detokenize` made a text."""
        return " ".join(token for chunk in text.split(" ") for token in self._split(chunk))

    def _belongs(self, chunk: Sequence[str], token: str, following: str, inside_quote: bool) -> bool:
        """Return True if a token follows a chunk without a space and the result splits into the same tokens."""
        if token in self._rules.infixes:
            return self._inverts([*chunk, token, following])  # only between two words
        return self._joins(chunk[-1], token, inside_quote) and self._inverts([*chunk, token])

    def _joins(self, last: str, token: str, inside_quote: bool) -> bool:
        """Return True if ordinary text has no space between two tokens; `inside_quote` applies after the second."""
        rules = self._rules
        if token == rules.quote:
            return not inside_quote
        if last == rules.quote:
            return inside_quote or token in self._closers
        return (
            token in self._closers
            or token in rules.closing_marks
            or (last != "" and last in rules.opening)
            or last in rules.opening_marks
            or last in rules.infixes
            or bool(self._clitic and self._clitic.fullmatch(token))
            or (token == last == rules.repeated)
        )

    def _inverts(self, chunk: Sequence[str]) -> bool:
        return self._split("".join(self._written.get(token, token) for token in chunk)) == list(chunk)

    def _write(self, chunk: Sequence[str]) -> str:
        """Return the text of a chunk; a single mark that would be ambiguous stays a token."""
        return "".join(self._written.get(token, token) for token in chunk) if self._inverts(chunk) else chunk[0]

    def _split(self, chunk: str) -> list[str]:
        """Split the text between two spaces into tokens."""
        before: list[str] = []
        after: list[str] = []
        while len(chunk) > 1 and chunk not in self.exceptions:
            if chunk[0] in self._openers:
                before.append(self._openers[chunk[0]])
                chunk = chunk[1:]
            elif chunk[-1] in self._closers:
                after.append(self._closers[chunk[-1]])
                chunk = chunk[:-1]
            elif self._clitic and (clitic := self._clitic.search(chunk, 1)):
                after.append(clitic[0])
                chunk = chunk[: clitic.start()]
            else:
                break
        return [*before, *self._split_word(chunk), *reversed(after)]

    def _split_word(self, word: str) -> list[str]:
        if word in self.exceptions:
            return [word]
        if len(word) > 1 and set(word) == {self._rules.repeated}:
            return list(word)
        parts = _split_at(word, r"(?<=.){}(?=.)", self._hyphens)
        return [
            token
            for part in parts
            for token in ([part] if part in self.exceptions else _split_at(part, r"(?<=\w){}(?=\w)", self._points))
        ]


def _split_at(word: str, pattern: str, tokens: Mapping[str, str]) -> list[str]:
    """Split a word at characters inside it, which become tokens themselves."""
    if not any(character in word for character in tokens):
        return [word]
    characters = "[" + re.escape("".join(tokens)) + "]"
    parts = re.split(f"({pattern.format(characters)})", word)
    return [tokens[part] if index % 2 else part for index, part in enumerate(parts)]
