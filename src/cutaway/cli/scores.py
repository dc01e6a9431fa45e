"""Scores as lines and as JSON documents: of documents, of a task, and of the GPT-2 paper's table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from cutaway.cli.terminal import MAX_COLUMNS, safe
from cutaway.config import PUBLISHED
from cutaway.evaluation.bleu import SIGNATURE
from cutaway.evaluation.corpus import DataFile
from cutaway.evaluation.evaluate import Evaluation
from cutaway.evaluation.paper import COLUMNS, Column
from cutaway.evaluation.paper_tasks import TASKS, Metric, Result
from cutaway.evaluation.task_evaluation import COPIED, LENGTH, MODEL, NOVEL, SHUFFLED, Scores, TaskEvaluation
from cutaway.layout import table
from cutaway.tasks.task import Decoding, Task

_HEADINGS = {NOVEL: "novel", COPIED: "copied", LENGTH: "length"}  # of metrics that describe a summary

Results = Mapping[str, tuple[DataFile, Result]]
"""Results by the name of their task, each with the file that was scored."""


def evaluation_document(evaluation: Evaluation, files: Sequence[DataFile]) -> dict[str, object]:
    """Return the scores of documents, for JSON."""
    score = evaluation.score
    return {
        "files": [asdict(file) for file in files],
        "documents": len(evaluation.documents),
        "tokens": score.tokens,
        "bytes": score.bytes or None,
        "nats": score.nats,
        "nats_per_token": score.nats_per_token,
        "perplexity": _finite(score.perplexity),
        "bits_per_byte": score.bits_per_byte,
        "standard_error": {
            "of": _units(evaluation),
            "units": len(evaluation.units),
            "nats_per_token": evaluation.nats_per_token_error,
            "perplexity": _finite(evaluation.perplexity_error),
            "bits_per_byte": evaluation.bits_per_byte_error,
        },
        "n_ctx": evaluation.n_ctx,
        "stride": evaluation.stride,
    }


def evaluation_lines(evaluation: Evaluation, files: Sequence[DataFile]) -> list[str]:
    """Return the scores of documents, to be read."""
    score = evaluation.score
    counts = [_count(len(evaluation.documents), "documents"), _count(score.tokens, "tokens")]
    bits: list[str] = []
    if score.bits_per_byte is not None:
        counts.append(f"{score.bytes:,} bytes")
        bits = [f"bits per byte   {_with_error(score.bits_per_byte, evaluation.bits_per_byte_error, 4)}"]
    return [
        ", ".join(counts),
        f"nats per token  {_with_error(score.nats_per_token, evaluation.nats_per_token_error, 4)}",
        f"perplexity      {_with_error(score.perplexity, evaluation.perplexity_error, 3)}",
        *bits,
        _windows(evaluation.n_ctx, evaluation.stride),
        *_error_note(len(evaluation.units), _units(evaluation)),
        *map(_hash_line, files),
    ]


def task_document(file: DataFile, result: Result) -> dict[str, object]:
    """Return a task's metrics and what they were computed from, for JSON."""
    return {
        "files": [asdict(file)],
        "metrics": {metric.name: _metric_document(metric) for metric in result.metrics},
        "standard_error_of": result.error_of,
        "counts": result.counts,
        "stride": result.stride,
        "is_published_file": not result.difference,
    }


def task_lines(name: str, file: DataFile, result: Result, n_ctx: int) -> list[str]:
    """Return a task's metrics beside the paper's, to be read."""
    width = max(len(metric.name) for metric in result.metrics)
    return [
        f"{TASKS[name].title}: {', '.join(_count(number, noun) for noun, number in result.counts.items())}",
        *(f"{m.name.replace('_', ' '):{width}}  {_metric(m)}" for m in result.metrics),
        *([] if result.stride is None else [_windows(n_ctx, result.stride)]),
        *_error_note(result.counts[result.error_of], result.error_of),
        _hash_line(file),
        *_difference_note(file, result),
        *(f"paper, {column.title}: {_published_line(column)}" for column in COLUMNS if column.task == name),
    ]


def published_document(name: str) -> dict[str, dict[str, float]]:
    """Return the paper's scores on a task by metric and size, for JSON; empty if it is not in the table."""
    return {column.metric: column.by_size for column in COLUMNS if column.task == name}


