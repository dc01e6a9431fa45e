"""`cutaway plan`: compute the cost of training a GPT-2 on named hardware."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from cutaway.cli.arguments import SOURCES, add_json, read_count, write_json
from cutaway.cli.loading import find_config
from cutaway.cli.terminal import columns, safe
from cutaway.layout import wrapped_table

if TYPE_CHECKING:
    from cutaway.training.plan import Row, Training

EXAMPLES = """\
examples:
  cutaway plan --hardware cpu
  cutaway plan --model gpt2-xl --tokens 10B --hardware h100 --devices 8"""

_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))

_COUNTS = ("parameters", "tokens", "steps", "tokens/s")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the model, the run and the hardware."""
    parser.description = "Compute FLOPs, memory per device, hours and cost of training a GPT-2."
    parser.epilog = EXAMPLES
    add = parser.add_argument_group("run").add_argument
    add("--model", metavar="NAME", help=f"{SOURCES}; default: gpt2, for cpu builtin")
    epoch = "one epoch of OpenWebText, for cpu what recipes/builtin/cpu.sh reads"
    add("--tokens", metavar="N", help=f"tokens to read, such as 10B or 300M; default: {epoch}")
    add("--batch-size", type=int, metavar="N", help="sequences per step; default: 512, for cpu 32")
    add("--micro-batch-size", type=int, metavar="N", help="sequences at once per device; default: 8, for cpu 32")
    add("--n-ctx", type=int, metavar="N", help="context length, in tokens; default: the model's")
    add = parser.add_argument_group("hardware").add_argument
    add("--hardware", default="h100", metavar="NAME", help="a100, h100, h200, or cpu, measured; default: %(default)s")
    add("--devices", type=int, metavar="N", help="number of devices; default: 8, for cpu 1")
    add("--mfu", metavar="SHARE", help="model FLOPs utilisation, such as 40%% or 0.4; default: published")
    add("--dollars", type=float, metavar="PRICE", help="dollars per device-hour; default: a published price")
    add_json(parser)


def run(options: Namespace) -> None:
    """Print the plan."""
    from cutaway.checks import check_float, read_share
    from cutaway.training.hardware import find_hardware
    from cutaway.training.plan import Training, plan

    mfu = None if options.mfu is None else check_float("mfu", read_share("mfu", options.mfu), 0.001, 1)
    tokens = None if options.tokens is None else read_count("tokens", options.tokens)
    hardware = find_hardware(options.hardware)
    given = {name: getattr(options, name) for name in ("model", "batch_size", "micro_batch_size", "devices")}
    run = replace(hardware.defaults, **{name: value for name, value in given.items() if value is not None})
    name, config = find_config(run.model)
    training = Training(
        config,
        run.tokens if tokens is None else tokens,
        run.batch_size,
        min(run.micro_batch_size, run.batch_size) if options.micro_batch_size is None else run.micro_batch_size,
        config.n_ctx if options.n_ctx is None else options.n_ctx,
        run.devices,
    )
    dollars = None if options.dollars is None else check_float("dollars", options.dollars, 0, 1e6)
    rows = plan(training, hardware, mfu, dollars)
    if options.json:
        about = {"model": name, "hardware": hardware.name, "devices": training.devices}
        write_json(about | {"rows": [asdict(row) for row in rows]})
    else:
        print("\n".join(_page(name, hardware.name, training, rows)))


def _page(model: str, hardware: str, training: "Training", rows: "Sequence[Row]") -> list[str]:
    heading = f"{safe(model)} on {training.devices} {hardware}, sequences of {training.n_ctx:,} tokens"
    cells = [["", "", "basis", ""], *([row.name, _value(row), row.basis, row.source] for row in rows)]
    return [heading, "", *wrapped_table(cells, "<><<", columns())]


def _value(row: "Row") -> str:
    """Format a value with three or four digits and its unit; the name of a count says what it counts."""
    if row.unit == "%":
        return f"{row.value:.0%}"
    if row.unit == "$":
        return f"${row.value:,.0f}"
    if row.unit == "$/h":
        return f"${row.value:.2f}/h"
    if row.unit == "h":
        return f"{row.value:,.1f} h" if row.value < 100 else f"{row.value:,.0f} h ({row.value / 24:,.0f} days)"
    if row.unit == "B":
        return f"{row.value / 1e9:,.2f} GB"
    if row.unit in _COUNTS:
        return f"{row.value:,.0f}"
    if row.value >= 1e18:
        return f"{row.value:.2e} {row.unit}"
    size, letter = next(((s, letter) for s, letter in _SCALES if row.value >= s), (1.0, ""))
    return f"{row.value / size:,.1f} {letter}{row.unit}"
