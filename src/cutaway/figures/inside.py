"""Part 2 of the article: one token enters a block - input, LayerNorm, query, key and value, and their heads."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.content import Box, Check, Drawing, Grid, Note, Panel, Selection, Table, Words, cells
from cutaway.figures.labels import place, token_label, token_labels
from cutaway.figures.norms import norm_difference, norm_panels
from cutaway.figures.registry import Figure
from cutaway.figures.views import TOLERANCE, apart, at, cut, part, product, weight_grid, window, within
from cutaway.trace import Trace

HEADS = 3  # of which the article draws as many


# F44


def _input(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position = chosen.position
    token, spot = trace.ids[position], place(position)
    label = token_label(trace, token)
    return (
        Note(
            Words(
                f"{label} at {spot.en} enters the bottom block as its row of wte plus the position's row of wpe. "
                "The block first normalises it, which the article does not draw.",
                f"{spot.zh}的 {label} 进入最底层：wte 中它的一行加上 wpe 中这个位置的一行。"
                "层里先做层归一化，文章没有画这一步。",
            )
        ),
        Grid(Words(f"wte, row {token}", f"wte 第 {token} 行"), part(trace, "wte.weight", token), "signed"),
        Grid(Words(f"wpe, row {position}", f"wpe 第 {position} 行"), part(trace, "wpe.weight", position), "signed"),
        Grid(Words("their sum, resid.pre.0", "它们的和 resid.pre.0"), part(trace, "resid.pre.0", position), "signed"),
        *norm_panels(trace, "ln1", 0, position),
    )


def _check_input(trace: Trace, chosen: Selection) -> Check:
    position = chosen.position
    total = trace["wte.weight"][trace.ids[position]] + trace["wpe.weight"][position]
    off = apart(trace["resid.pre.0"][position], total)
    norm = norm_difference(trace, "ln1", "resid.pre.0", 0, position)
    mean, rstd = (float(trace[f"ln1.{kind}.0"][position, 0]) for kind in ("mean", "rstd"))
    return Check(
        off == 0 and norm < TOLERANCE,
        f"resid.pre.0[{position}] is wte[{trace.ids[position]}] + wpe[{position}] {within(off)}; ln1.0 takes away its "
        f"mean {mean:.4f} and multiplies by rstd {rstd:.4f}, {within(norm)}",
    )


# F45


def _query_key_value_matrix(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    matrix, n_embd = f"h.{chosen.layer}.attn.c_attn", trace.config.n_embd
    bias = trace[f"{matrix}.bias"]
    return (
        Note(
            Words(
                f"One matrix of layer {chosen.layer} (counted from 0) makes all three vectors: its first {n_embd:,} "
                f"columns the query, the next {n_embd:,} the key, the last {n_embd:,} the value. "
                "The bias, which the article leaves out of the picture, is added to the product.",
                f"第 {chosen.layer} 层（从 0 数起）的一个矩阵得出全部三个向量：前 {n_embd:,} 列得出查询，"
                f"中间 {n_embd:,} 列得出键，后 {n_embd:,} 列得出值。乘积还要加上偏置，文章的图里没有画。",
            )
        ),
        _thirds(n_embd),
        weight_grid(trace, f"{matrix}.weight"),
        Grid(f"{matrix}.bias", cells(f"{matrix}.bias", bias, bias.reshape(3, n_embd)), "signed", ("q", "k", "v")),
    )


def _thirds(n_embd: int) -> Drawing:
    """Which columns are whose, in the colours of query, key and value."""
    names = (Words("query", "查询"), "query"), (Words("key", "键"), "key"), (Words("value", "值"), "value")
    boxes = []
    for i, (name, colour) in enumerate(names):
        columns = f"{i * n_embd} … {(i + 1) * n_embd - 1}"
        boxes.append(Box(26 * i, 0, 24, 3, Words(f"{name.en}: {columns}", f"{name.zh}：{columns}"), colour))
    return Drawing(Words("columns, counted from 0", "列（从 0 数起）"), boxes)


def _check_matrix(trace: Trace, chosen: Selection) -> Check:
    matrix, n_embd = f"h.{chosen.layer}.attn.c_attn", trace.config.n_embd
    weight, bias = trace[f"{matrix}.weight"], trace[f"{matrix}.bias"]
    exact = product(trace, f"ln1.{chosen.layer}", matrix, chosen.position)
    off = apart(trace[f"qkv.{chosen.layer}"][chosen.position], exact)
    without = apart(exact - bias, exact)
    return Check(
        weight.shape == (n_embd, 3 * n_embd) and bias.shape == (3 * n_embd,) and off < TOLERANCE,
        f"{matrix} is {weight.shape[0]:,} × {weight.shape[1]:,} with {bias.size:,} biases; "
        f"ln1.{chosen.layer}[{chosen.position}] times it is qkv.{chosen.layer} {within(off)}, and {without:.2g} off "
        "without the bias",
    )


# F46


def _one_vector(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, position, n_embd = chosen.layer, chosen.position, trace.config.n_embd
    spot, qkv = place(position), trace[f"qkv.{layer}"]
    return (
        Note(
            Words(
                f"The product for {spot.en} in layer {layer} (counted from 0) is one vector of {3 * n_embd:,} numbers: "
                "query, key and value, one after the other. What is multiplied is the vector after the LayerNorm.",
                f"第 {layer} 层（从 0 数起）{spot.zh}的乘积是一个有 {3 * n_embd:,} 个数的向量：依次是查询、键和值。"
                "被乘的是层归一化之后的向量。",
            )
        ),
        *norm_panels(trace, "ln1", layer, position),
        _thirds(n_embd),
        Grid(
            Words(f"qkv.{layer}, a row for each third", f"qkv.{layer}，每三分之一占一行"),
            cells(f"qkv.{layer}", qkv, qkv[position].reshape(3, n_embd)),
            "signed",
            ("q", "k", "v"),
        ),
    )


def _check_one_vector(trace: Trace, chosen: Selection) -> Check:
    layer, position = chosen.layer, chosen.position
    x, matrix = f"resid.pre.{layer}", f"h.{layer}.attn.c_attn"
    norm = norm_difference(trace, "ln1", x, layer, position)
    off = apart(trace[f"qkv.{layer}"][position], product(trace, f"ln1.{layer}", matrix, position))
    return Check(
        max(norm, off) < TOLERANCE,
        f"ln1.{layer}[{position}] is the LayerNorm of {x} {within(norm)}, and qkv.{layer}[{position}], "
        f"{3 * trace.config.n_embd:,} numbers, is its product with {matrix} {within(off)}",
    )


# F47


def _split(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, position, config = chosen.layer, chosen.position, trace.config
    qkv, heads = trace[f"qkv.{layer}"], [str(head) for head in range(config.n_head)]
    names = Words("query", "查询"), Words("key", "键"), Words("value", "值")
    thirds = [qkv[position, i * config.n_embd : (i + 1) * config.n_embd] for i in range(3)]
    spot = place(position)
    return (
        Note(
            Words(
                f"Splitting into heads moves no number: {config.n_embd:,} numbers become {config.n_head} rows of "
                f"{config.d_head}, a row for each head. Layer {layer} (layers and heads counted from 0), {spot.en}.",
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
            for name, third in zip(names, thirds, strict=True)
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
    qkv = trace[f"qkv.{layer}"]
    wrong = 0
    for third, kind in enumerate("qkv"):
        for head in range(config.n_head):
            start = third * config.n_embd + head * config.d_head
            wrong += int((trace[f"{kind}.{layer}"][head] != qkv[:, start : start + config.d_head]).sum())
    return Check(
        wrong == 0,
        f"{qkv.size - wrong:,} of {qkv.size:,} numbers of q.{layer}, k.{layer} and v.{layer} stand in qkv.{layer} at "
        f"{config.d_head} h + i, k from {config.n_embd} and v from {2 * config.n_embd} on, for number i of head h",
    )


# F48


def _some_heads(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    shown = window(trace, chosen.position)
    tokens = token_labels(trace)[shown]
    heads = _chosen_heads(trace, chosen)
    return (
        Note(
            Words(
                f"Each head has its own query for every token and goes its own way from here. Shown are {len(heads)} "
                f"of the {trace.config.n_head} heads of layer {chosen.layer} (both counted from 0). {cut(trace).en}",
                "每个头对每个词都有自己的查询，从这里起各走各的路。"
                f"图中是第 {chosen.layer} 层 {trace.config.n_head} 个头中的 {len(heads)} 个（都从 0 数起）。"
                f"{cut(trace).zh}",
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


def _check_some_heads(trace: Trace, chosen: Selection) -> Check:
    heads, width = _chosen_heads(trace, chosen), trace.config.d_head
    q, k, raw = (trace[f"{kind}.{chosen.layer}"][heads] for kind in ("q", "k", "scores_raw"))
    off = apart(raw, q.astype(np.float64) @ k.swapaxes(1, 2))
    return Check(
        off < TOLERANCE and trace.config.n_head * width == trace.config.n_embd,
        f"{trace.config.n_head} heads of {width} are {trace.config.n_embd:,} numbers; heads "
        f"{', '.join(map(str, heads))} of layer {chosen.layer} score with their own {width} alone, {within(off)}",
    )


FIGURES = (
    Figure(
        "F44",
        Words("A token enters the bottom block", "一个词进入最底层"),
        part=2,
        picture=42,
        status="live",
        tensors=("wte.weight", "wpe.weight", "resid.pre.0", "ln1.0"),
        draw=_input,
        verify=_check_input,
    ),
    Figure(
        "F45",
        Words("The matrix for query, key and value", "查询、键和值的权重矩阵"),
        part=2,
        picture=43,
        status="live",
        tensors=("h.L.attn.c_attn.weight", "h.L.attn.c_attn.bias"),
        draw=_query_key_value_matrix,
        verify=_check_matrix,
    ),
    Figure(
        "F46",
        Words("Query, key and value as one vector", "查询、键和值连成的向量"),
        part=2,
        picture=44,
        status="live",
        tensors=("ln1.L", "qkv.L"),
        draw=_one_vector,
        verify=_check_one_vector,
    ),
    Figure(
        "F47",
        Words("Splitting into heads", "分成多个头"),
        part=2,
        picture=45,
        status="live",
        tensors=("qkv.L", "q.L", "k.L", "v.L"),
        draw=_split,
        verify=_check_split,
    ),
    Figure(
        "F48",
        Words("Some of the heads", "其中几个头"),
        part=2,
        picture=46,
        status="live",
        tensors=("q.L",),
        draw=_some_heads,
        verify=_check_some_heads,
    ),
)
