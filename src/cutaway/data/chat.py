"""Conversations: the format in which a model learns them and is prompted for a reply.

The format is plain text with one paragraph per message. Roles are words, never control tokens:

    User: Who are you?

    Assistant: A robot.

A reply ends with the end-of-text token. White space around a message is stripped.
"""

from collections.abc import Callable, Mapping, Sequence

from cutaway.errors import UsageError
from cutaway.untrusted import quote

ROLES = ("system", "user", "assistant")
NEXT = "\n\nUser:"  # also ends a reply, if the model goes on to write the user's next message

# The same format for transformers, vLLM and others that read chat_template.jinja; it is never executed here.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ message['role'] | capitalize }}: {{ message['content'] | trim }}
{%- if loop.last and message['role'] == 'assistant' and not add_generation_prompt -%}
{{ eos_token }}
{%- else -%}
{{ '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
Assistant:
{%- endif -%}
"""

Message = Mapping[str, str]  # "role", one of ROLES, and "content"


def parse_messages(value: object, place: str = "") -> list[Message]:
    """Return the messages of a conversation. Raises UsageError, prefixed by `place` if given, if they are invalid.

    >>> parse_messages([{"role": "user", "content": "Who are you?"}])
    [{'role': 'user', 'content': 'Who are you?'}]
    >>> parse_messages([{"role": "user"}], "robots.jsonl:1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cutaway.errors.UsageError: robots.jsonl:1: message 1: must be {"role", "content"}, both text, not {...}
    """
    before = f"{place}: " if place else ""
    if not isinstance(value, list | tuple):
        raise UsageError(f"{before}'messages' must be a list, not {quote(value)}")
    return [_message(entry, f"{before}message {number}") for number, entry in enumerate(value, start=1)]


def _message(entry: object, place: str) -> Message:
    match entry:
        case {"role": str(role), "content": str(content)} if role in ROLES:
            return {"role": role, "content": content}
        case {"role": str(role), "content": str()}:
            from difflib import get_close_matches  # not needed for a first token

            near = get_close_matches(role[:80], ROLES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{place}: the role must be one of {', '.join(ROLES)}, not {quote(role)}{hint}")
        case _:
            raise UsageError(f'{place}: must be {{"role", "content"}}, both text, not {quote(entry)}')


def write_message(message: Message) -> str:
    """Format a message as a paragraph, without the empty line after it.

    >>> write_message({"role": "user", "content": " Who are you? "})
    'User: Who are you?'
    """
    return f"{message['role'].capitalize()}: {message['content'].strip()}"


def write_prompt(messages: Sequence[Message]) -> str:
    """Format a conversation as the prompt for a reply.

    >>> write_prompt([{"role": "user", "content": "Who are you?"}])
    'User: Who are you?\\n\\nAssistant:'
    """
    return "\n\n".join([*map(write_message, messages), "Assistant:"])


def fit_messages(messages: Sequence[Message], fits: Callable[[Sequence[Message]], bool]) -> list[Message]:
    """Drop the oldest exchanges until the conversation fits; system messages and the last message are kept.

    >>> messages = [{"role": "user", "content": text} for text in ("One.", "Two.", "Three.")]
    >>> [message["content"] for message in fit_messages(messages, lambda kept: len(kept) < 3)]
    ['Two.', 'Three.']
    """
    kept = list(messages)
    while not fits(kept):
        system = [message for message in kept if message["role"] == "system"]
        said = [message for message in kept if message["role"] != "system"]
        exchange = next((n for n, message in enumerate(said) if n and message["role"] == "user"), None)
        if exchange is None:
            break
        kept = [*system, *said[exchange:]]
    return kept
