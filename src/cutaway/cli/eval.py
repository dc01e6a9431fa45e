"""`cutaway eval`: score how well a model predicts texts, or run the tasks of the GPT-2 paper."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from cutaway.cli.arguments import add_json, add_model, write_json
from cutaway.cli.loading import describe, load_model
from cutaway.cli.progress_line import ProgressLine
from cutaway.cli.reading import read_stdin, utf8
from cutaway.cli.terminal import note
from cutaway.errors import INTERRUPTED, CutawayError, UsageError, guarded

if TYPE_CHECKING:
    from cutaway.data.records import Record
    from cutaway.evaluation.corpus import DataFile
    from cutaway.evaluation.paper_tasks import PaperTask, Result
    from cutaway.model import Model

PAPER = "paper"

EXAMPLES = """\
tasks of the GPT-2 paper, and HellaSwag:
  lambada, cbt-cn, cbt-ne, wikitext-2, ptb, enwik8, text8, wikitext-103, 1bw,
  hellaswag

examples:
  cutaway eval book.txt articles.jsonl.xz
  cutaway eval --text "A robot must obey the orders given it" --json
  cutaway eval wikitext-2 wiki.test.tokens --model gpt2
  cutaway eval paper --data sets/ --model gpt2
  cutaway eval --task translation test.jsonl --model run/model"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the data, the windows and the model."""
    parser.description = "Score how well a model predicts texts, or run the tasks of the GPT-2 paper."
    parser.epilog = EXAMPLES
    meaning = (
        "plain text, .jsonl, .parquet, with .xz, .gz or .zst, or folders of these; - reads standard input, and so does "
        "a pipe; or a task's name and its FILE; or paper"
    )
    parser.add_argument("what", nargs="*", metavar="FILE", help=meaning)
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", help="a text, instead of files")
    text.add_argument(
        "--ids",
        action="extend",
        type=int,
        nargs="+",
        metavar="ID",
        help="token ids; the first is not scored",
    )
    task = parser.add_argument_group("task", "for a model that has learned one of `cutaway task list`")
    task.add_argument("--task", metavar="NAME", help="evaluate a task on a FILE of JSON Lines of its fields")
    task.add_argument(
        "--train", type=Path, metavar="FILE", help="training records, for the floor of the nearest source"
    )
    task.add_argument("--beams", type=int, metavar="N", help="beams of the search, 1: greedy; default: the task's")
    task.add_argument("--limit", type=int, metavar="N", help="evaluate only the first N records")
    task.add_argument("--seed", type=int, metavar="N", help="random seed of samples and controls; default: 1")
    parser.add_argument("--data", type=Path, metavar="DIR", help="for paper: the folder with the tasks' files")
    windows = parser.add_argument_group("windows", "for a text that is longer than the context")
    pace = windows.add_mutually_exclusive_group()
    pace.add_argument(
        "--window",
        choices=("overlap", "disjoint"),
        help="overlap by half, or not at all; default: overlap, or disjoint for a task",
    )
    pace.add_argument("--stride", type=int, metavar="N", help="tokens from one window's start to the next one's")
    add_json(parser)
    add_model(parser)


def run(options: Namespace) -> None:
    """Evaluate what the arguments name."""
    from cutaway.evaluation.paper_tasks import TASKS

    first = options.what[0] if options.what else ""
    if options.task is not None:
        from cutaway.cli.task_scores import print_task_scores

        print_task_scores(options)
        return
    for name in ("train", "beams", "limit", "seed"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} goes with --task, as in: cutaway eval --task translation test.jsonl")
    if options.data is not None and first != PAPER:
        raise UsageError("--data goes with paper, as in: cutaway eval paper --data DIR")
    if first == PAPER:
        _run_paper(options)
    elif first in TASKS:
        _run_task(options, TASKS[first])
    else:
        _check_name(first)
        _check_texts(options.what)
        _run_documents(options)


def _check_name(first: str) -> None:
    """Raise UsageError for a word that is almost a task's name, and not a file."""
    from difflib import get_close_matches

    from cutaway.evaluation.paper_tasks import TASKS

    is_name = not Path(first).suffix and not Path(first).exists()
    near = get_close_matches(first, [*TASKS, PAPER], n=1)
    if near and is_name:
        raise UsageError(f"no such file: {first}; did you mean the task {near[0]}?")


def _check_texts(names: Sequence[str]) -> None:
    """Raise UsageError for a MIDI file; the message names the command that scores it."""
    for name in names:
        if Path(name).suffix.lower() in (".mid", ".midi"):
            ids = f"--ids $(cutaway music encode {quote(name)})"
            raise UsageError(f"{name} is music, not text; score its ids: cutaway eval --model builtin-piano {ids}")


def _run_documents(options: Namespace) -> None:
    from cutaway.cli.scores import evaluation_document, evaluation_lines
    from cutaway.evaluation.evaluate import evaluate

    documents, files = _read_documents(options)
    model = load_model(options)
    with ProgressLine("bytes") as progress:
        evaluation = evaluate(model, documents, _stride(options, model), progress)
    if options.json:
        write_json({**describe(model), **evaluation_document(evaluation, files)})
    else:
        _print(evaluation_lines(evaluation, files))


