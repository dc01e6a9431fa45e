"""Part 2 of the article: the way out of attention, the MLP, and what both add to the token's vector."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.excerpts import TOLERANCE, apart, part, product, sheet, weights_and_bias, within
from cutaway.figures.article.layer_norm import norm_difference, norm_numbers, normalised
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import place
from cutaway.figures.panels import Cells, Grid, Note, Panel, Words
from cutaway.trace import Trace

GELU = "x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))"  # OpenAI's form
GELU_TOLERANCE = 1e-5  # the other form of GELU, with erf, is up to 5e-4 away


def _strip(title: Words, cells: Cells) -> Grid:
    return Grid(title, cells, "signed")


# F53


def _projection(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, n_embd = chosen.layer, trace.config.n_embd
    return (
        Note(
            Words(
                f"The second matrix of layer {layer} (counted from 0) mixes what the heads found: {n_embd:,} numbers "
                f"in, {n_embd:,} out, and a bias added.",
                f"第 {layer} 层（从 0 数起）的第二个矩阵把各个头的结果混合起来：输入 {n_embd:,} 个数，"
                f"输出 {n_embd:,} 个数，再加偏置。",
            )
        ),
        *weights_and_bias(trace, f"h.{layer}.attn.c_proj"),
    )


def _check_projection(trace: Trace, chosen: Selection) -> Check:
    layer, position, n_embd = chosen.layer, chosen.position, trace.config.n_embd
    matrix, out, merged = f"h.{layer}.attn.c_proj", f"attn_out.{layer}[{position}]", f"zcat.{layer}[{position}]"
    off = apart(trace[f"attn_out.{layer}"][position], product(trace, f"zcat.{layer}", matrix, position))
    (rows, columns), biases, near = trace[f"{matrix}.weight"].shape, trace[f"{matrix}.bias"].size, within(off)
    return Check(
        (rows, columns) == (n_embd, n_embd) and off < TOLERANCE,
        Words(
            f"{out} is {merged} times {matrix}, {rows:,} × {columns:,}, plus its {biases:,} biases, {near.en}",
            f"{out} 等于 {merged} 乘以 {matrix}（{rows:,} × {columns:,}），再加它的 {biases:,} 个偏置，{near.zh}",
        ),
    )


# F54


def _leaving_attention(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, spot = chosen.layer, place(chosen.position)
    names = (
        Words("the token's vector before attention", "注意力之前该词元的向量"),
        Words("what attention adds", "注意力加上的部分"),
        Words("their sum, which goes on", "二者之和，继续往下"),
    )
    return (
        Note(
            Words(
                f"What leaves attention does not replace the token's vector but is added to it: layer {layer} (counted "
                f"from 0), {spot.en}. The article leaves this residual addition out. It also leaves out dropout, which "
                "in training sets random numbers to 0 before this addition, before that of the MLP, in the attention "
                "weights and in the input: where a model is run, as here, dropout is off.",
                f"注意力的输出并不取代该词元的向量，而是加到它上面：第 {layer} 层（从 0 数起），{spot.zh}。"
                "文章没有画这个残差连接，也没有提 dropout：训练时，在这次相加之前、MLP 的相加之前、注意力权重和输入里，"
                "它随机地把一些数置为 0；像这里这样运行模型时，dropout 是关闭的。",
            )
        ),
        *_three(trace, names, (f"resid.pre.{layer}", f"attn_out.{layer}", f"resid.mid.{layer}"), chosen.position),
    )


def _three(trace: Trace, names: Sequence[Words], tensors: Sequence[str], position: int) -> list[Grid]:
    """Two vectors and their sum."""
    return [
        _strip(Words(f"{name.en}, {tensor}", f"{name.zh}，{tensor}"), part(trace, tensor, position))
        for name, tensor in zip(names, tensors, strict=True)
    ]


def _check_leaving_attention(trace: Trace, chosen: Selection) -> Check:
    layer, position = chosen.layer, chosen.position
    return _added(trace, f"resid.pre.{layer}", f"attn_out.{layer}", f"resid.mid.{layer}", position)


def _added(trace: Trace, before: str, update: str, after: str, position: int) -> Check:
    """Whether a vector is the sum of two, at all positions; the chosen position says how large they are."""
    off = apart(trace[after], trace[before] + trace[update])
    lengths = [f"{np.linalg.norm(trace[name][position]):.2f}" for name in (before, update, after)]
    near = within(off)
    return Check(
        off < TOLERANCE,
        Words(
            f"{after} is {before} + {update} {near.en}; at index {position} their lengths are {lengths[0]} and "
            f"{lengths[1]}, and the sum's is {lengths[2]}",
            f"{after} 等于 {before} + {update}，{near.zh}；在下标 {position} 处，二者的长度为 {lengths[0]} 和 "
            f"{lengths[1]}，和的长度为 {lengths[2]}",
        ),
    )


# F55


def _hidden_layer(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, position, width = chosen.layer, chosen.position, trace.config.n_inner
    spot = place(position)
    return (
        Note(
            Words(
                f"The MLP of layer {layer} (counted from 0) at {spot.en}: the vector is normalised and multiplied by a "
                f"matrix into {width:,} units; then each unit x becomes GELU(x) = {GELU}. "
                "The article draws neither the LayerNorm nor the GELU.",
                f"第 {layer} 层（从 0 数起）的 MLP，{spot.zh}：向量先归一化，再乘以矩阵得到 {width:,} 个单元，"
                f"每个单元 x 再变成 GELU(x) = {GELU}。文章没有画层归一化，也没有画 GELU。",
            )
        ),
        norm_numbers(trace, "ln2", layer, position),
        normalised(trace, "ln2", layer, position),
        _strip(Words("the units before GELU", "GELU 之前的各单元"), sheet(trace, f"mlp_pre.{layer}", position)),
        _strip(Words("the units after GELU", "GELU 之后的各单元"), sheet(trace, f"mlp_act.{layer}", position)),
    )


def _check_hidden_layer(trace: Trace, chosen: Selection) -> Check:
    layer, position = chosen.layer, chosen.position
    pre, act = (trace[f"mlp_{kind}.{layer}"][position] for kind in ("pre", "act"))
    x = pre.astype(np.float64)
    tanh_form = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    off = (
        norm_difference(trace, "ln2", f"resid.mid.{layer}", layer, position),
        apart(pre, product(trace, f"ln2.{layer}", f"h.{layer}.mlp.c_fc", position)),
        float((np.abs(act - tanh_form) / np.maximum(1, np.abs(tanh_form))).max()),
    )
    norm, hidden, gelu = map(within, off)
    units, above = f"{pre.size:,}", f"{int((pre > 0).sum()):,}"
    return Check(
        all(each < TOLERANCE for each in off) and off[2] < GELU_TOLERANCE,
        Words(
            f"{units} units, {above} above 0; ln2.{layer} is the LayerNorm of resid.mid.{layer} {norm.en}, "
            f"mlp_pre.{layer} its product with the matrix plus the bias {hidden.en}, mlp_act.{layer} the GELU of that "
            f"in its tanh form {gelu.en}",
            f"{units} 个单元，其中 {above} 个大于 0；ln2.{layer} 是 resid.mid.{layer} 的层归一化，{norm.zh}；"
            f"mlp_pre.{layer} 是它与矩阵的乘积加偏置，{hidden.zh}；mlp_act.{layer} 是其 tanh 形式的 GELU，{gelu.zh}",
        ),
    )


# F56


def _leaving_the_block(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, spot = chosen.layer, place(chosen.position)
    names = (
        Words("before the MLP", "MLP 之前"),
        Words("what the MLP adds", "MLP 加上的部分"),
        Words("their sum, which leaves the block", "二者之和，离开这一层"),
    )
    return (
        Note(
            Words(
                f"A last matrix, h.{layer}.mlp.c_proj, brings the units back to {trace.config.n_embd:,} numbers; with "
                f"its bias they are added to the token's vector: layer {layer} (counted from 0), {spot.en}. The "
                "block's output is this sum, not the product alone as the article has it.",
                f"最后一个矩阵 h.{layer}.mlp.c_proj 把各单元变回 {trace.config.n_embd:,} 个数，加上偏置，"
                f"再加到该词元的向量上：第 {layer} 层（从 0 数起），{spot.zh}。"
                "这一层的输出是这个和，而不是文章所说的乘积本身。",
            )
        ),
        *_three(trace, names, (f"resid.mid.{layer}", f"mlp_out.{layer}", f"resid.post.{layer}"), chosen.position),
    )


def _check_leaving_the_block(trace: Trace, chosen: Selection) -> Check:
    layer, position = chosen.layer, chosen.position
    added = _added(trace, f"resid.mid.{layer}", f"mlp_out.{layer}", f"resid.post.{layer}", position)
    matrix, whole = f"h.{layer}.mlp.c_proj", added.statement
    off = apart(trace[f"mlp_out.{layer}"][position], product(trace, f"mlp_act.{layer}", matrix, position))
    near = within(off)
    return Check(
        added.ok and off < TOLERANCE,
        Words(
            f"mlp_out.{layer} is mlp_act.{layer} times {matrix} plus the bias {near.en}; {whole.en}",
            f"mlp_out.{layer} 等于 mlp_act.{layer} 乘以 {matrix} 再加偏置，{near.zh}；{whole.zh}",
        ),
    )


FIGURES = (
    Figure(
        "F53",
        Words("The projection matrix", "投影矩阵"),
        part=2,
        picture=51,
        tensors=("h.L.attn.c_proj.weight", "h.L.attn.c_proj.bias"),
        draw=_projection,
        verify=_check_projection,
    ),
    Figure(
        "F54",
        Words("Attention's output is added", "加上注意力的输出"),
        part=2,
        picture=52,
        tensors=("resid.pre.L", "attn_out.L", "resid.mid.L"),
        draw=_leaving_attention,
        verify=_check_leaving_attention,
    ),
    Figure(
        "F55",
        Words("MLP, layer 1: four times as wide", "MLP 第 1 层：宽度四倍"),
        part=2,
        picture=53,
        tensors=("ln2.L", "mlp_pre.L", "mlp_act.L"),
        draw=_hidden_layer,
        verify=_check_hidden_layer,
    ),
    Figure(
        "F56",
        Words("MLP, layer 2: back, and added", "MLP 第 2 层：变回原宽并相加"),
        part=2,
        picture=54,
        tensors=("mlp_out.L", "resid.post.L"),
        draw=_leaving_the_block,
        verify=_check_leaving_the_block,
    ),
)
