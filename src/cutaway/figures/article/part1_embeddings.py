"""Part 1 of the article: a token's vector, from the two embedding matrices through all blocks."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.accuracy import TOLERANCE, max_difference, relative_error, within
from cutaway.figures.article.excerpts import few_columns, part, weight_grid
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import plural, position_text, token_label, token_labels
from cutaway.figures.panels import Bars, Grid, LocalizedText, Note, Number, Panel, computed, integer
from cutaway.figures.statement import Statement
from cutaway.numerics import FloatArray
from cutaway.trace import Trace

NEIGHBOURS = 9  # rows of wte that are shown
ZOOMS = 3, 12  # cells of the article's small pictures of a vector


def _token_embeddings(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    token = trace.ids[chosen.position]
    (rows, columns) = trace["wte.weight"].shape
    first = max(0, min(token - NEIGHBOURS // 2, rows - NEIGHBOURS))
    shown = range(first, min(first + NEIGHBOURS, rows))
    (numbers, cut) = few_columns(columns)
    label = token_labels(trace)[chosen.position]
    return (
        Note(
            LocalizedText(
                f"The matrix wte has a row of {plural(columns, 'number')} for each of the {rows:,} tokens of the "
                "vocabulary. Reading a token begins with looking up its row. Rows stand in the order of ids, which is "
                "not alphabetical.",
                f"矩阵 wte 为词表里的 {rows:,} 个词元各存一行，每行 {columns:,} 个数。"
                "读入一个词元，第一步就是取出它的那一行。各行按编号排列，不按字母顺序。",
            )
        ),
        Grid(
            LocalizedText(
                f"wte.weight, rows {shown[0]:,} to {shown[-1]:,}{cut.en}",
                f"wte.weight 中编号 {shown[0]:,} 至 {shown[-1]:,} 的行{cut.zh}",
            ),
            part(trace, "wte.weight", slice(shown[0], shown[-1] + 1), numbers),
            "signed",
            [("→ " if row == token else "") + token_label(trace, row) for row in shown],
        ),
        Grid(
            LocalizedText(f"row {token:,}, the token “{label}”", f"编号 {token:,} 的行：“{label}”"),
            part(trace, "wte.weight", token),
            "signed",
        ),
    )


def _check_token_embeddings(trace: Trace, chosen: Selection) -> Check:
    rows, columns = trace["wte.weight"].shape
    off = max_difference(trace["tok_emb"], trace["wte.weight"][list(trace.ids)])
    return Check(
        off == 0 and rows == trace.config.n_vocab,
        Statement(
            "wte.weight has {rows} rows of {columns}; tok_emb differs from the rows of {tokens:token} by at most {off}",
            "wte.weight 有 {rows} 行，每行 {columns} 个数；tok_emb 与 {tokens} 个词元对应的行最大相差 {off}",
            rows=integer(rows, "shape(wte.weight)[0]"),
            columns=integer(columns, "shape(wte.weight)[1]"),
            tokens=integer(len(trace), "len(ids)"),
            off=Number(off, "difference(tok_emb, wte.weight[ids])", form="g"),
        ),
    )


def _position_embeddings(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    slots = len(trace["wpe.weight"])
    where = position_text(chosen.position)
    return (
        Note(
            LocalizedText(
                f"The matrix wpe has a row for each of the {slots:,} positions of the context. "
                "Without it a token's vector would not say where the token stands.",
                f"矩阵 wpe 为上下文的 {slots:,} 个位置各存一行。没有它，词元的向量就不带位置信息。",
            )
        ),
        weight_grid(trace, "wpe.weight"),
        Grid(
            LocalizedText(f"the row of {where.en}", f"{where.zh}的那一行"),
            part(trace, "wpe.weight", chosen.position),
            "signed",
        ),
    )


def _check_position_embeddings(trace: Trace, chosen: Selection) -> Check:
    rows, columns = trace["wpe.weight"].shape
    off = max_difference(trace["pos_emb"], trace["wpe.weight"][: len(trace)])
    return Check(
        off == 0 and rows == trace.config.n_ctx,
        Statement(
            "wpe.weight has {rows} rows of {columns}; pos_emb differs from its first {tokens} by at most {off}",
            "wpe.weight 有 {rows} 行，每行 {columns} 个数；pos_emb 与它的前 {tokens} 行最大相差 {off}",
            rows=integer(rows, "shape(wpe.weight)[0]"),
            columns=integer(columns, "shape(wpe.weight)[1]"),
            tokens=integer(len(trace), "len(ids)"),
            off=Number(off, "difference(pos_emb, wpe.weight[:len(ids)])", form="g"),
        ),
    )


def _sum(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    label = token_labels(trace)[chosen.position]
    where = position_text(chosen.position)
    strips = {
        "tok_emb": LocalizedText(f"the token “{label}”", f"词元“{label}”"),
        "pos_emb": LocalizedText(f"+ {where.en}", f"+ {where.zh}"),
        "resid.pre.0": LocalizedText("= what enters the first block", "= 进入第一个块的向量"),
    }
    return (
        Note(
            LocalizedText(
                "A token's row of wte and its position's row of wpe, added number by number, are what the model reads.",
                "把词元在 wte 中的一行与位置在 wpe 中的一行逐个数相加，就是模型读到的输入。",
            )
        ),
        *(
            Grid(
                LocalizedText(f"{name}[{chosen.position}]: {title.en}", f"{name}[{chosen.position}]：{title.zh}"),
                part(trace, name, chosen.position),
                "signed",
            )
            for name, title in strips.items()
        ),
    )


def _check_sum(trace: Trace, chosen: Selection) -> Check:
    off = max_difference(trace["tok_emb"] + trace["pos_emb"], trace["resid.pre.0"])
    return Check(
        off == 0,
        Statement(
            "tok_emb + pos_emb and resid.pre.0 differ by at most {off} over {positions:position}",
            "在 {positions} 个位置上，tok_emb + pos_emb 与 resid.pre.0 最大相差 {off}",
            off=Number(off, "difference(tok_emb + pos_emb, resid.pre.0)", form="g"),
            positions=integer(len(trace), "len(ids)"),
        ),
    )


def _stack(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layers = range(trace.config.n_layer)
    p = chosen.position
    where = position_text(chosen.position)
    names = "resid.pre.0", *(f"resid.post.{layer}" for layer in layers)
    vectors = np.stack([trace[name][p] for name in names])  # (L + 1, d)
    formula = f"resid.pre.0[{p}], then resid.post.l[{p}] for l = 0 ... {layers[-1]}"
    numbers, cut = few_columns(trace.config.n_embd)
    return (
        Note(
            LocalizedText(
                f"The vector of {where.en} on its way up: each of {plural(len(layers), 'block')} (counted from 0) adds "
                "what its attention and its MLP found, and hands the sum on.",
                f"{where.zh}的向量一路向上：{len(layers)} 个块（从 0 数起）各自加上注意力和 MLP 算出的结果，"
                "再把和交给下一个块。",
            )
        ),
        Grid(
            LocalizedText(f"before the first block and after each{cut.en}", f"第一个块之前，以及每个块之后{cut.zh}"),
            computed(formula, vectors[:, numbers]),
            "signed",
            names,
        ),
        Bars(
            LocalizedText("its length (the root of the sum of squares)", "它的长度（平方和的平方根）"),
            names,
            computed(f"norm of {formula}", np.linalg.norm(vectors, axis=1)),
            "size",
        ),
    )


def _check_stack(trace: Trace, chosen: Selection) -> Check:
    """Compare every block's output with the sum of its input and the outputs of its two sublayers."""
    layers = range(trace.config.n_layer)
    parts = ("resid.pre", "attn_out", "mlp_out", "resid.post")
    blocks = ([trace[f"{part}.{layer}"] for part in parts] for layer in layers)
    off = float(np.max([relative_error(before + attended + found, after) for before, attended, found, after in blocks]))
    return Check(
        off <= TOLERANCE,
        Statement(
            "in each of {layers:block} resid.pre + attn_out + mlp_out is resid.post {near}",
            "在 {layers} 个块的每一个里，resid.pre + attn_out + mlp_out 等于 resid.post，{near}",
            layers=integer(len(layers), "config.n_layer"),
            near=within(off, "max([error(resid.pre.L + attn_out.L + mlp_out.L, resid.post.L) for L in layers])"),
        ),
    )


