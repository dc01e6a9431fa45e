"""Forms of a conversation in token ids. A model's chat template says which it has learned: the paragraphs of `chat`, or
the turns of DialoGPT, whose messages end with the end-of-text token and have no roles.

Templates are compared, never run: who writes a model's files does not write its programs.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cutaway.data.chat import CHAT_TEMPLATE, NEXT, Message, write_prompt
from cutaway.errors import UsageError

# As transformers had it for every GPT-2 before models had templates of their own.
_TURNS = re.compile(
    r"""\{%-?\s*for message in messages\s*-?%\}"""
    r"""\{\{-?\s*message(\.content|\['content'\]|\["content"\])\s*-?\}\}\{\{-?\s*eos_token\s*-?\}\}"""
    r"""\{%-?\s*endfor\s*-?%\}"""
)


@dataclass(frozen=True)
class ChatForm:
    """A way to read a conversation.

    `prompt` gives the token ids that a model reads before it replies, from the messages, what encodes a text, and the
    end-of-text token, None for a model that has none. `stops` are texts that end a reply, as that token does.
    """

    prompt: Callable[[Sequence[Message], Callable[[str], list[int]], int | None], list[int]]
    stops: tuple[str, ...] = ()


def find_form(template: str) -> ChatForm | None:
    """Find the form that a chat template writes; None for a template of another.

    >>> find_form("") is None
    True
    >>> turns = find_form("{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}")
    >>> turns.prompt([{"role": "user", "content": "Hi"}], lambda text: [len(text)], 50256)
    [2, 50256]
    """
    if template == CHAT_TEMPLATE:
        return PARAGRAPHS
    return TURNS if _TURNS.fullmatch(template.strip()) else None


def _write_paragraphs(messages: Sequence[Message], encode: Callable[[str], list[int]], end: int | None) -> list[int]:
    return encode(write_prompt(messages))


def _write_turns(messages: Sequence[Message], encode: Callable[[str], list[int]], end: int | None) -> list[int]:
    if end is None:
        raise UsageError("the model's chat template ends messages with its end token, and its tokenizer names none")
    if any(message["role"] == "system" for message in messages):
        raise UsageError(
            "the model's chat template has no roles, so that the system would speak as the user does; leave it out"
        )
    return [token for message in messages for token in (*encode(message["content"]), end)]


PARAGRAPHS = ChatForm(_write_paragraphs, (NEXT,))
TURNS = ChatForm(_write_turns)