def paper_document(results: Results, failures: Mapping[str, str]) -> dict[str, object]:
    """Return the paper's table with a model's scores, null where the task has none, and the errors, for JSON."""
    columns = [
        {
            "title": column.title,
            "task": column.task,
            "metric": column.metric,
            "published": column.by_size,
            "score": _metric_document(_find(results, column)) if column.task in results else None,
        }
        for column in COLUMNS
    ]
    tasks = {name: task_document(*found) for name, found in results.items()}
    return {"columns": columns, "tasks": tasks, "failed": dict(failures)}


def paper_lines(model: str, results: Results, failures: Mapping[str, str]) -> list[str]:
    """Return the paper's table with a model's scores, to be read: a line for each of its columns."""
    names = [*(published.size for published in PUBLISHED), model]
    widths = [max(8, len(name)) for name in names]
    missing = dict.fromkeys(column.task for column in COLUMNS if column.task not in {**results, **failures})
    rows = [_row(c.title, [*map(_published, c.scores), _own(results, failures, c)], widths) for c in COLUMNS]
    return [
        _row("", names, widths),
        *rows,
        "ppl: perplexity; acc: percent; bpb, bpc: bits per byte, per character",
        *(_source_line(name, file, result) for name, (file, result) in results.items()),
        *(f"{name}: {line}" for name, found in results.items() for line in _difference_note(*found)),
        *(f"{name}: failed: {safe(message)}" for name, message in failures.items()),
        *(f"{name}: not run: put {TASKS[name].files[0]} into the folder of --data" for name in missing),
    ]


def _units(evaluation: Evaluation) -> str:
    return "documents" if evaluation.units_are_documents else "windows"


def _finite(value: float | None) -> float | None:
    """Return a number that JSON can hold, None for infinity."""
    return value if value is not None and value < float("inf") else None


def _metric_document(metric: Metric) -> dict[str, object]:
    return {"value": _finite(metric.value), "standard_error": _finite(metric.error)}


def _count(number: int, nouns: str) -> str:
    return f"{number:,} {nouns.removesuffix('s') if number == 1 else nouns}"


def _with_error(value: float, error: float | None, digits: int) -> str:
    return f"{value:,.{digits}f}" + ("" if error is None else f" ± {error:,.{digits}f}")


def _windows(n_ctx: int, stride: int) -> str:
    overlap = f"overlapping by {n_ctx - stride:,}" if stride < n_ctx else "disjoint"
    return f"windows of {n_ctx:,} tokens, {overlap} (stride {stride:,})"


def _error_note(units: int, name: str) -> list[str]:
    return [f"±: one standard error, over {units:,} {name}"] if units > 1 else []


def _hash_line(file: DataFile) -> str:
    return f"sha256 {file.sha256}  {file.path}"


def _difference_note(file: DataFile, result: Result) -> list[str]:
    """Return the line that warns of a comparison, if the file is not the one that papers report on."""
    if not result.difference:
        return []
    return [f"{safe(file.path)} has {result.difference}: do not compare its scores with published ones"]


def _source_line(name: str, file: DataFile, result: Result) -> str:
    windows = "" if result.stride is None else f", stride {result.stride:,}"
    return f"{name}: {_hash_line(file)}{windows}"


def _metric(metric: Metric) -> str:
    """Return a metric with its error; an accuracy in percent."""
    if not metric.name.startswith("accuracy"):
        return _with_error(metric.value, metric.error, 4 if metric.name == "bits_per_byte" else 2)
    return _with_error(100 * metric.value, None if metric.error is None else 100 * metric.error, 2) + " %"


def _find(results: Results, column: Column) -> Metric:
    return next(metric for metric in results[column.task][1].metrics if metric.name == column.metric)


def _own(results: Results, failures: Mapping[str, str], column: Column) -> str:
    """Return the cell of the model that was evaluated, in the paper's unit."""
    if column.task not in results:
        return "failed" if column.task in failures else "not run"
    metric = _find(results, column)
    return f"{metric.value * (100 if metric.name.startswith('accuracy') else 1):,.2f}"


