"""`cutaway bench`: how fast a model reads and writes on this machine."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from cutaway.cli.arguments import add_json, add_model, describe, load_model, write_json
from cutaway.cli.terminal import safe
from cutaway.layout import table

if TYPE_CHECKING:
    from cutaway.evaluation.benchmark import Measurement

EXAMPLES = """\
examples:
  cutaway bench
  cutaway bench --model gpt2 --dtype int8 --threads 2 --position 900 --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """What to measure, and on which model."""
    parser.description = "Measure prefill (reading a prompt) and decode (writing, a token at a time)."
    parser.epilog = EXAMPLES
    add = parser.add_argument_group("what is measured").add_argument
    add("--prefill", type=int, metavar="N", help="length of the prompt to read; default: 512, or what fits")
    add("--position", type=int, metavar="N", help="tokens there are before decoding; default: 128, or what fits")
    add("--batch", type=int, default=16, metavar="N", help="decode 1 and so many sequences; default: %(default)s")
    add("--new-tokens", type=int, default=32, metavar="N", help="tokens to decode in a run; default: %(default)s")
    add("--repeats", type=int, default=5, metavar="N", help="runs that count; default: %(default)s")
    add_json(parser)
    add_model(parser)


def run(options: Namespace) -> None:
    """Measure, and report all at once."""
    from cutaway.evaluation.benchmark import measure

    model = load_model(options)
    threads = model.engine.threads
    o = options
    measured = measure(model.engine, o.prefill, o.position, o.batch, o.new_tokens, o.repeats)
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
    rows = [["", "batch", "from position", "tokens", "seconds", "tokens/s"]]
    for m in measured:
        whole = [f"{n:,}" for n in (m.batch, m.position, m.tokens)]
        rows.append([m.task, *whole, f"{m.median_seconds:.4f}", f"{m.tokens_per_second:,.1f}"])
    return table(rows, "<>>>>>")
