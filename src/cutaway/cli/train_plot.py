"""`cutaway train plot`: the curves of training runs, in the terminal or as an SVG."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.cli.arguments import add_json, write_json
from cutaway.cli.terminal import columns, safe, style
from cutaway.errors import UsageError

if TYPE_CHECKING:
    from cutaway.training.charts import Chart
    from cutaway.training.plots import Curves

EXAMPLES = """\
examples:
  cutaway train plot run
  cutaway train plot small large -o losses.svg"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the runs and the file."""
    parser.description = "Draw the training loss, validation loss and learning rate of runs."
    parser.epilog = EXAMPLES
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.svg", help="write an SVG instead")
    add_json(parser)


def run(options: Namespace) -> None:
    """Read all runs, then draw them."""
    from cutaway.training.chart_svg import draw_svg
    from cutaway.training.plots import read_curves, training_charts

    if options.output and options.output.suffix.lower() != ".svg":
        raise UsageError(f"--output must end in .svg, not {safe(str(options.output))}")
    runs = [read_curves(path) for path in options.runs]
    charts = training_charts(runs)
    names = ", ".join(safe(each.name) for each in runs)
    if options.output:
        options.output.write_text(draw_svg(names, charts), encoding="utf-8")
    if options.json:
        write_json({"runs": [_entry(each) for each in runs], "file": str(options.output) if options.output else None})
    elif options.output:
        print(f"{safe(str(options.output))}: {names}")
    else:
        print("\n".join(draw_page(names, charts)))


def _entry(curves: "Curves") -> dict[str, object]:
    return {
        "run": curves.name,
        "train": {"step": curves.steps.tolist(), "loss": curves.loss.tolist(), "lr": curves.lr.tolist()},
        "eval": {"step": curves.eval_steps.tolist(), "valid_loss": curves.valid_loss.tolist()},
    }


def draw_page(title: str, charts: "Sequence[Chart]") -> list[str]:
    """Draw charts for standard output, under a title."""
    from cutaway.training.chart_text import draw_text

    coloured = paint("x", "1") != "x"
    lines = [title]
    for chart in charts:
        lines += ["", *draw_text(chart, columns(), paint if coloured else None)]
    return lines


def paint(text: str, code: str) -> str:
    """Style text if standard output is a terminal."""
    return style(text, code, sys.stdout)
