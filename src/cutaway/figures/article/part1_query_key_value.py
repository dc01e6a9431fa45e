"""Part 1 of the article: query, key and value, explained as a search through folders."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.accuracy import max_difference
from cutaway.figures.article.article_numbers import ATTENDED, article_cells
from cutaway.figures.article.excerpts import at, omitted_tokens, part, selection_text, token_weights, window
from cutaway.figures.article.part2_self_attention import check_weights
from cutaway.figures.article.part2_three_steps import check_sum, weighted_values
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import THIS_MODEL, TOKEN, plural, token_labels
from cutaway.figures.panels import Bars, Entry, Grid, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.numerics import top_k
from cutaway.trace import Trace

MOST_ROWS = 12  # of the table of weights and values


def _folders(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    h = chosen.head
    p = chosen.position
    shown = window(trace, p)
    tokens = token_labels(trace)
    spot = selection_text(chosen)
    return (
        Note(
            LocalizedText(
                f"A search through folders, {spot.en}: the query of “{tokens[p]}” is what is looked for, a key is the "
                "label of a folder, and a value is what lies inside. All three are made from a token's vector, each "
                f"by its own columns of one matrix. {omitted_tokens(trace).en}",
                f"在文件夹里找东西，{spot.zh}：“{tokens[p]}”的查询写着要找什么，键是文件夹上的标签，"
                f"值是文件夹里的内容。三者都由词元的向量得来，各用同一个矩阵里自己的那些列。{omitted_tokens(trace).zh}",
            )
        ),
        Grid(
            LocalizedText(f"the query of “{tokens[p]}”", f"“{tokens[p]}”的查询"),
            part(trace, f"q.{layer}", h, p),
            "signed",
        ),
        Grid(
            LocalizedText("the keys: labels", "键：标签"), part(trace, f"k.{layer}", h, shown), "signed", tokens[shown]
        ),
        Grid(
            LocalizedText("the values: contents", "值：内容"),
            part(trace, f"v.{layer}", h, shown),
            "signed",
            tokens[shown],
        ),
    )


def _check_folders(trace: Trace, chosen: Selection) -> Check:
    """Check that queries, keys and values are three different slices of one tensor."""
    layer = chosen.layer
    head = chosen.head
    width = trace.config.d_head
    columns = trace[f"qkv.{layer}"].reshape(len(trace), 3, trace.config.n_head, width)[:, :, head]  # (T, 3, dh)
    ours = np.stack([trace[f"{kind}.{layer}"][head] for kind in "qkv"], axis=1)
    off = max_difference(ours, columns)
    unlike = max_difference(trace[f"k.{layer}"], trace[f"v.{layer}"])
    starts = [third * trace.config.n_embd + head * width for third in range(3)]
    slices = ", ".join(
        f"difference({kind}.{layer}[{head}], qkv.{layer}[:, {start}:{start + width}])"
        for kind, start in zip("qkv", starts, strict=True)
    )
    return Check(
        off == 0 and unlike > 0,
        Statement(
            "q, k and v of layer {layer}, head {head} differ from their columns of {qkv} by at most {off}; keys and "
            "values differ by up to {unlike}",
            "层 {layer}、头 {head} 的 q、k、v 与它们在 {qkv} 中的列最大相差 {off}；键与值之间最大相差 {unlike}",
            layer=integer(layer, "layer"),
            head=integer(head, "head"),
            qkv=f"qkv.{layer}",
            off=Number(off, f"max([{slices}])", form="g"),
            unlike=Number(unlike, f"difference(k.{layer}, v.{layer})", form=".3g"),
        ),
    )


def _percentages(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    h = chosen.head
    p = chosen.position
    label = token_labels(trace)[p]
    spot = selection_text(chosen)
    width = trace.config.d_head
    return (
        Note(
            LocalizedText(
                f"How well each folder fits, {spot.en}: the query of “{label}” times each key, divided by the square "
                f"root of {width}, then the softmax. Tokens that come later get exactly 0.",
                f"每个文件夹有多匹配，{spot.zh}：“{label}”的查询与每个键做点积，除以 {width} 的平方根，再取 softmax。"
                "后面的词元得到的恰好是 0。",
            )
        ),
        token_weights(
            trace,
            LocalizedText("how much is taken from each folder", "从每个文件夹里取多少"),
            part(trace, f"attn.{layer}", h, p),
            marked=(p,),
        ),
    )


def _weighted_sum(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    spot = selection_text(chosen)
    return (
        Note(
            LocalizedText(
                f"Each token's value times its weight, and their sum: {spot.en}. The table follows number 0 of the "
                f"{plural(trace.config.d_head, 'number')} of a value; the cells below it show them all. "
                f"{omitted_tokens(trace).en}",
                f"每个词元的值乘以它的权重，再求和：{spot.zh}。每个值有 {trace.config.d_head} 个数，"
                f"表中是其中的第一个，表下的格子是全部。{omitted_tokens(trace).zh}",
            )
        ),
        _terms(trace, chosen),
        *weighted_values(trace, chosen),
        *_article_table(),
    )


def _terms(trace: Trace, chosen: Selection) -> Table:
    """Tabulate each token; for a long text, those with the largest weights and all others in one row."""
    layer = chosen.layer
    h = chosen.head
    p = chosen.position
    weights = trace[f"attn.{layer}"][h, p]
    values = trace[f"v.{layer}"][h, :, 0]
    heaviest = np.sort(top_k(weights, MOST_ROWS))
    tokens = token_labels(trace)

    def term(j: int | str) -> str:
        return f"attn.{layer}[{h}, {p}, {j}] * v.{layer}[{h}, {j}, 0]"

    rows: list[Sequence[Entry]] = [
        (
            tokens[j],
            at(trace, f"v.{layer}", h, int(j), 0),
            at(trace, f"attn.{layer}", h, p, int(j), form=".2%"),
            Number(float(weights[j] * values[j]), term(int(j))),
        )
        for j in heaviest
    ]
    others = np.setdiff1d(np.arange(len(trace)), heaviest)
    if len(others):
        rest = float(weights[others].sum()), float(weights[others] @ values[others])
        name = LocalizedText(f"{len(others):,} others", f"其余 {len(others):,} 个")
        weight = Number(rest[0], f"sum of attn.{layer}[{h}, {p}, j] over the others", form=".2%")
        rows.append((name, "", weight, Number(rest[1], f"sum of {term('j')} over the others")))
    total = Number(float(weights.sum()), f"sum(attn.{layer}[{h}, {p}])", form=".2%")
    rows.append((LocalizedText("sum", "和"), "", total, at(trace, f"z.{layer}", h, p, 0)))
    headings = TOKEN, LocalizedText("value, number 0", "值的第一个数"), LocalizedText("weight", "权重")
    return Table(THIS_MODEL, (*headings, LocalizedText("weight × value", "权重 × 值")), rows)


def _article_table() -> tuple[Panel, Panel]:
    return (
        Bars(
            LocalizedText("the article's weights of it, an illustration", "文章中 it 的权重（示意）"),
            ATTENDED,
            article_cells("article.attention"),
        ),
        Note(
            LocalizedText(
                "Those are the three that its text names. All nine of its table sum to 1.0013, where a softmax "
                "sums to 1.",
                "这是文章正文提到的三个。文章表中的九个权重加起来是 1.0013，而 softmax 的和应当是 1。",
            )
        ),
    )


FIGURES = (
    Figure(
        "F23",
        LocalizedText("Folders: query, keys, values", "文件夹：查询、键、值"),
        part=1,
        picture=21,
        tensors=("q.L", "k.L", "v.L"),
        draw=_folders,
        verify=_check_folders,
    ),
    Figure(
        "F24",
        LocalizedText("Folders: how much of each", "文件夹：各取多少"),
        part=1,
        picture=22,
        tensors=("attn.L",),
        draw=_percentages,
        verify=check_weights,
    ),
    Figure(
        "F25",
        LocalizedText("Values times weights, and their sum", "值乘以权重，再求和"),
        part=1,
        picture=23,
        tensors=("attn.L", "v.L", "z.L"),
        draw=_weighted_sum,
        verify=check_sum,
    ),
)
