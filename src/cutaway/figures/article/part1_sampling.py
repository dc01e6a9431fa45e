"""Part 1 of the article: choosing the next token - the cut-off of top-k, and the other settings in their order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cutaway.figures.article.accuracy import TOLERANCE, relative_error, within
from cutaway.figures.article.part1_model_output import falling, read_out
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import ID, TOKEN, token_label
from cutaway.figures.panels import Entry, LocalizedText, Note, Number, Panel, Table, Text, integer
from cutaway.figures.statement import Statement
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import choose, distribution
from cutaway.numerics import FloatArray, softmax, top_k
from cutaway.trace import Trace

ALL = LocalizedText("all", "全部")
CUT_OFF = LocalizedText("cut", "截去")
CUTS: Mapping[Text, GenerationConfig] = {
    ALL: GenerationConfig(top_k=0),
    "k = 40": GenerationConfig(top_k=40),
    "k = 1": GenerationConfig(top_k=1),
}
LAST = GenerationConfig(temperature=0.8, top_k=40, top_p=0.9)
IN_ORDER: Mapping[Text, GenerationConfig] = {
    ALL: GenerationConfig(top_k=0),
    "t = 0.8": GenerationConfig(temperature=0.8, top_k=0),
    "k = 40": GenerationConfig(temperature=0.8, top_k=40),
    "p = 0.9": LAST,
}
LIKELIEST = 5  # tokens that are always listed
AROUND = 2  # tokens before and after a cut-off
SEED = 1


@dataclass(frozen=True)
class Column:
    """The probability of each token that some settings allow, and the token of one draw."""

    shares: Mapping[int, float]
    formula: str
    drawn: int

    def share(self, token: int) -> Entry:
        """Return the token's probability, or a text if it is cut off."""
        if token not in self.shares:
            return CUT_OFF
        return Number(self.shares[token], f"{self.formula}[{token}]", form=".2%")


