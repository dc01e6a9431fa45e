"""`cutaway plan`: compute the cost of training a GPT-2 on named hardware."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cutaway.cli.arguments import SOURCES, add_json, find_config, write_json
from cutaway.cli.terminal import safe
from cutaway.layout import table

if TYPE_CHECKING:
    from cutaway.training.plan import Row, Training

EXAMPLES = """\
examples:
  cutaway plan --model gpt2 --hardware cpu --devices 1
  cutaway plan --model gpt2-xl --tokens 10e9 --hardware h100 --devices 8"""

_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the model, the run and the hardware."""
    parser.description = "Compute FLOPs, memory per device, hours and cost of training a GPT-2."
    parser.epilog = EXAMPLES
    add = parser.add_argument_group("run").add_argument
    add("--model", metavar="NAME", default="gpt2", help=f"{SOURCES}; default: %(default)s")
    add("--tokens", type=float, metavar="N", help="tokens to read; default: one epoch of OpenWebText")
    add("--batch-size", type=int, default=512, metavar="N", help="sequences per step; default: %(default)s")
    add("--micro-batch-size", type=int, default=8, metavar="N", help="per device; default: %(default)s")
    add("--n-ctx", type=int, metavar="N", help="context length, in tokens; default: the model's")
    add = parser.add_argument_group("hardware").add_argument
    add("--hardware", default="h100", metavar="NAME", help="a100, h100, h200, or cpu, measured; default: %(default)s")
    add("--devices", type=int, default=8, metavar="N", help="default: %(default)s")
    add("--mfu", type=float, metavar="SHARE", help="model FLOPs utilisation, 0 to 1; default: published")
    add("--dollars", type=float, metavar="PRICE", help="per device-hour; default: a published price")
    add_json(parser)


def run(options: Namespace) -> None:
    """Print the plan."""
    from cutaway.checks import check_float
    from cutaway.training.hardware import find_hardware
    from cutaway.training.plan import WEBTEXT_TOKENS, Training, plan

    config = find_config(options.model)
    training = Training(
        config,
        WEBTEXT_TOKENS if options.tokens is None else options.tokens,
        options.batch_size,
        options.micro_batch_size,
        config.n_ctx if options.n_ctx is None else options.n_ctx,
        options.devices,
    )
    mfu = None if options.mfu is None else check_float("mfu", options.mfu, 0.001, 1)
    dollars = None if options.dollars is None else check_float("dollars", options.dollars, 0, 1e6)
    hardware = find_hardware(options.hardware)
    rows = plan(training, hardware, mfu, dollars)
    if options.json:
        about = {"model": options.model, "hardware": hardware.name, "devices": training.devices}
        write_json(about | {"rows": [asdict(row) for row in rows]})
    else:
        print("\n".join(_page(options.model, hardware.name, training, rows)))


def _page(model: str, hardware: str, training: "Training", rows: "Sequence[Row]") -> list[str]:
    cells = [["", "", "basis", ""], *([row.name, _value(row), row.basis, row.source] for row in rows)]
    heading = f"{safe(model)} on {training.devices} {hardware}, sequences of {training.n_ctx:,} tokens"
    return [heading, "", *table(cells, "<><<")]


def _value(row: "Row") -> str:
    """Write a value with three or four digits and its unit."""
    if row.unit == "%":
        return f"{row.value:.0%}"
    if row.unit == "$":
        return f"${row.value:,.0f}"
    if row.unit == "$/h":
        return f"${row.value:.2f}/h"
    if row.unit == "h":
        return f"{row.value:,.1f} h" if row.value < 1000 else f"{row.value / 24:,.0f} d"
    if row.unit == "B":
        return f"{row.value / 1e9:,.2f} GB"
    if not row.unit:
        return f"{row.value:,.0f}"
    if row.value >= 1e18:
        return f"{row.value:.2e} {row.unit}"
    size, letter = next(((s, letter) for s, letter in _SCALES if row.value >= s), (1.0, ""))
    return f"{row.value / size:,.1f} {letter}{row.unit}"
