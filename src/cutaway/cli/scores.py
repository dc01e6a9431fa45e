"""Scores of documents, and of the tasks of the GPT-2 paper, as lines and as JSON documents."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from cutaway.cli.terminal import safe
from cutaway.config import PUBLISHED
from cutaway.evaluation.corpus import DataFile
from cutaway.evaluation.evaluate import Evaluation
from cutaway.evaluation.paper import COLUMNS, Column
from cutaway.evaluation.paper_tasks import TASKS, Metric, Result
from cutaway.layout import counted

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
    counts = [count(len(evaluation.documents), "documents"), count(score.tokens, "tokens")]
    bits: list[str] = []
    if score.bits_per_byte is not None:
        counts.append(counted(score.bytes, "byte"))
        bits = [f"bits per byte   {with_error(score.bits_per_byte, evaluation.bits_per_byte_error, 4)}"]
    return [
        ", ".join(counts),
        f"nats per token  {with_error(score.nats_per_token, evaluation.nats_per_token_error, 4)}",
        f"perplexity      {with_error(score.perplexity, evaluation.perplexity_error, 3)}",
        *bits,
        _windows(evaluation.n_ctx, evaluation.stride),
        *_error_note(len(evaluation.units), _units(evaluation)),
        *map(hash_line, files),
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
        f"{TASKS[name].title}: {', '.join(count(number, noun) for noun, number in result.counts.items())}",
        *(f"{m.name.replace('_', ' '):{width}}  {_metric(m)}" for m in result.metrics),
        *([] if result.stride is None else [_windows(n_ctx, result.stride)]),
        *_error_note(result.counts[result.error_of], result.error_of),
        hash_line(file),
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
        f"{model}: by recipes written from the paper, none checked with its models on its files",
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


def count(number: int, nouns: str) -> str:
    """Return a number with its noun, which is given in the plural.

    >>> count(1, "tokens"), count(1024, "tokens")
    ('1 token', '1,024 tokens')
    """
    return f"{number:,} {nouns.removesuffix('s') if number == 1 else nouns}"


def with_error(value: float, error: float | None, digits: int) -> str:
    """Return a value with its standard error, if it has one.

    >>> with_error(3.25, 0.5, 2)
    '3.25 ± 0.50'
    """
    return f"{value:,.{digits}f}" + ("" if error is None else f" ± {error:,.{digits}f}")


def _windows(n_ctx: int, stride: int) -> str:
    overlap = f"overlapping by {n_ctx - stride:,}" if stride < n_ctx else "disjoint"
    return f"windows of {n_ctx:,} tokens, {overlap} (stride {stride:,})"


def _error_note(units: int, name: str) -> list[str]:
    return [f"±: one standard error, over {units:,} {name}"] if units > 1 else []


def hash_line(file: DataFile) -> str:
    """Return the line that identifies a file, as `sha256sum` has it."""
    return f"sha256 {file.sha256}  {file.path}"


def _difference_note(file: DataFile, result: Result) -> list[str]:
    """Return the line that warns of a comparison, if the file is not the one that papers report on."""
    if not result.difference:
        return []
    return [f"{safe(file.path)} has {result.difference}: do not compare its scores with published ones"]


def _source_line(name: str, file: DataFile, result: Result) -> str:
    windows = "" if result.stride is None else f", stride {result.stride:,}"
    return f"{name}: {hash_line(file)}{windows}"


def _metric(metric: Metric) -> str:
    """Return a metric with its error; an accuracy in percent."""
    if not metric.name.startswith("accuracy"):
        return with_error(metric.value, metric.error, 4 if metric.name == "bits_per_byte" else 2)
    return with_error(100 * metric.value, None if metric.error is None else 100 * metric.error, 2) + " %"


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
