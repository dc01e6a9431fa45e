"""`cutaway bench`: measure the prefill and decode throughput of a model on this machine."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from cutaway.cli.arguments import add_json, add_model, write_json
from cutaway.cli.loading import describe, load_model
from cutaway.cli.terminal import safe
from cutaway.layout import table

if TYPE_CHECKING:
    from cutaway.evaluation.benchmark import Measurement

EXAMPLES = """\
examples:
  cutaway bench
  cutaway bench --model gpt2 --dtype int8 --threads 2 --depth 900 --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the workload and the model."""
    parser.description = "Measure prefill (reading a prompt) and decode (generating a token at a time)."
    parser.epilog = EXAMPLES
    add = parser.add_argument_group("workload").add_argument
    add("--prefill", type=int, metavar="N", help="prompt length in tokens; default: 512, or what fits")
    add("-d", "--depth", type=int, metavar="N", help="tokens in the context before decode; default: 128, or what fits")
    add(
        "--batch",
        type=int,
        default=16,
        metavar="N",
        help="batch size of decode, besides 1; default: %(default)s",
    )
    add("--new-tokens", type=int, default=32, metavar="N", help="tokens to decode in each run; default: %(default)s")
    add("--repeats", type=int, default=5, metavar="N", help="measured runs; default: %(default)s")
    add_json(parser)
    add_model(parser)


def run(options: Namespace) -> None:
    """Measure everything, then print it."""
    from cutaway.evaluation.benchmark import measure

    model = load_model(options)
    threads = model.engine.threads
    workload = (options.prefill, options.depth, options.batch, options.new_tokens)
    measured = measure(model.engine, *workload, options.repeats)
    if options.json:
        about = describe(model) | {"threads": threads}
        write_json(about | {"measurements": [_entry(measurement) for measurement in measured]})
    else:
        on_threads = f", {threads} threads" if threads else ""
        print(f"{safe(model.name)}, {model.description}{on_threads}, medians of {options.repeats}\n")
        print("\n".join(_lines(measured)))


def _entry(m: "Measurement") -> dict[str, object]:
    return {**asdict(m), "median_seconds": m.median_seconds, "tokens_per_second": m.tokens_per_second}


def _lines(measured: "list[Measurement]") -> list[str]:
    rows = [["", "batch", "depth", "tokens", "seconds", "tokens/s"]]
    for m in measured:
        counts = [f"{n:,}" for n in (m.batch, m.depth, m.tokens)]
        rows.append([m.task, *counts, f"{m.median_seconds:.4f}", f"{m.tokens_per_second:,.1f}"])
    return table(rows, "<>>>>>")