def _zoom(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name = f"resid.pre.{chosen.layer}"
    p = chosen.position
    where = position_text(chosen.position)
    vector = trace[name][p]
    return (
        Note(
            LocalizedText(
                "The article draws a vector as three cells. These three are means of thirds of the real one: "
                f"what enters block {chosen.layer} (counted from 0) at {where.en}.",
                "文章用三个格子画一个向量。这里的三个格子是真实向量三等分后的均值："
                f"它在{where.zh}进入第 {chosen.layer} 个块（从 0 数起）。",
            )
        ),
        *(
            Grid(
                LocalizedText(
                    f"pooled: {len(means)} cells, each the mean of its part",
                    f"池化：{len(means)} 个格子，每格是一段的均值",
                ),
                computed(f"means of {len(means)} parts of {name}[{p}]", means),
                "signed",
            )
            for means in (_pooled(vector, count) for count in ZOOMS)
        ),
        Grid(
            LocalizedText(f"{name}[{p}]: all {len(vector):,} numbers", f"{name}[{p}]：全部 {len(vector):,} 个数"),
            part(trace, name, p),
            "signed",
        ),
    )


def _pooled(vector: FloatArray, count: int) -> FloatArray:
    """Average `count` nearly equal parts of a vector; if it is shorter, return its numbers."""
    return np.array([part.mean() for part in np.array_split(vector, min(count, len(vector)))], np.float32)


def _check_zoom(trace: Trace, chosen: Selection) -> Check:
    """Compare the mean of the vector with the mean of its pooled cells, weighted by the numbers that each averages."""
    name = f"resid.pre.{chosen.layer}[{chosen.position}]"
    vector = trace[f"resid.pre.{chosen.layer}"][chosen.position]
    mean = float(vector.mean(dtype=np.float64))
    off = 0.0
    for count in ZOOMS:
        sizes = [len(part) for part in np.array_split(vector, min(count, len(vector)))]
        off = max(off, abs(float(np.average(_pooled(vector, count), weights=sizes)) - mean))
    pooled = ", ".join(f"abs(pooled_mean({name}, {count}) - mean({name}))" for count in ZOOMS)
    return Check(
        off <= 1e-6 * max(1.0, float(np.abs(vector).max())),
        Statement(
            "{name} has {count} numbers of mean {mean}; the pooled ones have it {near}",
            "{name} 有 {count} 个数，均值 {mean}；池化后均值不变，{near}",
            name=name,
            count=integer(len(vector), f"len({name})"),
            mean=Number(mean, f"mean({name})", form=".6f"),
            near=within(off, f"max([{pooled}])"),
        ),
    )


FIGURES = (
    Figure(
        "F18",
        LocalizedText("Token embeddings: a row for each token", "词元嵌入：每个词元一行"),
        part=1,
        picture=16,
        tensors=("wte.weight", "tok_emb"),
        draw=_token_embeddings,
        verify=_check_token_embeddings,
    ),
    Figure(
        "F19",
        LocalizedText("Position embeddings: a row for each position", "位置嵌入（文章：位置编码）：每个位置一行"),
        part=1,
        picture=17,
        tensors=("wpe.weight", "pos_emb"),
        draw=_position_embeddings,
        verify=_check_position_embeddings,
    ),
    Figure(
        "F20",
        LocalizedText("Token plus position: the input of the first block", "词元加位置：第一个块的输入"),
        part=1,
        picture=18,
        tensors=("tok_emb", "pos_emb", "resid.pre.0"),
        draw=_sum,
        verify=_check_sum,
    ),
    Figure(
        "F21",
        LocalizedText("A vector climbs the stack of blocks", "向量逐块向上"),
        part=1,
        picture=19,
        tensors=("resid.pre.0", "resid.post.L"),
        draw=_stack,
        verify=_check_stack,
    ),
    Figure(
        "F29",
        LocalizedText("Zooming in on a vector", "放大看一个向量"),
        part=1,
        picture=27,
        tensors=("resid.pre.L",),
        draw=_zoom,
        verify=_check_zoom,
    ),
)