def _published(score: float) -> str:
    """Return a score with as many digits as the paper gives, two at least.

    >>> _published(83.4), _published(44.575)
    ('83.40', '44.575')
    """
    return f"{score:.3f}".removesuffix("0")


def _published_line(column: Column) -> str:
    return ", ".join(f"{_published(score)} ({size})" for size, score in column.by_size.items())


def _row(title: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([f"{title:16}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])


SHOWN = 5  # examples under a task's scores


def learned_task_document(
    task: Task, found: Sequence[TaskEvaluation], file: DataFile, decoding: Decoding, seed: int
) -> dict[str, object]:
    """Return what a model that has learned a task scores on it, for JSON."""
    return {
        "task": task.name,
        "file": asdict(file),
        "decoding": asdict(decoding),
        "seed": seed,
        "signature": SIGNATURE if "bleu" in task.metrics else None,
        "results": [
            {
                "choices": each.choices,
                "examples": len(each.records),
                "scores": {
                    name: {metric: {"value": value, "standard_error": error} for metric, (value, error) in row.items()}
                    for name, row in each.scores.items()
                },
                "likelihood": {
                    name: {
                        "nats": nll.nats,
                        "tokens": nll.tokens,
                        "bytes": nll.bytes,
                        "nats_per_token": nll.nats_per_token,
                        "bits_per_byte": nll.bits_per_byte,
                    }
                    for name, nll in each.likelihoods.items()
                },
                "saving": {"value": each.saving[0], "standard_error": each.saving[1]},
                "outputs": [output.text for output in each.outputs],
            }
            for each in found
        ],
    }


def learned_task_lines(
    task: Task, found: Sequence[TaskEvaluation], file: DataFile, decoding: Decoding, seed: int
) -> list[str]:
    """Return what a model that has learned a task scores on it, to be read: scores, floors, control, examples."""
    lines: list[str] = []
    for each in found:
        named = " to ".join(each.choices.values())
        lines += [f"{task.name}{f', {named}' if named else ''}: {_count(len(each.records), 'examples')}", ""]
        metrics = [metric for metric in each.scores[MODEL] if metric != "rougeLsum"]
        rows = [["", *(_HEADINGS.get(metric, metric) for metric in metrics), "nats per token", "bits per byte"]]
        for name, row in each.scores.items():
            nll = each.likelihoods.get(name)
            bits = "" if nll is None or nll.bits_per_byte is None else f"{nll.bits_per_byte:.4f}"
            nats = "" if nll is None else f"{nll.nats_per_token:.4f}"
            rows.append([name, *(_task_score(row, metric) for metric in metrics), nats, bits])
        lines += [*table(rows, "<" + ">" * (len(metrics) + 2)), *_saving_lines(each), ""]
        for record, output in zip(each.records[:SHOWN], each.outputs, strict=False):
            end = "" if output.is_finished else " (did not end)"
            source = record.fields[task.truncation.field]
            lines += [
                f"  source     {_one_line(source)}",
                f"  reference  {_one_line(record.fields[task.target])}",
                f"  model      {_one_line(output.text)}{end}",
                "",
            ]
    search = f"beams {decoding.beams}, alpha {decoding.alpha:g}"
    how = f"temperature {decoding.temperature:g}" if decoding.temperature else search
    signature = f"; BLEU {SIGNATURE}" if "bleu" in task.metrics else ""
    return [*lines, f"{how}; seed {seed}{signature}", _hash_line(file)]


def _task_score(row: Scores, metric: str) -> str:
    """Return the cell of a metric; empty for texts that it does not apply to."""
    if metric not in row:
        return ""
    value, error = row[metric]
    return f"{value:.0f} %" if metric in _HEADINGS else _with_error(value, error, 2)


def _saving_lines(found: TaskEvaluation) -> list[str]:
    """Return what the source is worth to the model; nothing for one record, whose source is not shuffled."""
    if len(found.records) < 2:
        return []
    value, error = found.saving
    saved = _with_error(100 * value, None if error is None else 100 * error, 1)
    return [f"bits of the targets that their own source saves, beside {SHUFFLED}: {saved} %"]


def _one_line(text: str) -> str:
    shown = " ".join(safe(text).split())
    return shown if len(shown) <= MAX_COLUMNS else f"{shown[: MAX_COLUMNS - 1]}…"
