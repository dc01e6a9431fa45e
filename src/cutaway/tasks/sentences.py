"""Sentences of a text: up to a mark that ends one and the space after it, or up to a blank line."""

import re

# A capital letter with a full stop is an initial; marks of Chinese and Japanese need no space after them.
_END = re.compile(r"(?<!\b[A-Z]\.)(?<=[.!?])[\"'”’)\]]*(?=\s)|[。！？][」』”’）]*|(?<=\S)(?=\s*\n\s*\n)")


def first_sentences(text: str, n: int) -> str:
    """Return a text up to the end of its n-th sentence, without white space around it; all of it if it has fewer.

    >>> first_sentences("It cost 3.5 pounds. J. Smith paid! Why? ", 2)
    'It cost 3.5 pounds. J. Smith paid!'
    >>> first_sentences("我爱猫。你呢？", 1)
    '我爱猫。'
    """
    text = text.strip()
    ends = [match.end() for match in _END.finditer(text)][:n]
    return text[: ends[-1]] if len(ends) == n else text
