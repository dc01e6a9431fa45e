"""Formats of a conversation in token ids. A model's chat template says which it has learned: the paragraphs of `chat`,
or the turns of DialoGPT, whose messages end with the end-of-text token and have no roles.

Templates are compared, never executed: a model's files are untrusted.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cutaway.data.chat import CHAT_TEMPLATE, NEXT, Message, write_prompt
from cutaway.errors import UsageError

# transformers' default for every GPT-2, before models had their own templates.
_TURNS = re.compile(
    r"""\{%-?\s*for message in messages\s*-?%\}"""
    r"""\{\{-?\s*message(\.content|\['content'\]|\["content"\])\s*-?\}\}\{\{-?\s*eos_token\s*-?\}\}"""
    r"""\{%-?\s*endfor\s*-?%\}"""
)


@dataclass(frozen=True)
class ChatForm:
    """A format of a conversation.

    `prompt` returns the prompt's token ids; its arguments are the messages, a function that encodes text, and the
    end-of-text token, or None if the model has none. `stops` are texts that end a reply, as that token does.
    """

    prompt: Callable[[Sequence[Message], Callable[[str], list[int]], int | None], list[int]]
    stops: tuple[str, ...] = ()


def find_form(template: str) -> ChatForm | None:
    """Find the format that a chat template produces; None if it is not known.

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
