"""Part 2 of the article: splitting a vector into heads, and merging them."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.accuracy import TOLERANCE, relative_error, relative_part, within
from cutaway.figures.article.attention_scale import product_formula
from cutaway.figures.article.excerpts import at, omitted_tokens, part, window
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import QUERY_KEY_VALUE, plural, position_text, token_labels
from cutaway.figures.panels import Grid, LocalizedText, Note, Panel, Table, cells, integer
from cutaway.figures.statement import Statement
from cutaway.trace import Trace

HEADS = 3  # as in the article

# F47


def _split(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    position = chosen.position
    config = trace.config
    qkv = trace[f"qkv.{layer}"]
    heads = [str(head) for head in range(config.n_head)]
    thirds = [qkv[position, i * config.n_embd : (i + 1) * config.n_embd] for i in range(3)]
    spot = position_text(position)
    return (
        Note(
            LocalizedText(
                f"Splitting into heads moves no number: {plural(config.n_embd, 'number')} become "
                f"{plural(config.n_head, 'row')} of {config.d_head}, a row for each head. Layer {layer} (layers and "
                f"heads counted from 0), {spot.en}.",
                f"分头并不改动任何数字：{config.n_embd:,} 个数排成 {config.n_head} 行，每行 {config.d_head} 个，"
                f"每个头一行。层 {layer}（层和头都从 0 数起），{spot.zh}。",
            )
        ),
        _index_map(trace, chosen),
        *(
            Grid(
                LocalizedText(f"{name.en}, a row for each head", f"{name.zh}，每个头一行"),
                cells(f"qkv.{layer}", qkv, third.reshape(config.n_head, config.d_head)),
                "signed",
                heads,
            )
            for name, third in zip(QUERY_KEY_VALUE.values(), thirds, strict=True)
        ),
    )


def _index_map(trace: Trace, chosen: Selection) -> Table:
    """Tabulate the indices of the chosen head's first and last numbers, before and after splitting."""
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    config = trace.config
    rows = []
    for third, kind in enumerate("qkv"):
        for i in dict.fromkeys((0, config.d_head - 1)):
            column = third * config.n_embd + head * config.d_head + i
            after = at(trace, f"{kind}.{layer}", head, position, i)
            before = at(trace, f"qkv.{layer}", position, column)
            names = f"{kind}.{layer}[{head}, {position}, {i}]", f"qkv.{layer}[{position}, {column}]"
            rows.append((names[0], after, names[1], before))
    columns = LocalizedText("in its head", "在头里"), "", LocalizedText("before", "分头之前"), ""
    return Table(LocalizedText("the index map", "下标对应"), columns, rows)


