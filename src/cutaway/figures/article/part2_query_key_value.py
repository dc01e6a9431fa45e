"""Part 2 of the article: one token enters a block - input, LayerNorm, query, key and value."""

from collections.abc import Sequence

from cutaway.figures.article.accuracy import TOLERANCE, linear, relative_error, within
from cutaway.figures.article.excerpts import at, part, weights_and_bias
from cutaway.figures.article.layer_norm import norm_difference, norm_error, norm_numbers, normalised
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import QUERY_KEY_VALUE, plural, position_text, short, token_labels
from cutaway.figures.panels import (
    Box,
    Drawing,
    Grid,
    Label,
    Line,
    LocalizedText,
    Note,
    Number,
    Panel,
    Shapes,
    cells,
    integer,
)
from cutaway.figures.statement import Statement
from cutaway.layout import width
from cutaway.trace import Trace

AROUND = 5  # slots of the input that are drawn

# F44


def _input(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position = chosen.position
    token = token_labels(trace)[position]
    spot = position_text(position)
    slots = trace.config.n_ctx
    return (
        Note(
            LocalizedText(
                f"“{token}” at {spot.en} enters the bottom block as one vector, in slot {position + 1} of {slots:,}: "
                "its row of wte plus the position's row of wpe (F20). The block normalises it first, which the article "
                "does not draw.",
                f"{spot.zh}的“{token}”以一个向量进入最底层，占 {slots:,} 个位置中的第 {position + 1} 个："
                "wte 中它的一行加上 wpe 中这个位置的一行（F20）。层里先做层归一化，文章没有画这一步。",
            )
        ),
        _slots(trace, position),
        Grid(
            LocalizedText(
                f"slot {position + 1}: “{token}”, resid.pre.0[{position}]",
                f"第 {position + 1} 个位置：“{token}”，resid.pre.0[{position}]",
            ),
            part(trace, "resid.pre.0", position),
            "signed",
        ),
        norm_numbers(trace, "ln1", 0, position),
        normalised(trace, "ln1", 0, position),
    )


def _slots(trace: Trace, position: int) -> Drawing:
    """Draw the tokens around the selected token in their numbered slots."""
    tokens = token_labels(trace)
    first = max(0, min(position - AROUND // 2, len(trace) - AROUND))
    shapes: Shapes = []
    x = 0
    for i in range(first, min(first + AROUND, len(trace))):
        token = short(tokens[i])
        wide = max(width(token), len(str(i + 1))) + 4
        shapes += [Box(x, 0, wide, 3, token, "output" if i == position else "token"), Label(x + 2, 3, str(i + 1))]
        if i == position:
            shapes.append(Line(x + wide // 2 + 1, 5, x + wide // 2 + 1, 4))
        x += wide + 1
    return Drawing(LocalizedText("the input, a slot for each token", "输入，每个词元占一个位置"), shapes)


def _check_input(trace: Trace, chosen: Selection) -> Check:
    position = chosen.position
    token = trace.ids[chosen.position]
    total = f"resid.pre.0[{position}]"
    off = relative_error(trace["resid.pre.0"][position], trace["wte.weight"][token] + trace["wpe.weight"][position])
    norm = norm_difference(trace, "ln1", "resid.pre.0", 0, position)
    return Check(
        off == 0 and norm < TOLERANCE,
        Statement(
            "{total} is {parts} {near}; ln1.0 takes away its mean {mean} and multiplies by rstd {rstd}, {exact}",
            "{total} 等于 {parts}，{near}；ln1.0 减去均值 {mean}，再乘以 rstd {rstd}，{exact}",
            total=total,
            parts=f"wte[{token}] + wpe[{position}]",
            near=within(off, f"error({total}, wte.weight[{token}] + wpe.weight[{position}])"),
            mean=at(trace, "ln1.mean.0", position, 0),
            rstd=at(trace, "ln1.rstd.0", position, 0),
            exact=within(norm, norm_error("ln1", total, "h.0.ln_1", f".0[{position}]")),
        ),
    )


# F45


def _query_key_value_matrix(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    n_embd = trace.config.n_embd
    return (
        Note(
            LocalizedText(
                f"One matrix of layer {chosen.layer} (counted from 0) makes all three vectors: its first {n_embd:,} "
                f"columns the query, the next {n_embd:,} the key, the last {n_embd:,} the value. "
                "The bias, which the article leaves out of the picture, is added to the product.",
                f"层 {chosen.layer}（从 0 数起）的一个矩阵得出全部三个向量：前 {n_embd:,} 列得出查询，"
                f"中间 {n_embd:,} 列得出键，后 {n_embd:,} 列得出值。乘积还要加上偏置，文章的图里没有画。",
            )
        ),
        _thirds(n_embd),
        *weights_and_bias(trace, f"h.{chosen.layer}.attn.c_attn"),
    )


def _thirds(n_embd: int) -> Drawing:
    """Draw the columns of query, key and value in their colours."""
    boxes = []
    for i, name in enumerate(QUERY_KEY_VALUE.values()):
        columns = f"{i * n_embd} … {(i + 1) * n_embd - 1}"
        boxes.append(Box(26 * i, 0, 26, 3, LocalizedText(f"{name.en}: {columns}", f"{name.zh}：{columns}"), name.en))
    title = LocalizedText(f"{3 * n_embd:,} numbers, counted from 0", f"{3 * n_embd:,} 个数（从 0 数起）")
    return Drawing(title, boxes)


def three_parts(trace: Trace, layer: int, position: int) -> tuple[Drawing, Grid]:
    """Draw a token's vector qkv, with a line for each of its three parts."""
    n_embd = trace.config.n_embd
    qkv = trace[f"qkv.{layer}"]
    title = LocalizedText(f"qkv.{layer}[{position}], a line for each part", f"qkv.{layer}[{position}]，每部分占一行")
    parts = cells(f"qkv.{layer}", qkv, qkv[position].reshape(3, n_embd))
    names = [f"{kind} {i * n_embd}…{(i + 1) * n_embd - 1}" for i, kind in enumerate("qkv")]
    return _thirds(n_embd), Grid(title, parts, "signed", names)


def _check_matrix(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    position = chosen.position
    n_embd = trace.config.n_embd
    matrix = f"h.{layer}.attn.c_attn"
    weight = trace[f"{matrix}.weight"]
    bias = trace[f"{matrix}.bias"]
    exact = linear(trace, f"ln1.{layer}", matrix, position)
    off = relative_error(trace[f"qkv.{layer}"][position], exact)
    x = f"ln1.{layer}[{position}]"
    made = f"qkv.{layer}[{position}]"
    expected = f"{x} @ {matrix}.weight + {matrix}.bias"
    return Check(
        weight.shape == (n_embd, 3 * n_embd) and bias.shape == (3 * n_embd,) and off < TOLERANCE,
        Statement(
            "{matrix} is {rows} × {columns} with {biases} biases; {x} times it is {made} {near}, and {without} off "
            "without the bias",
            "{matrix} 为 {rows} × {columns}，有 {biases} 个偏置；{x} 乘以它得到 {made}，{near}；"
            "不加偏置则相差 {without}",
            matrix=matrix,
            rows=integer(weight.shape[0], f"shape({matrix}.weight)[0]"),
            columns=integer(weight.shape[1], f"shape({matrix}.weight)[1]"),
            biases=integer(bias.size, f"len({matrix}.bias)"),
            x=x,
            made=made,
            near=within(off, f"error({made}, {expected})"),
            without=Number(
                relative_error(exact - bias, exact), f"error({x} @ {matrix}.weight, {expected})", form=".2g"
            ),
        ),
    )


# F46


def _one_vector(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    position = chosen.position
    n_embd = trace.config.n_embd
    spot = position_text(position)
    return (
        Note(
            LocalizedText(
                f"The product for {spot.en} in layer {layer} (counted from 0) is one vector of "
                f"{plural(3 * n_embd, 'number')}: query, key and value, one after the other. What is multiplied is the "
                "vector after the LayerNorm.",
                f"层 {layer}（从 0 数起）{spot.zh}的乘积是一个有 {3 * n_embd:,} 个数的向量：依次是查询、键和值。"
                "被乘的是层归一化之后的向量。",
            )
        ),
        norm_numbers(trace, "ln1", layer, position),
        *three_parts(trace, layer, position),
    )


def _check_one_vector(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    position = chosen.position
    x = f"resid.pre.{layer}"
    matrix = f"h.{layer}.attn.c_attn"
    norm = norm_difference(trace, "ln1", x, layer, position)
    off = relative_error(trace[f"qkv.{layer}"][position], linear(trace, f"ln1.{layer}", matrix, position))
    normal = f"ln1.{layer}[{position}]"
    made = f"qkv.{layer}[{position}]"
    return Check(
        norm < TOLERANCE and off < TOLERANCE,
        Statement(
            "{normal} is the LayerNorm of {x} {first}, and {made}, {size} numbers, is its product with {matrix} "
            "{second}",
            "{normal} 是 {x} 的层归一化，{first}；{made} 有 {size} 个数，是它与 {matrix} 的乘积，{second}",
            normal=normal,
            x=x,
            first=within(norm, norm_error("ln1", f"{x}[{position}]", f"h.{layer}.ln_1", f".{layer}[{position}]")),
            made=made,
            size=integer(3 * trace.config.n_embd, f"len({made})"),
            matrix=matrix,
            second=within(off, f"error({made}, {normal} @ {matrix}.weight + {matrix}.bias)"),
        ),
    )


FIGURES = (
    Figure(
        "F44",
        LocalizedText("A token enters the bottom block", "一个词元进入最底层"),
        part=2,
        picture=42,
        tensors=("resid.pre.0", "ln1.0"),
        draw=_input,
        verify=_check_input,
    ),
    Figure(
        "F45",
        LocalizedText("The matrix for query, key and value", "查询、键和值的权重矩阵"),
        part=2,
        picture=43,
        tensors=("h.L.attn.c_attn.weight", "h.L.attn.c_attn.bias"),
        draw=_query_key_value_matrix,
        verify=_check_matrix,
    ),
    Figure(
        "F46",
        LocalizedText("Query, key and value as one vector", "查询、键和值连成的向量"),
        part=2,
        picture=44,
        tensors=("ln1.mean.L", "ln1.rstd.L", "qkv.L"),
        draw=_one_vector,
        verify=_check_one_vector,
    ),
)
