"""Part 3 of the article: translation with a decoder-only model."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.accuracy import within
from cutaway.figures.article.excerpts import MOST_BARS, MOST_ROWS, part
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import SEEN, plural, token_labels
from cutaway.figures.panels import Bars, Grid, LocalizedText, Note, Number, Panel, computed, integer
from cutaway.figures.statement import Statement
from cutaway.trace import Trace

_WRITES = LocalizedText("query: the token after which one is written", "查询：在它之后写出词元")

# F60: the source is the prefix, or in a causal trace the tokens up to the chosen one. Each row is a token that precedes
# a token of the target: the last source token, and the target tokens.


def _n_source(trace: Trace, chosen: Selection) -> int:
    return trace.n_prefix or chosen.position + 1


def _translation(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name = f"attn.{chosen.layer}"
    n_source = _n_source(trace, chosen)
    tokens = token_labels(trace)
    rows = slice(n_source - 1, min(len(trace), n_source - 1 + MOST_ROWS))
    columns = slice(min(n_source, MOST_BARS))
    attn = trace[name]
    mean = computed(f"mean({name}[:, {rows.start}:{rows.stop}, :{columns.stop}], 0)", attn[:, rows, columns].mean(0))
    head = f"{name}[{chosen.head}, {rows.start}:{rows.stop}, :{n_source}]"
    shares = computed(f"sum({head}, -1)", attn[chosen.head, rows, :n_source].sum(-1, keepdims=True))
    axes = _WRITES, SEEN
    return (
        Note(_explanation(trace, chosen)),
        Grid(
            LocalizedText("from source to target: this head", "从源文到译文：这个头"),
            part(trace, name, chosen.head, rows, columns),
            "share",
            tokens[rows],
            tokens[columns],
            *axes,
        ),
        Grid(
            LocalizedText("the mean of the layer's heads", "这一层各个头的平均"),
            mean,
            "share",
            tokens[rows],
            tokens[columns],
            *axes,
        ),
        Bars(
            LocalizedText("weight of this head on the source", "这个头放在源文上的权重"), tokens[rows], shares, "share"
        ),
    )


def _explanation(trace: Trace, chosen: Selection) -> LocalizedText:
    n_source = _n_source(trace, chosen)
    n_target = len(trace) - n_source
    en = [f"Source and target are one text for a decoder, layer {chosen.layer}, head {chosen.head} (counted from 0)."]
    zh = [f"对解码器来说，源文与译文是同一段文本；层 {chosen.layer}、头 {chosen.head}（从 0 数起）。"]
    if trace.n_prefix:
        en.append(f"The source is the prefix of {plural(n_source, 'token')} that see each other.")
        zh.append(f"源文是前缀，共 {n_source} 个词元，彼此都看得见。")
    else:
        en.append(
            f"This model has learned no prefix: the {plural(n_source, 'token')} up to the chosen one are the source."
        )
        zh.append(f"本模型没有学过前缀：到所选词元为止的 {n_source} 个词元当作源文。")
    if n_target + 1 > MOST_ROWS or n_source > MOST_BARS:
        en.append(f"Shown are at most {MOST_ROWS} rows and {MOST_BARS} columns of {n_target + 1:,} and {n_source:,}.")
        zh.append(f"全部 {n_target + 1:,} 行、{n_source:,} 列中，至多画出 {MOST_ROWS} 行、{MOST_BARS} 列。")
    return LocalizedText(" ".join(en), "".join(zh))


def _check_translation(trace: Trace, chosen: Selection) -> Check:
    name = f"attn.{chosen.layer}"
    n_source = _n_source(trace, chosen)
    attn = trace[name]
    off = float(np.abs(attn.sum(axis=-1) - 1).max())
    ahead = float(np.abs(np.triu(attn, 1)[:, :, n_source:]).max(initial=0))
    inside = float(np.abs(np.triu(attn[:, :n_source, :n_source], 1)).max())
    rows = f"{name}[{chosen.head}, {n_source - 1}:, :{n_source}]"
    share = float(attn[chosen.head, n_source - 1 :, :n_source].astype(np.float64).sum(-1).mean())
    sees = trace.n_prefix > 1
    return Check(
        off < 1e-5 and ahead == 0 and (inside > 0) == sees,
        Statement(
            "of this head's weight {share} is on {n:source token}, on the average of what is written; rows sum to 1 "
            "{near}; weights of later target tokens are at most {ahead}, of later source tokens {inside}: {sight}",
            "写译文时，这个头平均把 {share} 的权重放在 {n} 个源文词元上；每行之和为 1，{near}；"
            "对后面译文词元的权重最大为 {ahead}，对后面源文词元的最大为 {inside}：{sight}",
            share=Number(share, f"mean(sum({rows}, -1))", form=".2%"),
            n=integer(n_source, "n_prefix" if trace.n_prefix else "position + 1"),
            near=within(off, f"max(abs(sum({name}, -1) - 1))"),
            ahead=Number(ahead, f"max(abs(triu({name})[:, :, {n_source}:]))", form="g"),
            inside=Number(inside, f"max(abs(triu({name}[:, :{n_source}, :{n_source}])))", form="g"),
            sight=LocalizedText("the source is read both ways", "源文是双向阅读的")
            if sees
            else LocalizedText("everything is read from left to right", "全部从左向右阅读"),
        ),
    )


FIGURES = (
    Figure(
        "F60",
        LocalizedText("Translation with a decoder alone", "只用解码器做翻译"),
        part=3,
        picture=58,
        tensors=("attn.L",),
        draw=_translation,
        verify=_check_translation,
    ),
)
