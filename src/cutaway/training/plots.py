"""Charts of runs, from their `metrics.jsonl`, and of transfer curves: loss against the share of the data.

A line of `metrics.jsonl` is a JSON object with a `step` and a `kind`: "train" has `loss` and `lr`, "eval" has
`valid_loss`; other kinds are skipped.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cutaway.errors import UsageError
from cutaway.training.charts import Chart, Line, Points, linear_axis, logarithmic_axis
from cutaway.untrusted import quote_path

METRICS = "metrics.jsonl"
NATS = "nats per token"
LR_HEIGHT = 0.4
MARGIN = 0.04

Event = Mapping[str, object]


@dataclass(frozen=True)
class Curves:
    """Training loss and learning rate (n,) by step (n,), validation loss (m,) by step (m,)."""

    name: str
    steps: Points
    loss: Points
    lr: Points
    eval_steps: Points
    valid_loss: Points


def read_curves(run: Path) -> Curves:
    """Read the curves of a run directory. Raises UsageError if it has none.

    A torn last line, which a killed run leaves, is skipped.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as run:
    ...     _ = Path(run, "metrics.jsonl").write_text('{"step": 1, "kind": "train", "loss": 4.5, "lr": 0.001}\\n{"st')
    ...     read_curves(Path(run)).loss
    array([4.5])
    """
    path = run / METRICS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{quote_path(run)} is not a run: cannot read {METRICS}: {error.strerror}") from None
    events = list(_events(data, path))
    train = _columns(events, "train", ("loss", "lr"))
    valid = _columns(events, "eval", ("valid_loss",))
    if not train.size and not valid.size:
        raise UsageError(f"{quote_path(path)} holds no losses yet")
    return Curves(run.resolve().name, *train, *valid)


def _events(data: bytes, path: Path) -> Iterator[Event]:
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # the last one is empty or torn
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or type(event.get("step")) is not int:
            raise UsageError(f"{quote_path(path)}, line {number}: must be a JSON object with a step")
        yield event


def _columns(events: Sequence[Event], kind: str, names: tuple[str, ...]) -> Points:
    """Return the steps and the named numbers of all events of a kind that have them all: (1 + len(names), n)."""
    chosen = [[event.get(name) for name in ("step", *names)] for event in events if event.get("kind") == kind]
    rows = [row for row in chosen if all(isinstance(value, int | float) and math.isfinite(value) for value in row)]
    return np.array(rows, np.float64).reshape(-1, 1 + len(names)).T


def smooth(values: Points, half: int) -> Points:
    """Average each value (n,) with its neighbours: up to `half`, and the same number on either side.

    >>> smooth(np.array([1.0, 2.0, 6.0, 4.0]), 1)
    array([1., 3., 4., 4.])
    """
    places = np.arange(len(values))
    reach = np.minimum(half, np.minimum(places, len(values) - 1 - places))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means: Points = (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)
    return means


def training_charts(runs: Sequence[Curves]) -> list[Chart]:
    """Chart the losses and learning rates of runs. A single run has a colour per loss; several have a colour per run.

    >>> one = np.array([1.0, 2.0])
    >>> [chart.title for chart in training_charts([Curves("run", one, one, one, one, one)])]
    ['Loss', 'Learning rate']
    """
    steps = np.concatenate([np.append(run.steps, run.eval_steps) for run in runs])
    x = linear_axis("step", np.append(steps, 0.0))
    losses = tuple(line for i, run in enumerate(runs) for line in _loss_lines(run, i, alone=len(runs) == 1))
    rates = tuple(Line("", run.steps, run.lr, i) for i, run in enumerate(runs) if len(run.steps))
    charts = [Chart("Loss", losses, x, linear_axis(NATS, np.concatenate([line.y for line in losses]), margin=MARGIN))]
    if rates:
        every = np.concatenate([[0.0], *(line.y for line in rates)])
        charts.append(Chart("Learning rate", rates, x, linear_axis("", every, 3), LR_HEIGHT))
    return charts


def _loss_lines(run: Curves, number: int, *, alone: bool) -> Iterator[Line]:
    prefix = "" if alone else f"{run.name}, "
    if len(run.steps):
        half = len(run.steps) // 50
        yield Line(f"{prefix}training", run.steps, smooth(run.loss, half), number, raw=run.loss if half else None)
    if len(run.eval_steps):
        yield Line(f"{prefix}validation", run.eval_steps, run.valid_loss, 1 if alone else number, marked=True)


def transfer_chart(shares: Sequence[float], losses: Mapping[str, Sequence[Sequence[float]]]) -> Chart:
    """Chart validation loss against the share of the data that a model was trained on, on a logarithmic axis.

    `losses` maps a line's label to the losses of all seeds for each share. A line is their mean, its band their range.

    >>> chart = transfer_chart([0.01, 1.0], {"from scratch": [[5.0, 5.2], [4.0, 4.1]]})
    >>> chart.lines[0].y, chart.x.ticks
    (array([5.1 , 4.05]), ((0.01, '1 %'), (1.0, '100 %')))
    """
    x = np.array(shares, np.float64)
    lines = []
    for number, (label, by_share) in enumerate(losses.items()):
        mean, low, high = (np.array([f(seeds) for seeds in by_share], np.float64) for f in (np.mean, np.min, np.max))
        lines.append(Line(label, x, mean, number, marked=True, low=low, high=high))
    edges = np.concatenate([[line.low, line.high] for line in lines], axis=None)
    ticks = [(share, f"{100 * share:g} %") for share in shares]
    share_axis = logarithmic_axis("share of the data", ticks)
    return Chart("Validation loss", tuple(lines), share_axis, linear_axis(NATS, edges, margin=MARGIN))
