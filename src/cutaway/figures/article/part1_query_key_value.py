"""Part 1 of the article: what a token looks at, told as a search through folders."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.article_numbers import ATTENDED, article_cells
from cutaway.figures.article.excerpts import at, cut, largest_difference, part, token_weights, where, window
from cutaway.figures.article.part2_self_attention import check_weights
from cutaway.figures.article.part2_three_steps import check_sum, weighted_values
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import THIS_MODEL, TOKEN, many, token_label, token_labels
from cutaway.figures.panels import Bars, Entry, Grid, Note, Number, Panel, Table, Words
from cutaway.numerics import top_k
from cutaway.trace import Trace

MOST_ROWS = 12  # of the table of weights and values


def _folders(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, h, p = chosen.layer, chosen.head, chosen.position
    shown, tokens, spot = window(trace, p), token_labels(trace), where(chosen)
    return (
        Note(
            Words(
                f"A search through folders, {spot.en}: the query of {tokens[p]} is what is looked for, a key is the "
                "label of a folder, and a value is what lies inside. All three are made from a token's vector, each "
                f"by its own columns of one matrix. {cut(trace).en}",
                f"在文件夹里找东西，{spot.zh}：{tokens[p]} 的查询写着要找什么，键是文件夹上的标签，"
                f"值是文件夹里的内容。三者都由词元的向量得来，各用同一个矩阵里自己的那些列。{cut(trace).zh}",
            )
        ),
        Grid(Words(f"the query of {tokens[p]}", f"{tokens[p]} 的查询"), part(trace, f"q.{layer}", h, p), "signed"),
        Grid(Words("the keys: labels", "键：标签"), part(trace, f"k.{layer}", h, shown), "signed", tokens[shown]),
        Grid(Words("the values: contents", "值：内容"), part(trace, f"v.{layer}", h, shown), "signed", tokens[shown]),
    )


def _check_folders(trace: Trace, chosen: Selection) -> Check:
    """Queries, keys and values are three different slices of one tensor."""
    layer, head, width = chosen.layer, chosen.head, trace.config.d_head
    columns = trace[f"qkv.{layer}"].reshape(len(trace), 3, trace.config.n_head, width)[:, :, head]  # (T, 3, dh)
    ours = np.stack([trace[f"{kind}.{layer}"][head] for kind in "qkv"], axis=1)
    off, apart = (largest_difference(*two) for two in ((ours, columns), (trace[f"k.{layer}"], trace[f"v.{layer}"])))
    return Check(
        off == 0 and apart > 0,
        Words(
            f"q, k and v of layer {layer}, head {head} differ from their columns of qkv.{layer} by at most {off:g}; "
            f"keys and values differ by up to {apart:.3g}",
            f"第 {layer} 层第 {head} 个头的 q、k、v 与它们在 qkv.{layer} 中的列最大相差 {off:g}；"
            f"键与值之间最大相差 {apart:.3g}",
        ),
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
                "后面的词元得到的恰好是 0。",
            )
        ),
        token_weights(
            trace,
            Words("how much is taken from each folder", "从每个文件夹里取多少"),
            part(trace, f"attn.{layer}", h, p),
            marked=(p,),
        ),
    )


def _weighted_sum(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    spot = where(chosen)
    return (
        Note(
            Words(
                f"Each token's value times its weight, and their sum: {spot.en}. The table follows number 0 of the "
                f"{many(trace.config.d_head, 'number')} of a value; the cells below it show them all. {cut(trace).en}",
                f"每个词元的值乘以它的权重，再求和：{spot.zh}。每个值有 {trace.config.d_head} 个数，"
                f"表中是其中的第 0 个，表下的格子是全部。{cut(trace).zh}",
            )
        ),
        _terms(trace, chosen),
        *weighted_values(trace, chosen),
        *_article_table(),
    )


def _terms(trace: Trace, chosen: Selection) -> Table:
    """A row for each token, of a long text for those with most weight, and one for all the others."""
    layer, h, p = chosen.layer, chosen.head, chosen.position
    weights, values = trace[f"attn.{layer}"][h, p], trace[f"v.{layer}"][h, :, 0]
    heaviest = np.sort(top_k(weights, MOST_ROWS))

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
    headings = TOKEN, Words("value, number 0", "值的第 0 个数"), Words("weight", "权重")
    return Table(THIS_MODEL, (*headings, Words("weight × value", "权重 × 值")), rows)


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


FIGURES = (
    Figure(
        "F23",
        Words("Folders: query, keys, values", "文件夹：查询、键、值"),
        part=1,
        picture=21,
        tensors=("q.L", "k.L", "v.L"),
        draw=_folders,
        verify=_check_folders,
    ),
    Figure(
        "F24",
        Words("Folders: how much of each", "文件夹：各取多少"),
        part=1,
        picture=22,
        tensors=("attn.L",),
        draw=_percentages,
        verify=check_weights,
    ),
    Figure(
        "F25",
        Words("Values times weights, and their sum", "值乘以权重，再求和"),
        part=1,
        picture=23,
        tensors=("attn.L", "v.L", "z.L"),
        draw=_weighted_sum,
        verify=check_sum,
    ),
)
