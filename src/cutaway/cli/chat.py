"""`cutaway chat`: talk with a model that was fine-tuned on messages."""

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from cutaway.cli import terminal
from cutaway.cli.arguments import add_json, add_model, write_json
from cutaway.cli.generate import add_sampling, read_overrides
from cutaway.cli.loading import describe, load_model
from cutaway.cli.reading import typed_lines, utf8
from cutaway.errors import CutawayError, UsageError

if TYPE_CHECKING:
    from cutaway.data.chat import Message
    from cutaway.generation.config import GenerationConfig
    from cutaway.generation.stream import FinishReason
    from cutaway.model import Model

HELP = "A message and Enter; Ctrl-C stops a reply, Ctrl-D ends."
EXAMPLES = """\
examples:
  cutaway chat --model run/model
  cutaway chat --model run/model --system "Be brief." --seed 1
  echo "Who are you?" | cutaway chat --model run/model --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the system message, the settings of `GenerationConfig`, the output format and the model."""
    parser.description = "Talk with a model that was fine-tuned on messages; each line is a message."
    parser.epilog = EXAMPLES
    parser.add_argument("--system", metavar="TEXT", help="system message, before the first message")
    add_json(parser)
    add_sampling(parser, "reply")
    add_model(parser)


def run(options: Namespace) -> None:
    """Reply to each line of standard input; with --json, write the conversation as a line to fine-tune on."""
    overrides = read_overrides(options)
    messages: list[Message] = []
    if options.system is not None:
        messages.append({"role": "system", "content": utf8(options.system, "--system")})
    if options.json and sys.stdin.isatty():
        raise UsageError("--json is one document, without replies to be read; give the messages through a pipe")
    model = load_model(options)
    model.require_tokenizer("it cannot be talked with")
    _doubt(model)
    config = model.generation_config.replace(**overrides)
    if messages:
        model.fit_messages(messages, config)  # raises UsageError if there is no room or no place for a system
    first = config.pick_seed()
    if config.seed is None and config.temperature > 0 and not options.json:
        terminal.note(f"seed {first}")
    _talk(model, messages, config.replace(seed=first), is_silent=options.json)
    if options.json:
        write_json({"messages": messages, **describe(model), "seed": first})


def _doubt(model: "Model") -> None:
    """Say that a model may not have learned conversations, and what is wrong with its chat template if it has one."""
    from cutaway.data.chat_forms import find_form

    template = model.metadata.chat_template
    if find_form(template.text) is not None:
        return
    reason = template.error
    if template.text:
        reason = "its chat template is neither the one that `cutaway finetune` writes nor DialoGPT's"
    doubt = f"{model.name} does not say that it has learned conversations: it may only continue the text"
    terminal.note(f"{reason}; so {doubt}" if reason else doubt)


def _talk(model: "Model", messages: list["Message"], config: "GenerationConfig", *, is_silent: bool) -> None:
    """Append the user's messages and the replies, each with the next seed; an error ends one reply only.

    Ctrl-C ends one reply, too. If it stops a reply before the first word, the reply and its message are dropped.
    """
    told: set[str] = set()
    for text in typed_lines(HELP):
        if not text.strip():
            continue
        seed = config.pick_seed()
        try:
            said: Message = {"role": "user", "content": utf8(text, "the line")}
            kept = model.fit_messages([*messages, said], config)
            if len(kept) <= len(messages):
                _note_once(
                    told, f"the context of {model.config.n_ctx:,} tokens is full: the oldest messages are not read"
                )
            reply, reason = _reply(model, kept, config, is_silent)
            if reply or reason:
                messages += [said, {"role": "assistant", "content": reply}]
            if reason == "length" and sys.stdout.isatty():
                _note_once(told, f"a reply ends after {config.max_new_tokens:,} tokens: --max-new-tokens sets that")
        except CutawayError as error:
            terminal.note(str(error))
        config = config.replace(seed=seed + 1)


def _note_once(told: set[str], message: str) -> None:
    if message not in told:
        told.add(message)
        terminal.note(message)


def _reply(
    model: "Model", messages: list["Message"], config: "GenerationConfig", is_silent: bool
) -> tuple[str, "FinishReason | None"]:
    """Print a reply as it is generated; return it and its finish reason, None after Ctrl-C."""
    said = ""
    reason: FinishReason | None = None
    try:
        for chunk in model.stream_chat(messages, config):
            said += chunk.text
            if not is_silent:
                print(terminal.safe(chunk.text) if sys.stdout.isatty() else chunk.text, end="", flush=True)
            reason = chunk.finish_reason
    except KeyboardInterrupt:
        print(file=sys.stderr)
    if not is_silent:
        print(flush=True)
    return said.strip(), reason