def _check_split(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    config = trace.config
    qkv = trace[f"qkv.{layer}"]
    width = config.d_head
    n_embd = config.n_embd
    wrong = 0
    for third, kind in enumerate("qkv"):
        for head in range(config.n_head):
            start = third * n_embd + head * width
            wrong += int((trace[f"{kind}.{layer}"][head] != qkv[:, start : start + width]).sum())
    merged = ", ".join(f"merge_heads({kind}.{layer})" for kind in "qkv")
    return Check(
        wrong == 0,
        Statement(
            "{right} of {size} numbers of {q}, {k} and {v} stand in {qkv} at {width} h + i, k from {keys} and v from "
            "{values} on, for number i of head h",
            "{q}、{k}、{v} 的 {size} 个数中有 {right} 个在 {qkv} 中位置相符："
            "第 h 个头的第 i 个数在 {width} h + i，k 再加 {keys}，v 再加 {values}",
            right=integer(qkv.size - wrong, f"sum(concat({merged}) == qkv.{layer})"),
            size=integer(qkv.size, "len(ids) * 3 * config.n_embd"),
            q=f"q.{layer}",
            k=f"k.{layer}",
            v=f"v.{layer}",
            qkv=f"qkv.{layer}",
            width=integer(width, "config.d_head"),
            keys=integer(n_embd, "config.n_embd"),
            values=integer(2 * n_embd, "2 * config.n_embd"),
        ),
    )


# F48


def _some_heads(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    shown = window(trace, chosen.position)
    tokens = token_labels(trace)[shown]
    heads = _chosen_heads(trace, chosen)
    shown_heads = _of_how_many(heads, trace.config.n_head)
    return (
        Note(
            LocalizedText(
                "Each head has its own query for every token and goes its own way from here. Layer "
                f"{chosen.layer}, {shown_heads.en} (both counted from 0). {omitted_tokens(trace).en}",
                "每个头对每个词元都有自己的查询，从这里起各算各的。"
                f"层 {chosen.layer}，{shown_heads.zh}（都从 0 数起）。{omitted_tokens(trace).zh}",
            )
        ),
        *(
            Grid(
                LocalizedText(f"queries of head {head}", f"头 {head} 的查询"),
                part(trace, f"q.{chosen.layer}", head, shown),
                "signed",
                tokens,
            )
            for head in heads
        ),
    )


def _chosen_heads(trace: Trace, chosen: Selection) -> list[int]:
    """List the selected head and the heads after it, wrapping around after the last head."""
    count = min(HEADS, trace.config.n_head)
    return sorted((chosen.head + i) % trace.config.n_head for i in range(count))


def _of_how_many(heads: Sequence[int], of: int) -> LocalizedText:
    """List the heads shown: 3 of 6 heads (0, 1, 5)."""
    if of == 1:
        return LocalizedText("its only head (0)", "唯一的头（0）")
    listed = ", ".join(map(str, heads)), "、".join(map(str, heads))
    every = len(heads) == of
    return LocalizedText(
        f"{'all' if every else f'{len(heads)} of'} {of} heads ({listed[0]})",
        f"{f'全部 {of} 个头' if every else f'{of} 个头中的 {len(heads)} 个'}（{listed[1]}）",
    )


def _check_some_heads(trace: Trace, chosen: Selection) -> Check:
    heads = _chosen_heads(trace, chosen)
    config = trace.config
    layer = chosen.layer
    q, k, raw = (trace[f"{kind}.{layer}"][heads] for kind in ("q", "k", "scores_raw"))
    off = relative_error(raw, q.astype(np.float64) @ k.swapaxes(1, 2) + relative_part(trace, layer)[heads])
    dot = f"q.{layer}[{heads}] @ transpose(k.{layer}[{heads}])"
    expected = product_formula(config, dot, layer, f"[{heads}]")
    which = f"sort((head + arange({len(heads)})) % config.n_head)"
    return Check(
        off < TOLERANCE and config.n_head * config.d_head == config.n_embd,
        Statement(
            "{n_head:head} of {width} hold {n_embd:number}; {noun} {heads} of layer {layer} score with their own "
            "{width} alone, {near}",
            "{n_head} 个头各 {width} 个数，共 {n_embd} 个；"
            "层 {layer}、头 {heads} 都只用自己的 {width} 个数打分，{near}",
            n_head=integer(config.n_head, "config.n_head"),
            width=integer(config.d_head, "config.d_head"),
            n_embd=integer(config.n_embd, "config.n_embd"),
            noun="head" if len(heads) == 1 else "heads",
            heads=[integer(head, f"{which}[{i}]") for i, head in enumerate(heads)],
            layer=integer(layer, "layer"),
            near=within(off, f"error(scores_raw.{layer}[{heads}], {expected})"),
        ),
    )


# F52


def _merge(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    position = chosen.position
    config = trace.config
    spot = position_text(position)
    return (
        Note(
            LocalizedText(
                f"{plural(config.n_head, 'head')} of layer {layer} (counted from 0) for {spot.en}, one after the "
                f"other: {plural(config.n_head, 'row')} of {plural(config.d_head, 'number')} become one vector of "
                f"{config.n_embd:,}. Again no number changes.",
                f"层 {layer}（从 0 数起）的 {config.n_head} 个头在{spot.zh}的结果首尾相接："
                f"{config.n_head} 行、每行 {config.d_head} 个数，变成一个有 {config.n_embd:,} 个数的向量。"
                "数字同样不变。",
            )
        ),
        Grid(
            LocalizedText("a row for each head", "每个头一行"),
            part(trace, f"z.{layer}", slice(None), position),
            "signed",
            [str(head) for head in range(config.n_head)],
        ),
        Grid(LocalizedText("one vector", "一个向量"), part(trace, f"zcat.{layer}", position), "signed"),
    )


def _check_merge(trace: Trace, chosen: Selection) -> Check:
    z = trace[f"z.{chosen.layer}"]
    merged = trace[f"zcat.{chosen.layer}"]
    wrong = int((np.concatenate(list(z), axis=-1) != merged).sum())
    return Check(
        wrong == 0,
        Statement(
            "{right} of {size} numbers of {zcat} are those of {z}, {heads:head}, one after the other",
            "{zcat} 的 {size} 个数中有 {right} 个与首尾相接的 {z} 的 {heads} 个头相同",
            right=integer(merged.size - wrong, f"sum(merge_heads(z.{chosen.layer}) == zcat.{chosen.layer})"),
            size=integer(merged.size, "len(ids) * config.n_embd"),
            zcat=f"zcat.{chosen.layer}",
            z=f"z.{chosen.layer}",
            heads=integer(len(z), "config.n_head"),
        ),
    )


FIGURES = (
    Figure(
        "F47",
        LocalizedText("Splitting into heads", "分成多个头"),
        part=2,
        picture=45,
        tensors=("qkv.L", "q.L", "k.L", "v.L"),
        draw=_split,
        verify=_check_split,
    ),
    Figure(
        "F48",
        LocalizedText("Some of the heads", "其中几个头"),
        part=2,
        picture=46,
        tensors=("q.L",),
        draw=_some_heads,
        verify=_check_some_heads,
    ),
    Figure(
        "F52",
        LocalizedText("Merging the heads", "合并各个头"),
        part=2,
        picture=50,
        tensors=("z.L", "zcat.L"),
        draw=_merge,
        verify=_check_merge,
    ),
)