def _cut(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    p = chosen.position
    return (
        Note(
            LocalizedText(
                "The next token is drawn by chance, each with its probability. top-k first leaves only the k highest "
                "scores, and what is left is made to sum to 1 again: k = 1 is always the likeliest token, 40 is the "
                "article's advice and the default here, and 0 in the settings means no cut.",
                "下一个词元按概率采样。top-k 先只留下分数最高的 k 个，再让留下的概率之和重新为 1："
                "k = 1 永远选最可能的词元，40 是文章的建议，也是这里的默认值；设置里的 0 表示不截断。",
            )
        ),
        _candidates(
            trace, p, LocalizedText("the candidates, and where they are cut", "候选词元，以及在哪里截断"), CUTS
        ),
        Note(
            LocalizedText(
                "There are three settings, and they are applied in this order. The temperature t divides the logits: "
                "below 1 the likely tokens gain. Then top-k cuts. Then top-p keeps the likeliest of what is left, as "
                "few as sum to at least p. Each column is what the settings up to it leave.",
                "一共有三项设置，按以下次序使用。先用温度 t 去除 logit：t 低于 1 时，概率大的词元更占优。"
                "然后 top-k 截断。最后 top-p 在剩下的词元中从概率最大的取起，概率之和一达到 p 就停。"
                "每一列是依次用到该项设置之后的结果。",
            )
        ),
        _candidates(
            trace, p, LocalizedText("temperature, then top-k, then top-p", "先温度，再 top-k，再 top-p"), IN_ORDER
        ),
    )


def _candidates(trace: Trace, position: int, title: LocalizedText, settings: Mapping[Text, GenerationConfig]) -> Table:
    """Tabulate the candidates by rank, with a column for each of the settings and a line at each cut-off."""
    logits = read_out(trace, position)["logits"]
    order = falling(logits)
    columns = [_column(logits, each, position) for each in settings.values()]
    borders: dict[int, Text] = {}
    for name, column in zip(settings, columns, strict=True):
        borders.setdefault(len(column.shares), name)
    rows: list[Sequence[Entry]] = []
    for before, rank in pairwise([-1, *_ranks(len(order), borders)]):
        rows += _between(before, rank, borders, len(columns))
        shares = (column.share(order[rank]) for column in columns)
        rows.append((f"{rank + 1:,}", token_label(trace, order[rank]), f"{order[rank]:,}", *shares))
    left = (Number(len(column.shares), f"len({column.formula})", form=",") for column in columns)
    drawn = (token_label(trace, column.drawn) for column in columns)
    rows.append(("", LocalizedText("tokens that are left", "剩下的词元数"), "", *left))
    rows.append(("", LocalizedText(f"drawn with seed {SEED}", f"种子 {SEED} 抽到的词元"), "", *drawn))
    return Table(title, (LocalizedText("rank", "名次"), TOKEN, ID, *settings), rows)


def _column(logits: FloatArray, sampling: GenerationConfig, position: int) -> Column:
    ids, shares = distribution(logits, sampling)
    settings = f"temperature={sampling.temperature:g}, top_k={sampling.top_k}, top_p={sampling.top_p:g}"
    drawn = choose(logits, sampling, np.random.default_rng(SEED))
    return Column(
        dict(zip(ids.tolist(), shares.tolist(), strict=True)), f"distribution(logits[{position}], {settings})", drawn
    )


def _ranks(size: int, borders: Iterable[int]) -> list[int]:
    """Return the ranks that have a row: the most likely tokens, and those on both sides of a cut-off."""
    near = {rank for border in borders if border < size for rank in range(border - AROUND, border + AROUND)}
    return sorted(rank for rank in {*range(LIKELIEST), *near} if 0 <= rank < size)


def _between(before: int, rank: int, borders: Mapping[int, Text], columns: int) -> list[Sequence[Entry]]:
    """Return the row between two candidates: a line at a cut-off, dots if some are omitted."""
    if rank in borders:
        name = borders[rank]
        return [("──", LocalizedText(f"cut at {name}", f"在 {name} 处截断"), *("──",) * (columns + 1))]
    return [("…",) * (columns + 3)] if rank > before + 1 else []


def _check_cut(trace: Trace, chosen: Selection) -> Check:
    """Compare each cut-off with the sorted logits and their softmax, and the three settings applied one by one."""
    p = chosen.position
    read = read_out(trace, chosen.position)
    logits = read["logits"]
    kept = {}
    as_sorted = True
    off = 0.0
    for k in (1, 40):
        ids, share = distribution(logits, GenerationConfig(top_k=k))
        border = np.sort(logits)[-min(k, len(logits))]
        as_sorted &= np.array_equal(ids, np.flatnonzero(logits >= border))
        off = max(off, relative_error(share, read["probs"][ids] / read["probs"][ids].sum()))
        kept[k] = integer(len(ids), f"sum(logits[{p}] >= sort(logits[{p}])[-min({k}, config.n_vocab)])")
    in_order = _out_of_order(logits)
    scaled = f"top_k(probs[{p}], k) / sum(top_k(probs[{p}], k))"
    settings = f"temperature={LAST.temperature:g}, top_k={LAST.top_k}, top_p={LAST.top_p:g}"
    one_by_one = f"top_p(softmax(top_k(logits[{p}] / {LAST.temperature:g}, {LAST.top_k})), {LAST.top_p:g})"
    return Check(
        as_sorted and max(off, in_order) <= TOLERANCE,
        Statement(
            "of {size} tokens k = 1 leaves {one} and k = 40 leaves {forty}, {sorted} highest scores; their "
            "probabilities are those of all, scaled to sum to 1, {near}; temperature, top-k and top-p one after the "
            "other give the last column {steps}",
            "{size} 个词元中，k = 1 留下 {one} 个，k = 40 留下 {forty} 个，{sorted}分数最高的；"
            "它们的概率是把原概率按比例放大到和为 1，{near}；"
            "依次用温度、top-k、top-p 计算，结果与最后一列一致，{steps}",
            size=integer(len(logits), "config.n_vocab"),
            one=kept[1],
            forty=kept[40],
            sorted=LocalizedText("the", "正是") if as_sorted else LocalizedText("not the", "并非"),
            near=within(off, f"max([error(softmax(top_k(logits[{p}], k)), {scaled}) for k in [1, 40]])"),
            steps=within(in_order, f"error(sort(distribution(logits[{p}], {settings})), sort({one_by_one}))"),
        ),
    )


def _out_of_order(logits: FloatArray) -> float:
    """Return the error of the probabilities (V,), compared with temperature, top-k and top-p applied one by one."""
    shares = softmax(logits / np.float64(LAST.temperature))
    shares[logits < np.sort(logits)[-min(LAST.top_k, len(logits))]] = 0
    shares /= shares.sum()
    order = top_k(shares, len(shares))
    shares[order[int((np.cumsum(shares[order]) < LAST.top_p).sum()) + 1 :]] = 0
    given = np.zeros(len(logits))
    ids, given_shares = distribution(logits, LAST)
    given[ids] = given_shares
    return relative_error(given, shares / shares.sum())


FIGURES = (
    Figure(
        "F28",
        LocalizedText("Choosing the next token: top-k", "选出下一个词元：top-k"),
        part=1,
        picture=26,
        tensors=("logits",),
        draw=_cut,
        verify=_check_cut,
    ),
)
