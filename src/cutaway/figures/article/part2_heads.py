"""Part 2 of the article: the heads - how a vector is split into them, some of them, and how they are merged."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.excerpts import TOLERANCE, apart, at, cut, part, window, within
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import QUERY_KEY_VALUE, many, place, token_labels
from cutaway.figures.panels import Grid, Note, Panel, Table, Words, cells
from cutaway.trace import Trace

HEADS = 3  # of which the article draws as many

# F47


def _split(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, position, config = chosen.layer, chosen.position, trace.config
    qkv, heads = trace[f"qkv.{layer}"], [str(head) for head in range(config.n_head)]
    thirds = [qkv[position, i * config.n_embd : (i + 1) * config.n_embd] for i in range(3)]
    spot = place(position)
    return (
        Note(
            Words(
                f"Splitting into heads moves no number: {many(config.n_embd, 'number')} become "
                f"{many(config.n_head, 'row')} of {config.d_head}, a row for each head. Layer {layer} (layers and "
                f"heads counted from 0), {spot.en}.",
                f"分头并不改动任何数字：{config.n_embd:,} 个数排成 {config.n_head} 行，每行 {config.d_head} 个，"
                f"每个头一行。第 {layer} 层（层和头都从 0 数起），{spot.zh}。",
            )
        ),
        _index_map(trace, chosen),
        *(
            Grid(
                Words(f"{name.en}, a row for each head", f"{name.zh}，每个头一行"),
                cells(f"qkv.{layer}", qkv, third.reshape(config.n_head, config.d_head)),
                "signed",
                heads,
            )
            for name, third in zip(QUERY_KEY_VALUE.values(), thirds, strict=True)
        ),
    )


def _index_map(trace: Trace, chosen: Selection) -> Table:
    """Where the first and the last number of the chosen head stood before."""
    layer, head, position, config = chosen.layer, chosen.head, chosen.position, trace.config
    rows = []
    for third, kind in enumerate("qkv"):
        for i in dict.fromkeys((0, config.d_head - 1)):
            column = third * config.n_embd + head * config.d_head + i
            after = at(trace, f"{kind}.{layer}", head, position, i)
            before = at(trace, f"qkv.{layer}", position, column)
            names = f"{kind}.{layer}[{head}, {position}, {i}]", f"qkv.{layer}[{position}, {column}]"
            rows.append((names[0], after, names[1], before))
    columns = Words("in its head", "在头里"), "", Words("before", "分头之前"), ""
    return Table(Words("the index map", "下标对应"), columns, rows)


def _check_split(trace: Trace, chosen: Selection) -> Check:
    layer, config = chosen.layer, trace.config
    qkv, width, n_embd = trace[f"qkv.{layer}"], config.d_head, config.n_embd
    wrong = 0
    for third, kind in enumerate("qkv"):
        for head in range(config.n_head):
            start = third * n_embd + head * width
            wrong += int((trace[f"{kind}.{layer}"][head] != qkv[:, start : start + width]).sum())
    right, size = f"{qkv.size - wrong:,}", f"{qkv.size:,}"
    return Check(
        wrong == 0,
        Words(
            f"{right} of {size} numbers of q.{layer}, k.{layer} and v.{layer} stand in qkv.{layer} at {width} h + i, "
            f"k from {n_embd} and v from {2 * n_embd} on, for number i of head h",
            f"q.{layer}、k.{layer}、v.{layer} 的 {size} 个数中有 {right} 个在 qkv.{layer} 中位置相符："
            f"第 h 个头的第 i 个数在 {width} h + i，k 再加 {n_embd}，v 再加 {2 * n_embd}",
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
            Words(
                "Each head has its own query for every token and goes its own way from here. Layer "
                f"{chosen.layer}, {shown_heads.en} (both counted from 0). {cut(trace).en}",
                "每个头对每个词元都有自己的查询，从这里起各算各的。"
                f"第 {chosen.layer} 层，{shown_heads.zh}（都从 0 数起）。{cut(trace).zh}",
            )
        ),
        *(
            Grid(
                Words(f"queries of head {head}", f"第 {head} 个头的查询"),
                part(trace, f"q.{chosen.layer}", head, shown),
                "signed",
                tokens,
            )
            for head in heads
        ),
    )


def _chosen_heads(trace: Trace, chosen: Selection) -> list[int]:
    """The chosen head and those after it, the first again after the last."""
    count = min(HEADS, trace.config.n_head)
    return sorted((chosen.head + i) % trace.config.n_head for i in range(count))


def _of_how_many(heads: Sequence[int], of: int) -> Words:
    """Which heads are shown: 3 of 6 heads (0, 1, 5)."""
    if of == 1:
        return Words("its only head (0)", "唯一的头（0）")
    listed = ", ".join(map(str, heads)), "、".join(map(str, heads))
    every = len(heads) == of
    return Words(
        f"{'all' if every else f'{len(heads)} of'} {of} heads ({listed[0]})",
        f"{f'全部 {of} 个头' if every else f'{of} 个头中的 {len(heads)} 个'}（{listed[1]}）",
    )


def _check_some_heads(trace: Trace, chosen: Selection) -> Check:
    heads, config = _chosen_heads(trace, chosen), trace.config
    q, k, raw = (trace[f"{kind}.{chosen.layer}"][heads] for kind in ("q", "k", "scores_raw"))
    off = apart(raw, q.astype(np.float64) @ k.swapaxes(1, 2))
    n_head, width, near = config.n_head, config.d_head, within(off)
    return Check(
        off < TOLERANCE and n_head * width == config.n_embd,
        Words(
            f"{many(n_head, 'head')} of {width} hold {many(config.n_embd, 'number')}; "
            f"{'head' if len(heads) == 1 else 'heads'} {', '.join(map(str, heads))} of layer {chosen.layer} score with "
            f"their own {width} alone, {near.en}",
            f"{n_head} 个头各 {width} 个数，共 {config.n_embd:,} 个；第 {chosen.layer} 层第 "
            f"{'、'.join(map(str, heads))} 个头都只用自己的 {width} 个数打分，{near.zh}",
        ),
    )


# F52


def _merge(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, position, config = chosen.layer, chosen.position, trace.config
    spot = place(position)
    return (
        Note(
            Words(
                f"{many(config.n_head, 'head')} of layer {layer} (counted from 0) for {spot.en}, one after the other: "
                f"{many(config.n_head, 'row')} of {many(config.d_head, 'number')} become one vector of "
                f"{config.n_embd:,}. Again no number changes.",
                f"第 {layer} 层（从 0 数起）的 {config.n_head} 个头在{spot.zh}的结果首尾相接："
                f"{config.n_head} 行、每行 {config.d_head} 个数，变成一个有 {config.n_embd:,} 个数的向量。"
                "数字同样不变。",
            )
        ),
        Grid(
            Words("a row for each head", "每个头一行"),
            part(trace, f"z.{layer}", slice(None), position),
            "signed",
            [str(head) for head in range(config.n_head)],
        ),
        Grid(Words("one vector", "一个向量"), part(trace, f"zcat.{layer}", position), "signed"),
    )


def _check_merge(trace: Trace, chosen: Selection) -> Check:
    z, merged = trace[f"z.{chosen.layer}"], trace[f"zcat.{chosen.layer}"]
    wrong = int((np.concatenate(list(z), axis=-1) != merged).sum())
    right, size = f"{merged.size - wrong:,}", f"{merged.size:,}"
    return Check(
        wrong == 0,
        Words(
            f"{right} of {size} numbers of zcat.{chosen.layer} are those of z.{chosen.layer}, {many(len(z), 'head')}, "
            "one after the other",
            f"zcat.{chosen.layer} 的 {size} 个数中有 {right} 个与首尾相接的 z.{chosen.layer} 的 {len(z)} 个头相同",
        ),
    )


FIGURES = (
    Figure(
        "F47",
        Words("Splitting into heads", "分成多个头"),
        part=2,
        picture=45,
        tensors=("qkv.L", "q.L", "k.L", "v.L"),
        draw=_split,
        verify=_check_split,
    ),
    Figure(
        "F48",
        Words("Some of the heads", "其中几个头"),
        part=2,
        picture=46,
        tensors=("q.L",),
        draw=_some_heads,
        verify=_check_some_heads,
    ),
    Figure(
        "F52",
        Words("Merging the heads", "合并各个头"),
        part=2,
        picture=50,
        tensors=("z.L", "zcat.L"),
        draw=_merge,
        verify=_check_merge,
    ),
)
