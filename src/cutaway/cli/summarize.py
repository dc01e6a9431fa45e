"""`cutaway summarize`: summarize a text, with a model that has learned to or by GPT-2's own protocol."""

import re
import secrets
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_int
from cutaway.cli.arguments import add_json, add_model, write_json
from cutaway.cli.loading import describe, load_model
from cutaway.cli.reading import note_cut, read_file, read_text
from cutaway.cli.terminal import note, safe
from cutaway.errors import UsageError
from cutaway.untrusted import quote

if TYPE_CHECKING:
    from cutaway.model import Model
    from cutaway.tasks import Task

EXAMPLES = """\
examples:
  cutaway summarize article.txt --seed 1
  cutaway summarize --file article.txt --sentences 1 --model run/model
  cat article.txt | cutaway summarize --title "Ada Lovelace" --json"""

PROTOCOL = "tldr"  # the task of a model that has not learned to summarize
TITLE = "title"
_FILE_NAME = re.compile(r"\S+\.[A-Za-z]{2,5}|\S*[/\\]\S*")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the text, the length, the seed and the model."""
    parser.description = "Summarize a text as the model has learned to, or else with TL;DR: after it."
    parser.epilog = EXAMPLES
    text = parser.add_mutually_exclusive_group()
    meaning = "a text, or the path of a file with it; - reads standard input, and so does a pipe without a TEXT"
    text.add_argument("text", nargs="?", metavar="TEXT", help=meaning)
    text.add_argument("--file", type=Path, metavar="PATH", help="summarize the text of a file")
    parser.add_argument("--title", help="title of the text, for a task that reads one; default: its first line")
    shortened = "keep the first N sentences, 0: all; default: the task's, 3 for TL;DR:"
    parser.add_argument("--sentences", type=int, metavar="N", help=shortened)
    parser.add_argument("--seed", type=int, metavar="N", help="random seed of a sampled summary; default: random")
    add_json(parser)
    add_model(parser)


def run(options: Namespace) -> None:
    """Print the summary of a text, or one JSON document."""
    from cutaway.tasks.decoding import decode_fields

    text = _read(options)
    seed = secrets.randbits(32) if options.seed is None else check_int("--seed", options.seed, 0)
    if options.sentences is not None:
        check_int("--sentences", options.sentences, 0)
    model = load_model(options)
    encoder = model.encoder(find_task(model))
    task = encoder.task
    fields = read_fields(task, text, options.title)
    decoding = task.decoding
    if options.sentences is not None:
        decoding = replace(decoding, sentences=options.sentences)
    prompt, cut = encoder.prompt_and_count(fields)
    [[output]] = decode_fields(model.engine, encoder, [fields], decoding, seed=seed)
    used = seed if decoding.temperature > 0 else None
    if options.json:
        write_json(
            {
                **describe(model),
                "task": task.name,
                "decoding": asdict(decoding),
                "seed": used,
                "prompt_tokens": len(prompt),
                "cut_tokens": cut,
                "summary": output.text,
                "logprob": output.logprob,
                "finished": output.is_finished,
            }
        )
        return
    if cut:
        note_cut(encoder, "the text", cut)
    print(safe(" ".join(output.text.split())))
    if used is not None:
        note(f"seed {used}")


def find_task(model: "Model") -> "Task":
    """Return the task of a model if it is measured by ROUGE, else the task of the TL;DR protocol.

    >>> import cutaway
    >>> find_task(cutaway.load()).name
    'tldr'
    """
    from cutaway.tasks import open_task

    own = model.task
    return own if own is not None and own.summarizes else open_task(PROTOCOL)


def read_fields(task: "Task", text: str, title: str | None) -> Mapping[str, str]:
    """Return the fields of a text for a task: its title, if the task has one, is the first line before a blank one.

    Raises UsageError for an empty text, and for a task with other fields than a text and its title.

    >>> from cutaway.tasks import open_task
    >>> read_fields(open_task("wiki-lead"), "Ada\\n\\nShe was born in London.", None)
    {'title': 'Ada', 'body': 'She was born in London.'}
    >>> read_fields(open_task("wiki-lead"), "She was born in London.", "Ada")
    {'title': 'Ada', 'body': 'She was born in London.'}
    """
    body = task.truncation.field
    others = [*task.choices, *(name for name in task.sources if name not in (body, TITLE))]
    if others:
        raise UsageError(f"{task.name} also reads {', '.join(others)}: use `cutaway generate --task` with records")
    has_title = TITLE in task.sources
    if title is not None and not has_title:
        raise UsageError(f"--title: {task.name} reads no title")
    text = text.strip()
    if has_title and title is None:
        first, blank, rest = text.partition("\n\n")
        is_title = bool(blank) and "\n" not in first
        title = first if is_title else ""
        text = rest.strip() if is_title else text
    if not text:
        raise UsageError("nothing to summarize: the text is empty")
    return {TITLE: title or "", body: text} if has_title else {body: text}


def _read(options: Namespace) -> str:
    text = read_text(options, "summarize", "give a TEXT or --file, or pipe a text in")
    if text != options.text:
        return text
    if _names_a_file(text):
        return read_file(Path(text))
    if _FILE_NAME.fullmatch(text):
        raise UsageError(f"there is no file {quote(text)}; a text of one word is given as --file, or piped in")
    return text


def _names_a_file(text: str) -> bool:
    """Return True for a text that is the path of a file, as in `cutaway summarize article.txt`."""
    try:
        return Path(text).is_file()
    except OSError:  # longer than a path can be
        return False
