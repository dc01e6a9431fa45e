"""Part 3 of the article: transfer learning, first general, then special, as measured in a recorded run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import plural
from cutaway.figures.panels import Bars, Entry, LocalizedText, Note, Number, Panel, Table, computed, integer
from cutaway.figures.statement import Statement
from cutaway.trace import Trace
from cutaway.untrusted import read_object

RECORD = Path(__file__).with_name("transfer.json")
SCRATCH = LocalizedText("from scratch", "从零开始")
PRETRAINED = LocalizedText("pre-trained", "预训练过")
SHARE = LocalizedText("share of the data", "数据的份额")


@dataclass(frozen=True)
class Transfer:
    """Validation losses in nats per token by share of the data, averaged over seeds as in `cutaway curve`."""

    shares: tuple[float, ...]
    scratch: tuple[float, ...]
    pretrained: tuple[float, ...]
    n_examples: int
    epochs: int
    n_seeds: int


@cache
def recorded() -> Transfer:
    """Read the record in the package: losses as `cutaway curve --json` prints them, and the settings of the runs.

    >>> run = recorded()
    >>> len(run.shares) == len(run.scratch) == len(run.pretrained)
    True
    """
    document = read_object(RECORD)
    losses: Mapping[str, Sequence[Sequence[float]]] = document["losses"]  # type: ignore[assignment]
    shares: Sequence[float] = document["shares"]  # type: ignore[assignment]
    means = {label: tuple(float(np.mean(seeds)) for seeds in by_share) for label, by_share in losses.items()}
    numbers = {name: int(str(document[name])) for name in ("n_examples", "epochs")}
    n_seeds = len(losses["from scratch"][0])
    return Transfer(tuple(shares), means["from scratch"], means["pre-trained"], **numbers, n_seeds=n_seeds)


def _transfer(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    run = recorded()
    shares = ", ".join(f"{100 * share:g}\u00a0%" for share in run.shares)
    labels = [f"{100 * share:g} % · {name}" for share in run.shares for name in ("scratch", "pre-trained")]
    pairs = np.array([run.scratch, run.pretrained]).T.reshape(-1, 1)
    return (
        Note(
            LocalizedText(
                "A model that has read a lot and one of the same shape that starts from random numbers learn to "
                "summarize from the same few examples. Unlike all other figures this one is not of the loaded model: "
                f"it is a recorded run of a model of 36 million parameters on {shares} of "
                f"{plural(run.n_examples, 'abstract')} of SciTLDR with their one-sentence summaries, "
                f"{plural(run.epochs, 'epoch')} each, with {plural(run.n_seeds, 'random seed')}. "
                "cutaway curve measures yours.",
                "读过大量文本的模型，与形状相同、从随机数开始的模型，用同样的少量样本学写摘要。与其他图不同，"
                f"这幅图不是当前模型的：它是一个 3600 万参数的模型在 SciTLDR 的 {run.n_examples} 篇论文摘要"
                f"及其一句话总结的 {shares} 上的一次记录，每次训练 {run.epochs} 轮，{run.n_seeds} 个随机种子。"
                "cutaway curve 可以测量你自己的模型。",
            )
        ),
        Table(
            LocalizedText("validation loss of the best checkpoint, in nats", "最佳检查点的验证损失（奈特）"),
            [SHARE, SCRATCH, PRETRAINED, LocalizedText("what pre-training saves", "预训练节省")],
            [_row(i) for i in range(len(run.shares))],
        ),
        Bars(
            LocalizedText("validation loss", "验证损失"),
            labels,
            computed("stack(transfer.scratch, transfer.pretrained)", pairs),
            "size",
            tuple(range(1, len(labels), 2)),
        ),
    )


def _row(i: int) -> list[Entry]:
    run = recorded()
    return [
        Number(run.shares[i], f"transfer.shares[{i}]", form=".0%"),
        Number(run.scratch[i], f"transfer.scratch[{i}]", form=".3f"),
        Number(run.pretrained[i], f"transfer.pretrained[{i}]", form=".3f"),
        Number(run.scratch[i] - run.pretrained[i], f"transfer.scratch[{i}] - transfer.pretrained[{i}]", form=".3f"),
    ]


def _check_transfer(trace: Trace, chosen: Selection) -> Check:
    run = recorded()
    lower = sum(after < before for before, after in zip(run.scratch, run.pretrained, strict=True))
    least = run.scratch[0] - run.pretrained[0]
    return Check(
        lower == len(run.shares),
        Statement(
            "at {lower} of {n:share} the pre-trained model has the lower loss; at {share} of the data by {least} nats",
            "在 {n} 个份额中的 {lower} 个上，预训练过的模型损失更低；用 {share} 的数据时低 {least} 奈特",
            lower=integer(lower, "sum(transfer.scratch > transfer.pretrained)"),
            n=integer(len(run.shares), "len(transfer.shares)"),
            share=Number(run.shares[0], "transfer.shares[0]", form=".0%"),
            least=Number(least, "transfer.scratch[0] - transfer.pretrained[0]", form=".3f"),
        ),
    )


FIGURES = (
    Figure(
        "T5",
        LocalizedText("Transfer learning: first general, then special", "迁移学习：先通用，后专门"),
        part=3,
        picture=None,
        draw=_transfer,
        verify=_check_transfer,
    ),
)
