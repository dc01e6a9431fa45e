"""Sentences of a text. A sentence ends at a mark such as a full stop followed by white space, or at a blank line."""

import re

# A capital letter with a full stop is an initial. Chinese and Japanese marks need no space after them.
_END = re.compile(r"(?<!\b[A-Z]\.)(?<=[.!?])[\"'”’)\]]*(?=\s)|[。！？][」』”’）]*|(?<=\S)(?=\s*\n\s*\n)")


def first_sentences(text: str, n: int) -> str:
    """Return the first n sentences of a text, stripped of white space; the whole text if it has fewer.

    >>> first_sentences("It cost 3.5 pounds. J. Smith paid! Why? ", 2)
    'It cost 3.5 pounds. J. Smith paid!'
    >>> first_sentences("我爱猫。你呢？", 1)
    '我爱猫。'
    """
    text = text.strip()
    ends = [match.end() for match in _END.finditer(text)][:n]
    return text[: ends[-1]] if len(ends) == n else text