def _run_task(options: Namespace, task: "PaperTask") -> None:
    from cutaway.cli.scores import published_document, task_document, task_lines

    if len(options.what) != 2 or options.text is not None or options.ids is not None:
        raise UsageError(f"{task.name} takes one file, as in: cutaway eval {task.name} {task.files[0]}")
    model = load_model(options)
    file, result = _evaluate_task(model, task, Path(options.what[1]), _stride(options, model))
    if options.json:
        document = {"task": task.name, **task_document(file, result), "published": published_document(task.name)}
        write_json({**describe(model), **document})
    else:
        _print(task_lines(task.name, file, result, model.config.n_ctx))


def _run_paper(options: Namespace) -> None:
    from cutaway.cli.scores import paper_document, paper_lines
    from cutaway.evaluation.paper import COLUMNS
    from cutaway.evaluation.paper_tasks import TASKS

    if len(options.what) > 1 or options.text is not None or options.ids is not None:
        raise UsageError("paper takes no files: put them into a folder, and give it as --data DIR")
    if options.data is not None and not options.data.is_dir():
        raise UsageError(f"--data {options.data}: no such folder")
    model = load_model(options)
    tasks = [TASKS[name] for name in dict.fromkeys(column.task for column in COLUMNS)] if options.data else []
    outcomes = _evaluate_tasks(model, tasks, options.data, _stride(options, model))
    if options.json:
        write_json({**describe(model), **paper_document(outcomes.results, outcomes.failures)})
    else:
        _print(paper_lines(model.name, outcomes.results, outcomes.failures))
    if outcomes.code == INTERRUPTED:
        raise KeyboardInterrupt
    if outcomes.code:
        n_found = len(outcomes.results) + len(outcomes.failures)
        raise _exit_with(outcomes.code, f"{len(outcomes.failures)} of {n_found} tasks failed; the others are above")


@dataclass
class _Outcomes:
    """Results of tasks by name, the errors of those that failed, and the exit code of the first error: 0 if none."""

    results: "dict[str, tuple[DataFile, Result]]" = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    code: int = 0


def _evaluate_tasks(model: "Model", tasks: "Sequence[PaperTask]", directory: Path, stride: int | None) -> _Outcomes:
    """Evaluate the tasks whose files are in a folder. An error ends only its task; Ctrl-C ends all that are left."""
    outcomes = _Outcomes()
    for task in tasks:

        def evaluate(task: "PaperTask" = task) -> None:
            path = task.find(directory)
            if path is not None:
                outcomes.results[task.name] = _evaluate_task(model, task, path, stride if task.takes_stride else None)

        def tell(message: str, name: str = task.name) -> None:
            outcomes.failures[name] = message
            note(f"{name}: {message}")

        code = guarded(evaluate, tell)
        outcomes.code = outcomes.code or code
        if code == INTERRUPTED:
            outcomes.code = code
            break
    return outcomes


def _exit_with(code: int, message: str) -> CutawayError:
    error = CutawayError(message)
    error.exit_code = code
    return error


def _evaluate_task(model: "Model", task: "PaperTask", path: Path, stride: int | None) -> "tuple[DataFile, Result]":
    with ProgressLine("bytes" if task.takes_stride else "examples", task.name) as progress:
        return task.evaluate(model, path, stride, progress)


def _stride(options: Namespace, model: "Model") -> int | None:
    """Return the stride that the arguments ask for; None for the default. Raises UsageError if it is invalid."""
    from cutaway.checks import check_int
    from cutaway.evaluation.perplexity import default_stride

    n_ctx = model.config.n_ctx
    named = {"overlap": default_stride(n_ctx), "disjoint": n_ctx}
    if options.window:
        return named[options.window]
    return None if options.stride is None else check_int("stride", options.stride, 1, n_ctx)


def _read_documents(options: Namespace) -> "tuple[Sequence[str | list[int] | Record], list[DataFile]]":
    """Read the documents that the arguments name, without stripping white space."""
    from cutaway.evaluation.corpus import data_file, read_corpus

    if options.what and (options.text is not None or options.ids is not None):
        raise UsageError("give files, or --text, or --ids")
    if options.ids is not None:
        return [list(options.ids)], []
    if options.text is not None:
        text = utf8(options.text, "the text")
        return [text], [data_file("--text", text.encode())]
    if options.what not in ([], ["-"]):
        corpus = read_corpus([Path(name) for name in options.what])
        return corpus.documents, corpus.files
    if not options.what and sys.stdin.isatty():
        raise UsageError("nothing to score: give a FILE, --text or --ids, or pipe a text in")
    text = read_stdin()
    return [text], [data_file("-", text.encode())]


def _print(lines: Sequence[str]) -> None:
    print("\n".join(lines))
