"""Part 1 of the article: what a token looks at, told as a search through folders."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article import ATTENDED, article_cells
from cutaway.figures.content import Bars, Check, Entry, Grid, Note, Number, Panel, Selection, Table, Words, computed
from cutaway.figures.labels import token_label, token_labels
from cutaway.figures.registry import Figure
from cutaway.figures.views import apart, at, part, token_weights, where, within
from cutaway.trace import Trace

MOST_ROWS = 12  # of the table of weights and values


def _folders(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, h, p = chosen.layer, chosen.head, chosen.position
    tokens, spot = token_labels(trace), where(chosen)
    return (
        Note(
            Words(
                f"A search through folders, {spot.en}: the query of {tokens[p]} is what is looked for, a key is the "
                "label of a folder, and a value is what lies inside. All three are made from a token's vector, each "
                "by a matrix of its own.",
                f"在文件夹里找东西，{spot.zh}：{tokens[p]} 的查询写着要找什么，键是文件夹上的标签，"
                "值是文件夹里的内容。三者都由词的向量得来，各用各的矩阵。",
            )
        ),
        Grid(Words(f"the query of {tokens[p]}", f"{tokens[p]} 的查询"), part(trace, f"q.{layer}", h, p), "signed"),
        Grid(Words("the keys: labels", "键：标签"), part(trace, f"k.{layer}", h), "signed", tokens),
        Grid(Words("the values: contents", "值：内容"), part(trace, f"v.{layer}", h), "signed", tokens),
    )


def _check_folders(trace: Trace, chosen: Selection) -> Check:
    """Queries, keys and values are three different slices of one tensor."""
    layer, width = chosen.layer, trace.config.d_head
    off = 0.0
    for third, kind in enumerate("qkv"):
        first = third * trace.config.n_embd + chosen.head * width
        slices = trace[f"qkv.{layer}"][:, first : first + width]
        off = max(off, float(np.abs(trace[f"{kind}.{layer}"][chosen.head] - slices).max()))
    apart = float(np.abs(trace[f"k.{layer}"] - trace[f"v.{layer}"]).max())
    return Check(
        off == 0 and apart > 0,
        f"q, k and v of layer {layer}, head {chosen.head} differ from their columns of qkv.{layer} by at most {off:g}; "
        f"keys and values differ by up to {apart:.3g}",
    )


def _percentages(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, h, p = chosen.layer, chosen.head, chosen.position
    label, spot, width = token_label(trace, trace.ids[p]), where(chosen), trace.config.d_head
    return (
        Note(
            Words(
                f"How well each folder fits, {spot.en}: the query of {label} times each key, divided by the square "
                f"root of {width}, then the softmax. Tokens that come later get exactly 0.",
                f"每个文件夹有多匹配，{spot.zh}：{label} 的查询与每个键做点积，除以 {width} 的平方根，再取 softmax。"
                "后面的词得到的恰好是 0。",
            )
        ),
        token_weights(
            trace,
            Words("how much is taken from each folder", "从每个文件夹里取多少"),
            part(trace, f"attn.{layer}", h, p),
            marked=(p,),
        ),
    )


def _check_percentages(trace: Trace, chosen: Selection) -> Check:
    p = chosen.position
    weights = trace[f"attn.{chosen.layer}"][chosen.head, p]
    total, later = float(weights.sum()), float(weights[p + 1 :].max(initial=0))
    return Check(
        abs(total - 1) < 1e-5 and later == 0,
        f"attn.{chosen.layer}[{chosen.head}, {p}] sums to {total:.6f}; later tokens have at most {later:g}",
    )


def _weighted_sum(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, h, p = chosen.layer, chosen.head, chosen.position
    weights, values = trace[f"attn.{layer}"][h, p], trace[f"v.{layer}"][h]
    spot, width = where(chosen), trace.config.d_head
    return (
        Note(
            Words(
                f"Each token's value times its weight, and their sum: {spot.en}. The table follows number 0 of the "
                f"{width} numbers of a value; the cells below it show them all.",
                f"每个词的值乘以它的权重，再求和：{spot.zh}。每个值有 {width} 个数，"
                "表中是其中的第 0 个，表下的格子是全部。",
            )
        ),
        _terms(trace, chosen),
        Grid(
            Words("weight × value, all numbers", "权重 × 值：全部的数"),
            computed(f"attn.{layer}[{h}, {p}, j] * v.{layer}[{h}, j]", weights[:, None] * values),
            "signed",
            token_labels(trace),
        ),
        Grid(Words("the sum", "它们的和"), part(trace, f"z.{layer}", h, p), "signed", ("z",)),
        *_article_table(),
    )


def _terms(trace: Trace, chosen: Selection) -> Table:
    """A row for each token, of a long text for those with most weight, and one for all the others."""
    layer, h, p = chosen.layer, chosen.head, chosen.position
    weights, values = trace[f"attn.{layer}"][h, p], trace[f"v.{layer}"][h, :, 0]
    heaviest = np.sort(np.argsort(-weights, kind="stable")[:MOST_ROWS])

    def term(j: int | str) -> str:
        return f"attn.{layer}[{h}, {p}, {j}] * v.{layer}[{h}, {j}, 0]"

    rows: list[Sequence[Entry]] = [
        (
            token_label(trace, trace.ids[j]),
            at(trace, f"v.{layer}", h, int(j), 0),
            at(trace, f"attn.{layer}", h, p, int(j)),
            Number(float(weights[j] * values[j]), term(int(j))),
        )
        for j in heaviest
    ]
    others = np.setdiff1d(np.arange(len(trace)), heaviest)
    if len(others):
        rest = float(weights[others].sum()), float(weights[others] @ values[others])
        name = Words(f"{len(others):,} others", f"其余 {len(others):,} 个")
        weight = Number(rest[0], f"sum of attn.{layer}[{h}, {p}, j] over the others")
        rows.append((name, "", weight, Number(rest[1], f"sum of {term('j')} over the others")))
    total = Number(float(weights.sum()), f"sum(attn.{layer}[{h}, {p}])")
    rows.append((Words("sum", "和"), "", total, at(trace, f"z.{layer}", h, p, 0)))
    headings = Words("token", "词"), Words("value, number 0", "值的第 0 个数"), Words("weight", "权重")
    return Table(Words("this model", "本模型"), (*headings, Words("weight × value", "权重 × 值")), rows)


def _article_table() -> tuple[Panel, Panel]:
    return (
        Bars(
            Words("the article's weights of it, an illustration", "文章中 it 的权重（示意）"),
            ATTENDED,
            article_cells("article.attention"),
        ),
        Note(
            Words(
                "Those are the three that its text names. All nine of its table sum to 1.0013, where a softmax "
                "sums to 1.",
                "这是文章正文提到的三个。文章表中的九个权重加起来是 1.0013，而 softmax 的和应当是 1。",
            )
        ),
    )


def _check_weighted_sum(trace: Trace, chosen: Selection) -> Check:
    layer, h, p = chosen.layer, chosen.head, chosen.position
    weights, values = trace[f"attn.{layer}"][h, p], trace[f"v.{layer}"][h]
    off = apart(weights.astype(np.float64) @ values, trace[f"z.{layer}"][h, p])
    return Check(
        off <= 1e-5,
        f"the sum over j of attn.{layer}[{h}, {p}, j] * v.{layer}[{h}, j] is z.{layer}[{h}, {p}] {within(off)}",
    )


FIGURES = (
    Figure(
        "F23",
        Words("Folders: query, keys, values", "文件夹：查询、键、值"),
        part=1,
        picture=21,
        status="live",
        tensors=("q.L", "k.L", "v.L"),
        draw=_folders,
        verify=_check_folders,
    ),
    Figure(
        "F24",
        Words("Folders: how much of each", "文件夹：各取多少"),
        part=1,
        picture=22,
        status="live",
        tensors=("attn.L",),
        draw=_percentages,
        verify=_check_percentages,
    ),
    Figure(
        "F25",
        Words("Values times weights, and their sum", "值乘以权重，再求和"),
        part=1,
        picture=23,
        status="live",
        tensors=("attn.L", "v.L", "z.L"),
        draw=_weighted_sum,
        verify=_check_weighted_sum,
    ),
)
