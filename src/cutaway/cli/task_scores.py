"""`cutaway eval --task`: scores of a model that has learned a task, as lines and as a JSON document."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cutaway.checks import check_int
from cutaway.cli.arguments import write_json
from cutaway.cli.loading import describe, find_task, load_model
from cutaway.cli.progress_line import ProgressLine
from cutaway.cli.scores import count, hash_line, with_error
from cutaway.cli.terminal import MAX_COLUMNS, safe
from cutaway.errors import UsageError
from cutaway.evaluation.bleu import bleu_signature
from cutaway.evaluation.corpus import DataFile, data_file
from cutaway.evaluation.task_evaluation import (
    COPIED,
    LENGTH,
    MODEL,
    NOVEL,
    SHUFFLED,
    Scores,
    TaskEvaluation,
    evaluate_task,
)
from cutaway.generation.beam import BeamConfig
from cutaway.layout import table
from cutaway.tasks import Task
from cutaway.tasks.records import read_task_records
from cutaway.tasks.task import Decoding

SHOWN = 5  # examples under the scores

_HEADINGS = {NOVEL: "novel", COPIED: "copied", LENGTH: "length"}  # of metrics that describe a summary


@dataclass(frozen=True)
class TaskScores:
    """Results of a task, with what they were computed from."""

    task: Task
    found: Sequence[TaskEvaluation]
    file: DataFile
    decoding: Decoding
    seed: int

    @property
    def signature(self) -> str | None:
        """The signature of BLEU; None if the task is not measured by it."""
        if "bleu" not in self.task.metrics:
            return None
        return bleu_signature([len(record.references) for each in self.found for record in each.records])


def print_task_scores(options: Namespace) -> None:
    """Evaluate a model on the records of a file; print its scores, or one JSON document.

    Raises UsageError for options that a task has no use for.
    """
    others = (options.text, options.ids, options.data, options.window, options.stride)
    if len(options.what) != 1 or any(value is not None for value in others):
        raise UsageError("--task takes one FILE, as in: cutaway eval --task translation test.jsonl")
    seed = 1 if options.seed is None else check_int("--seed", options.seed, 0)
    limit = None if options.limit is None else check_int("--limit", options.limit, 1)
    model = load_model(options)
    task = find_task(model, options.task)
    path = Path(options.what[0])
    records = read_task_records(path, task)[:limit]
    train = read_task_records(options.train, task) if options.train else []
    encoder = model.encoder(task)
    decoding = task.decoding
    if options.beams is not None:
        decoding = replace(decoding, beams=BeamConfig(options.beams).beams, temperature=0.0)
    with ProgressLine("examples", task.name) as progress:
        found = evaluate_task(
            model.engine, encoder, records, train=train, decoding=decoding, seed=seed, progress=progress
        )
    scores = TaskScores(task, found, data_file(str(path), path.read_bytes()), decoding, seed)
    if options.json:
        write_json({**describe(model), **task_scores_document(scores)})
    else:
        print("\n".join(task_scores_lines(scores)))


def task_scores_document(scores: TaskScores) -> dict[str, object]:
    """Return the scores of a task, for JSON."""
    return {
        "task": scores.task.name,
        "file": asdict(scores.file),
        "decoding": asdict(scores.decoding),
        "seed": scores.seed,
        "signature": scores.signature,
        "results": [_result_document(each) for each in scores.found],
    }


def _result_document(found: TaskEvaluation) -> dict[str, object]:
    value, error = found.saving
    return {
        "choices": found.choices,
        "examples": len(found.records),
        "scores": {
            name: {metric: {"value": value, "standard_error": error} for metric, (value, error) in row.items()}
            for name, row in found.scores.items()
        },
        "likelihood": {
            name: {
                "nats": nll.nats,
                "tokens": nll.tokens,
                "bytes": nll.bytes,
                "nats_per_token": nll.nats_per_token,
                "bits_per_byte": nll.bits_per_byte,
            }
            for name, nll in found.likelihoods.items()
        },
        "saving": {"value": value, "standard_error": error},
        "outputs": [output.text for output in found.outputs],
    }


def task_scores_lines(scores: TaskScores) -> list[str]:
    """Return the scores of a task, to be read: a table of scores, floors and control, and examples."""
    decoding = scores.decoding
    search = f"beams {decoding.beams}, alpha {decoding.alpha:g}"
    how = f"temperature {decoding.temperature:g}" if decoding.temperature else search
    bleu = "" if scores.signature is None else f"; BLEU {scores.signature}"
    return [
        *(line for found in scores.found for line in _result_lines(scores.task, found)),
        f"{how}; seed {scores.seed}{bleu}",
        hash_line(scores.file),
    ]


def _result_lines(task: Task, found: TaskEvaluation) -> list[str]:
    named = " to ".join(found.choices.values())
    title = f"{task.name}{f', {named}' if named else ''}: {count(len(found.records), 'examples')}"
    return [title, "", *_table(found), *_saving_lines(found), "", *_example_lines(task, found)]


def _table(found: TaskEvaluation) -> list[str]:
    metrics = [metric for metric in found.scores[MODEL] if metric != "rougeLsum"]
    rows = [["", *(_HEADINGS.get(metric, metric) for metric in metrics), "nats per token", "bits per byte"]]
    for name, row in found.scores.items():
        nll = found.likelihoods.get(name)
        nats = "" if nll is None else f"{nll.nats_per_token:.4f}"
        bits = "" if nll is None or nll.bits_per_byte is None else f"{nll.bits_per_byte:.4f}"
        rows.append([name, *(_cell(row, metric) for metric in metrics), nats, bits])
    return list(table(rows, "<" + ">" * (len(metrics) + 2)))


def _cell(row: Scores, metric: str) -> str:
    """Return the cell of a metric; empty for texts that it does not apply to."""
    if metric not in row:
        return ""
    value, error = row[metric]
    return f"{value:.0f} %" if metric in _HEADINGS else with_error(value, error, 2)


def _saving_lines(found: TaskEvaluation) -> list[str]:
    """Return what the source is worth to the model; nothing for one record, whose source is not shuffled."""
    if len(found.records) < 2:
        return []
    value, error = found.saving
    saved = with_error(100 * value, None if error is None else 100 * error, 1)
    return [f"bits of the targets that their own source saves, beside {SHUFFLED}: {saved} %"]


def _example_lines(task: Task, found: TaskEvaluation) -> list[str]:
    lines: list[str] = []
    for record, output in zip(found.records[:SHOWN], found.outputs, strict=False):
        lines += [
            f"  source     {_one_line(record.fields[task.truncation.field])}",
            f"  reference  {_one_line(record.fields[task.target])}",
            f"  model      {_one_line(output.text)}{'' if output.is_finished else ' (did not end)'}",
            "",
        ]
    return lines


def _one_line(text: str) -> str:
    shown = " ".join(safe(text).split())
    return shown if len(shown) <= MAX_COLUMNS else f"{shown[: MAX_COLUMNS - 1]}…"
