"""Part 1 of the article: a token's vector, from the two embedding matrices up through the blocks."""

from collections.abc import Sequence

import numpy as np

from cutaway.engine import Float32
from cutaway.figures.content import Bars, Check, Grid, Note, Panel, Selection, Words, computed
from cutaway.figures.labels import place, token_label
from cutaway.figures.registry import Figure
from cutaway.figures.views import TOLERANCE, apart, part, within
from cutaway.trace import Trace

NEIGHBOURS = 9  # rows of wte that are shown
FIRST_ROWS = 32  # rows of wpe that are shown
ZOOMS = 3, 12  # cells of the article's small pictures of a vector


def _token_embeddings(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    token = trace.ids[chosen.position]
    wte = trace["wte.weight"]
    first = max(0, min(token - NEIGHBOURS // 2, len(wte) - NEIGHBOURS))
    shown = range(first, min(first + NEIGHBOURS, len(wte)))
    labels = [("→ " if row == token else "") + token_label(trace, row) for row in shown]
    rows, columns = wte.shape
    return (
        Note(
            Words(
                f"The matrix wte has a row of {columns:,} numbers for each of the {rows:,} tokens of the vocabulary. "
                "Reading a token begins with looking up its row. Rows stand in the order of ids, which is not "
                "alphabetical.",
                f"矩阵 wte 为词表里的 {rows:,} 个词元各存一行，每行 {columns:,} 个数。"
                "读入一个词元，第一步就是取出它的那一行。各行按编号排列，不按字母顺序。",
            )
        ),
        Grid(
            Words(f"wte.weight, rows {shown[0]:,} to {shown[-1]:,}", f"wte.weight 第 {shown[0]:,} 至 {shown[-1]:,} 行"),
            part(trace, "wte.weight", slice(shown[0], shown[-1] + 1)),
            "signed",
            labels,
        ),
        Grid(
            Words(
                f"row {token:,}, the token {token_label(trace, token)}", f"第 {token:,} 行：{token_label(trace, token)}"
            ),
            part(trace, "wte.weight", token),
            "signed",
        ),
    )


def _check_token_embeddings(trace: Trace, chosen: Selection) -> Check:
    rows, columns = trace["wte.weight"].shape
    off = float(np.abs(trace["tok_emb"] - trace["wte.weight"][list(trace.ids)]).max())
    return Check(
        off == 0 and rows == trace.config.n_vocab,
        f"wte.weight has {rows:,} rows of {columns:,}; tok_emb differs from the rows of the {len(trace)} tokens "
        f"by at most {off:g}",
    )


def _position_embeddings(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    wpe = trace["wpe.weight"]
    shown = min(FIRST_ROWS, len(wpe))
    where = place(chosen.position)
    return (
        Note(
            Words(
                f"The matrix wpe has a row for each of the {len(wpe):,} positions of the context. "
                "Without it a token's vector would not say where the token stands.",
                f"矩阵 wpe 为上下文的 {len(wpe):,} 个位置各存一行。没有它，词元的向量就不会带有位置信息。",
            )
        ),
        Grid(
            Words(
                f"wpe.weight, rows 0 to {shown - 1} of {len(wpe):,}",
                f"wpe.weight 第 0 至 {shown - 1} 行，共 {len(wpe):,} 行",
            ),
            part(trace, "wpe.weight", slice(shown)),
            "signed",
            [str(row) for row in range(shown)],
        ),
        Grid(
            Words(f"the row of {where.en}", f"{where.zh}的那一行"),
            part(trace, "wpe.weight", chosen.position),
            "signed",
        ),
    )


def _check_position_embeddings(trace: Trace, chosen: Selection) -> Check:
    rows, columns = trace["wpe.weight"].shape
    off = float(np.abs(trace["pos_emb"] - trace["wpe.weight"][: len(trace)]).max())
    return Check(
        off == 0 and rows == trace.config.n_ctx,
        f"wpe.weight has {rows:,} rows of {columns:,}; pos_emb differs from its first {len(trace)} by at most {off:g}",
    )


def _sum(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    label, where = token_label(trace, trace.ids[chosen.position]), place(chosen.position)
    strips = {
        "tok_emb": Words(f"the token {label}", f"词元 {label}"),
        "pos_emb": Words(f"+ {where.en}", f"+ {where.zh}"),
        "resid.pre.0": Words("= what enters the first block", "= 进入第一个块的向量"),
    }
    return (
        Note(
            Words(
                "A token's row of wte and its position's row of wpe, added number by number, are what the model reads.",
                "把词元在 wte 中的一行与位置在 wpe 中的一行逐个相加，就是模型读到的输入。",
            )
        ),
        *(
            Grid(
                Words(f"{name}[{chosen.position}]: {title.en}", f"{name}[{chosen.position}]：{title.zh}"),
                part(trace, name, chosen.position),
                "signed",
            )
            for name, title in strips.items()
        ),
    )


def _check_sum(trace: Trace, chosen: Selection) -> Check:
    off = float(np.abs(trace["tok_emb"] + trace["pos_emb"] - trace["resid.pre.0"]).max())
    return Check(off == 0, f"tok_emb + pos_emb and resid.pre.0 differ by at most {off:g} over {len(trace)} positions")


def _stack(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layers = range(trace.config.n_layer)
    p, where = chosen.position, place(chosen.position)
    vectors = np.stack([trace["resid.pre.0"][p], *(trace[f"resid.post.{layer}"][p] for layer in layers)])  # (L + 1, d)
    formula = f"resid.pre.0[{p}], then resid.post.l[{p}] for l = 0 ... {layers[-1]}"
    labels = ["input", *(f"block {layer}" for layer in layers)]
    return (
        Note(
            Words(
                f"The vector of {where.en} on its way up: each of the {len(layers)} blocks (counted from 0) adds what "
                "its attention and its MLP found, and hands the sum on.",
                f"{where.zh}的向量一路向上：{len(layers)} 个块（从 0 数起）各自加上注意力和 MLP 算出的结果，"
                "再把和交给下一个块。",
            )
        ),
        Grid(
            Words("the vector that entered, and after each block", "进入时的向量，以及经过每个块之后的向量"),
            computed(formula, vectors),
            "signed",
            labels,
        ),
        Bars(
            Words("its length (the root of the sum of squares)", "它的长度（平方和的平方根）"),
            labels,
            computed(f"norm of {formula}", np.linalg.norm(vectors, axis=1)),
            "size",
        ),
    )


def _check_stack(trace: Trace, chosen: Selection) -> Check:
    """Every block's output against what it was given and what its two halves added."""
    layers = range(trace.config.n_layer)
    off = max(
        apart(
            trace[f"resid.pre.{layer}"] + trace[f"attn_out.{layer}"] + trace[f"mlp_out.{layer}"],
            trace[f"resid.post.{layer}"],
        )
        for layer in layers
    )
    return Check(
        off <= TOLERANCE,
        f"in each of {len(layers)} blocks resid.pre + attn_out + mlp_out is resid.post {within(off)}",
    )


def _zoom(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name, p, where = f"resid.pre.{chosen.layer}", chosen.position, place(chosen.position)
    vector = trace[name][p]
    return (
        Note(
            Words(
                "The article draws a vector as three cells. These three are means of thirds of the real one: "
                f"what enters block {chosen.layer} (counted from 0) at {where.en}.",
                "文章用三个格子画一个向量。这里的三个格子是真实向量三等分后的均值："
                f"它在{where.zh}进入第 {chosen.layer} 个块（从 0 数起）。",
            )
        ),
        *(
            Grid(
                Words(
                    f"pooled: {len(means)} cells, each the mean of its part",
                    f"池化：{len(means)} 个格子，每格是一段的均值",
                ),
                computed(f"means of {len(means)} parts of {name}[{p}]", means),
                "signed",
            )
            for means in (_pooled(vector, count) for count in ZOOMS)
        ),
        Grid(
            Words(f"{name}[{p}]: all {len(vector):,} numbers", f"{name}[{p}]：全部 {len(vector):,} 个数"),
            part(trace, name, p),
            "signed",
        ),
    )


def _pooled(vector: Float32, count: int) -> Float32:
    """The means of `count` parts of a vector, as equal as can be; of a shorter vector its numbers."""
    return np.array([part.mean() for part in np.array_split(vector, min(count, len(vector)))], np.float32)


def _check_zoom(trace: Trace, chosen: Selection) -> Check:
    """Means of parts, weighted by how many numbers each stands for, have the mean of the whole."""
    vector = trace[f"resid.pre.{chosen.layer}"][chosen.position]
    mean, off = float(vector.mean(dtype=np.float64)), 0.0
    for count in ZOOMS:
        sizes = [len(part) for part in np.array_split(vector, min(count, len(vector)))]
        off = max(off, abs(float(np.average(_pooled(vector, count), weights=sizes)) - mean))
    return Check(
        off <= 1e-6 * max(1.0, float(np.abs(vector).max())),
        f"resid.pre.{chosen.layer}[{chosen.position}] has {len(vector):,} numbers of mean {mean:.6f}; "
        f"the pooled ones have it within {off:.1e}",
    )


FIGURES = (
    Figure(
        "F18",
        Words("Token embeddings: a row for each token", "词元嵌入：每个词元一行"),
        part=1,
        picture=16,
        status="live",
        tensors=("wte.weight", "tok_emb"),
        draw=_token_embeddings,
        verify=_check_token_embeddings,
    ),
    Figure(
        "F19",
        Words("Position embeddings: a row for each position", "位置嵌入：每个位置一行"),
        part=1,
        picture=17,
        status="live",
        tensors=("wpe.weight", "pos_emb"),
        draw=_position_embeddings,
        verify=_check_position_embeddings,
    ),
    Figure(
        "F20",
        Words("Token plus position: the input of the first block", "词元加位置：第一个块的输入"),
        part=1,
        picture=18,
        status="live",
        tensors=("tok_emb", "pos_emb", "resid.pre.0"),
        draw=_sum,
        verify=_check_sum,
    ),
    Figure(
        "F21",
        Words("A vector climbs the stack of blocks", "向量逐块向上"),
        part=1,
        picture=19,
        status="live",
        tensors=("resid.pre.0", "resid.post.L"),
        draw=_stack,
        verify=_check_stack,
    ),
    Figure(
        "F29",
        Words("Zooming in on a vector", "放大看一个向量"),
        part=1,
        picture=27,
        status="live",
        tensors=("resid.pre.L",),
        draw=_zoom,
        verify=_check_zoom,
    ),
)
