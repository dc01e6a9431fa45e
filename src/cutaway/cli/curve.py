"""`cutaway curve`: what pre-training is worth, on shares of the same data; the same command resumes."""

import os
import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_int, parse_share, show
from cutaway.cli.arguments import add_json, write_json
from cutaway.cli.settings import add_settings, fine_tune_config
from cutaway.cli.terminal import note, safe
from cutaway.cli.train_plot import draw_page
from cutaway.cli.training_progress import TrainingProgress
from cutaway.errors import EngineError, UsageError
from cutaway.training.finetune_config import OF_METHODS, FineTuneConfig

if TYPE_CHECKING:
    from cutaway.training.loop import Observer
    from cutaway.training.transfer import TransferRun

SHARES = (0.01, 0.03, 0.1, 1.0)
SVG = "curve.svg"
EXAMPLES = """\
examples:
  cutaway curve --data poems.txt --out curve --max-steps 400
  cutaway curve --model gpt2 --data answers.jsonl --out curve --shares 5 50

Each run is a directory in DIR/runs. The same command resumes."""

OWN = (
    "share",
    "from_scratch",
    "seed",
    "merge",
    "sample_prompt",
    "tensorboard",
    "method",  # a model from scratch is trained in full
    *OF_METHODS,
)  # set by the curve for each run, or not used in it


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the curve, and a flag for each setting of its runs."""
    parser.usage = "cutaway curve --data FILE --out DIR [--SETTING VALUE]..."
    parser.description = "Train from scratch and pre-trained on shares of some data; draw both curves."
    parser.epilog = EXAMPLES
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory of the curve and its runs")
    parser.add_argument(
        "--shares",
        action="extend",
        nargs="+",
        metavar="P",
        help="shares of the data, such as 5%% or 0.05; a number from 1 on is percent; default: 1 3 10 100",
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs for each point; default: %(default)s")
    add_json(parser)
    add_settings(parser, FineTuneConfig, without=OWN)


def read_point(text: str) -> float:
    """Read the share of a point; a number from 1 on is percent, even without a sign. Raises UsageError for other text.

    >>> read_point("5%"), read_point("0.05"), read_point("5")
    (0.05, 0.05, 0.05)
    """
    share = parse_share(text)
    if share is not None and share >= 1 and not text.endswith("%"):
        share /= 100
    if share is None or not 0 < share <= 1:
        raise UsageError(f"--shares must be above 0% and at most 100%, such as 5% or 0.05, not {show(text)}")
    return share


def run(options: Namespace) -> None:
    """Train the missing runs, and draw the curve. After SIGINT the exit code is 130; the run is saved."""
    config = fine_tune_config(options)
    shares = [read_point(text) for text in options.shares] if options.shares else [*SHARES]
    if len(set(shares)) < len(shares):
        raise UsageError("--shares must be different from each other")
    check_int("--seeds", options.seeds, 1, 1000)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("a curve trains its runs one by one in one process; start it without torchrun")
    try:
        from cutaway.training.loop import Silent
        from cutaway.training.transfer import measure_transfer, table
    except ModuleNotFoundError as error:
        raise EngineError("training needs PyTorch: pip install torch") from error

    def observe(each: "TransferRun", count: int) -> "Observer":
        if options.json:
            return Silent()
        note(f"run {each.number} of {count}: {each.name}")
        return TrainingProgress()

    curve = measure_transfer(config, shares, range(1, options.seeds + 1), options.out, observe)
    if curve.signal is not None:
        note(f"{options.out}: saved; the same command resumes")
        if curve.signal is signal.SIGINT:
            raise KeyboardInterrupt
        return
    from cutaway.training.chart_svg import draw_svg
    from cutaway.training.plots import transfer_chart

    chart = transfer_chart(curve.shares, curve.losses)
    path = options.out / SVG
    path.write_text(draw_svg("What pre-training is worth", [chart]), encoding="utf-8")
    if options.json:
        write_json({"shares": list(curve.shares), "losses": curve.losses, "file": str(path)})
    else:
        print("\n".join([*draw_page("What pre-training is worth", [chart]), "", *table(curve), "", safe(str(path))]))
