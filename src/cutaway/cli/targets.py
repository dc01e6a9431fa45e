"""`cutaway generate --task`: the targets that a model writes for the records of a task."""

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from cutaway.checks import check_int
from cutaway.cli.arguments import write_json
from cutaway.cli.loading import describe, find_task, load_model
from cutaway.cli.reading import read_stdin
from cutaway.cli.terminal import safe
from cutaway.errors import UsageError
from cutaway.tasks import Task
from cutaway.tasks.decoding import Output, decode_fields
from cutaway.tasks.records import parse_task_records, read_record_bytes
from cutaway.tasks.task import Decoding
from cutaway.untrusted import quote_path

SAMPLING = ("temperature", "top_k", "top_p")


def print_targets(options: Namespace, overrides: Mapping[str, Any]) -> None:
    """Print what the model writes for each record of a file or a pipe: a line each, or one JSON document.

    Raises UsageError for settings that a task has no use for.
    """
    n_samples = check_int("--samples", options.samples, 1)
    data, place = _read(options)
    model = load_model(options)
    task = find_task(model, options.task)
    fields = [record.fields for record in parse_task_records(data, place, task)]
    encoder = model.encoder(task)
    decoding = find_decoding(task, overrides, n_samples)
    found = decode_fields(model.engine, encoder, fields, decoding, n_best=n_samples, seed=int(overrides.get("seed", 0)))
    if options.json:
        targets = [
            {"fields": dict(each), "outputs": [_document(output) for output in outputs]}
            for each, outputs in zip(fields, found, strict=True)
        ]
        write_json({**describe(model), "task": task.name, "decoding": asdict(decoding), "records": targets})
        return
    for outputs in found:
        for output in outputs:
            print(safe(output.text.replace("\n", " ")))


def _document(output: Output) -> dict[str, object]:
    return {name: value for name, value in asdict(output).items() if name != "ids"}


def find_decoding(task: Task, overrides: Mapping[str, Any], n_samples: int) -> Decoding:
    """Return the decoding of a task with other settings; those of sampling replace its beams.

    >>> from cutaway.tasks import open_task
    >>> find_decoding(open_task("translation"), {"temperature": 0.5}, 1).beams
    1
    """
    for name in overrides:
        if name not in (*SAMPLING, "max_new_tokens", "seed"):
            raise UsageError(f"--{name.replace('_', '-')} does not go with --task")
    decoding = task.decoding
    if any(name in overrides for name in SAMPLING):
        sampling = {"temperature": 1.0, **{name: overrides[name] for name in SAMPLING if name in overrides}}
        decoding = replace(decoding, beams=1, **sampling)
    if decoding.temperature == 0:
        decoding = replace(decoding, beams=max(decoding.beams, n_samples))
    if "max_new_tokens" in overrides:
        decoding = replace(decoding, max_new_factor=0.0, max_new_extra=overrides["max_new_tokens"])
    return decoding


def _read(options: Namespace) -> tuple[bytes, str]:
    """Return the bytes of the records, and the name of their source."""
    if options.ids is not None or options.interactive or options.stream or options.special:
        raise UsageError("--task reads records: leave out --ids, --interactive, --stream and --special")
    if options.file is not None:
        return read_record_bytes(options.file), quote_path(options.file)
    if options.prompt is not None and options.prompt != "-":
        return options.prompt.encode("utf-8", "surrogateescape"), "PROMPT"
    if options.prompt is None and sys.stdin.isatty():
        raise UsageError("--task reads records: give one as the PROMPT, a --file of JSON Lines, or pipe them in")
    return read_stdin().encode(), "standard input"
