"""`cutaway task`: list the tasks there are, show one, make examples, and check how a file is read."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_int
from cutaway.cli.arguments import SOURCES, add_actions, write_json
from cutaway.cli.loading import read_tokenizer
from cutaway.cli.terminal import BLUE, BOLD, DIM, YELLOW, columns, safe, style
from cutaway.layout import width, wrapped_table

if TYPE_CHECKING:
    from cutaway.tasks import Task, TaskEncoder
    from cutaway.tasks.records import TaskRecord
    from cutaway.tokenizer.codec import Codec

EXAMPLES = """\
examples:
  cutaway task list
  cutaway task show translation
  cutaway task check wiki-lead articles.jsonl --n-ctx 1024
  cutaway task make reverse --n 2000 > train.jsonl"""

_BOUNDARY = "│"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    parser.description = "Show the tasks to train on: what is read, what is learned, what is measured."
    parser.epilog = EXAMPLES
    add = add_actions(parser)
    add("list", list_tasks, "List the tasks in the package.")
    add("show", show, "Show the file of a task.").add_argument("task", metavar="NAME", help="a task, or a .toml file")
    checker = add("check", check, "Show encoded examples of a file: what is read, what is learned, what is cut.")
    checker.add_argument("task", metavar="NAME", help="a task, or a .toml file")
    checker.add_argument("data", type=Path, metavar="DATA", help="JSON Lines of its fields")
    checker.add_argument("--tokenizer", metavar="NAME", help=f"{SOURCES}; default: GPT-2's own")
    checker.add_argument("--n-ctx", type=int, default=1024, metavar="N", help="context length; default: %(default)s")
    checker.add_argument("--n", type=int, default=20, help="examples to show; default: %(default)s")
    most = "tokens of an example to show, from both its ends; default: %(default)s"
    checker.add_argument("--tokens", type=int, default=200, metavar="N", help=most)
    maker = add("make", make, "Make examples of a task that generates them: number-words or reverse.")
    maker.add_argument("task", metavar="NAME", help="number-words or reverse")
    maker.add_argument("--n", type=int, default=1000, help="examples to make; default: %(default)s")
    maker.add_argument("--seed", type=int, default=1, metavar="N", help="random seed; default: %(default)s")


def run(options: Namespace) -> None:
    """Do what the chosen action does."""
    options.action(options)


def list_tasks(options: Namespace) -> None:
    """Print a line for each task in the package."""
    from cutaway.tasks import builtin_tasks

    tasks = builtin_tasks().values()
    if options.json:
        write_json([{"name": task.name, "description": task.description} for task in tasks])
    else:
        print("\n".join(wrapped_table([[task.name, task.description] for task in tasks], "<<", columns())))


def show(options: Namespace) -> None:
    """Print the file of a task."""
    from cutaway.tasks import open_task

    task = open_task(options.task)
    if options.json:
        write_json({"name": task.name, "toml": task.toml})
    else:
        sys.stdout.write(safe(task.toml))


def make(options: Namespace) -> None:
    """Print generated examples, a JSON object a line."""
    from cutaway.tasks.generators import generate_records

    records = generate_records(options.task, options.n, options.seed)
    if options.json:
        write_json(records)
    else:
        for record in records:
            print(json.dumps(record, ensure_ascii=False))


def check(options: Namespace) -> None:
    """Print encoded examples, and counts of all of them."""
    from cutaway.tasks import TaskEncoder, open_task
    from cutaway.tasks.records import read_task_records

    task = open_task(options.task)
    codec = read_tokenizer(options.tokenizer)
    encoder = TaskEncoder(task, codec, check_int("--n-ctx", options.n_ctx, 2))
    records = read_task_records(options.data, task)
    shown = records[: check_int("--n", options.n, 0)]
    most = check_int("--tokens", options.tokens, 2)
    counts = _counts(encoder, records)
    if options.json:
        write_json({"task": task.name, **counts, "shown": [_document(encoder, record) for record in shown]})
        return
    print(f"tokens that are learned are shown {_marked('like this', is_learned=True)}; {_sight(task)}")
    for number, record in enumerate(shown, start=1):
        print()
        print("\n".join(_lines(encoder, record, number, most)))
    print()
    print(
        f"{counts['examples']:,} examples: {counts['tokens']:,} tokens, {counts['longest']:,} in the longest; "
        f"{counts['learned'] / counts['tokens']:.0%} learned; {counts['truncated']:,} prompts truncated; "
        f"{counts['control_literals']:,} names of control tokens encoded as text"
    )


def _counts(encoder: "TaskEncoder", records: "Sequence[TaskRecord]") -> dict[str, int]:
    made = encoder.encode_all(records)
    lengths = [len(example.ids) for example in made.examples]
    return {
        "examples": len(lengths),
        "tokens": sum(lengths),
        "longest": max(lengths),
        "learned": made.n_learned,
        "truncated": made.n_truncated,
        "control_literals": made.n_literals,
    }


def _document(encoder: "TaskEncoder", record: "TaskRecord") -> dict[str, object]:
    example, cut = encoder.encode_and_count(record.fields)
    ids = example.ids.tolist()
    return {
        "place": record.place,
        "ids": ids,
        "labels": [encoder.codec.label(token) for token in ids],
        "learned": example.learned.tolist(),
        "n_prefix": example.n_prefix,
        "cut": cut,
    }


def _sight(task: "Task") -> str:
    return "all tokens before the target see each other" if task.attention == "prefix" else "attention is causal"


def _lines(encoder: "TaskEncoder", record: "TaskRecord", number: int, most: int) -> Iterator[str]:
    example, cut = encoder.encode_and_count(record.fields)
    count = len(example.ids)
    yield style(f"example {number}, {count:,} tokens", BOLD, sys.stdout)
    pairs = list(zip(example.ids.tolist(), example.learned.tolist(), strict=True))
    if count <= most:
        yield from _tokens(pairs, encoder.codec)
    else:
        yield from _tokens(pairs[: most // 2], encoder.codec)
        yield style(f"… {count - most:,} more tokens …", DIM, sys.stdout)
        yield from _tokens(pairs[count - (most - most // 2) :], encoder.codec)
    if cut:
        field = encoder.task.truncation.field
        yield style(f"{cut:,} tokens of {field} are cut", YELLOW, sys.stdout)


def _tokens(pairs: Sequence[tuple[int, bool]], codec: "Codec") -> Iterator[str]:
    line: list[str] = []
    used = 0
    for token, is_learned in pairs:
        label = safe(codec.label(token))
        if line and used + width(label) + 3 > columns():
            yield style(_BOUNDARY, DIM, sys.stdout).join(line)
            line = []
            used = 0
        line.append(_marked(label, is_learned=is_learned))
        used += width(label) + 3
    yield style(_BOUNDARY, DIM, sys.stdout).join(line)


def _marked(label: str, *, is_learned: bool) -> str:
    if not is_learned:
        return label
    return f"⟦{label}⟧" if style("", BLUE, sys.stdout) == "" else style(label, BLUE, sys.stdout)
