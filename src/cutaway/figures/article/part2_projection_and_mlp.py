"""Part 2 of the article: the projection, the MLP, and the residual additions after both."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.article.accuracy import TOLERANCE, linear, relative_error, within
from cutaway.figures.article.excerpts import part, sheet, weights_and_bias
from cutaway.figures.article.layer_norm import norm_difference, norm_error, norm_numbers, normalised
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import position_text
from cutaway.figures.panels import Cells, Grid, LocalizedText, Note, Number, Panel, integer
from cutaway.figures.statement import Statement
from cutaway.trace import Trace


@dataclass(frozen=True)
class Activation:
    """An activation function: its name, its formula, its name in a sentence, and its computation in float64."""

    name: str
    formula: str
    spoken: LocalizedText
    compute: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _gelu_new(x: NDArray[np.float64]) -> NDArray[np.float64]:
    gate: NDArray[np.float64] = 1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return x / 2 * gate


def _gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([each / 2 * math.erfc(-each / math.sqrt(2)) for each in x])


ACTIVATIONS = {
    "gelu_new": Activation(
        "GELU",
        "x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))",
        LocalizedText("the GELU of that in its tanh form", "其 tanh 形式的 GELU"),
        _gelu_new,
    ),
    "gelu": Activation(
        "GELU",
        "x/2 · (1 + erf(x/√2))",
        LocalizedText("the GELU of that in its exact form", "其精确形式的 GELU"),
        _gelu,
    ),
    "relu": Activation("ReLU", "max(0, x)", LocalizedText("the ReLU of that", "其 ReLU"), lambda x: np.maximum(x, 0)),
    "silu": Activation(
        "SiLU", "x / (1 + e⁻ˣ)", LocalizedText("the SiLU of that", "其 SiLU"), lambda x: x / (1 + np.exp(-x))
    ),
    "tanh": Activation("tanh", "tanh(x)", LocalizedText("the tanh of that", "其 tanh"), np.tanh),
}
ACTIVATION_TOLERANCE = 1e-5  # the two forms of GELU differ by up to 5e-4


def _strip(title: LocalizedText, cells: Cells) -> Grid:
    return Grid(title, cells, "signed")


# F53


def _projection(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    n_embd = trace.config.n_embd
    return (
        Note(
            LocalizedText(
                f"The second matrix of layer {layer} (counted from 0) mixes what the heads found: {n_embd:,} numbers "
                f"in, {n_embd:,} out, and a bias added.",
                f"层 {layer}（从 0 数起）的第二个矩阵把各个头的结果混合起来：输入 {n_embd:,} 个数，"
                f"输出 {n_embd:,} 个数，再加偏置。",
            )
        ),
        *weights_and_bias(trace, f"h.{layer}.attn.c_proj"),
    )


def _check_projection(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    position = chosen.position
    n_embd = trace.config.n_embd
    matrix = f"h.{layer}.attn.c_proj"
    out = f"attn_out.{layer}[{position}]"
    merged = f"zcat.{layer}[{position}]"
    off = relative_error(trace[f"attn_out.{layer}"][position], linear(trace, f"zcat.{layer}", matrix, position))
    rows, columns = trace[f"{matrix}.weight"].shape
    return Check(
        (rows, columns) == (n_embd, n_embd) and off < TOLERANCE,
        Statement(
            "{out} is {merged} times {matrix}, {rows} × {columns}, plus its {biases} biases, {near}",
            "{out} 等于 {merged} 乘以 {matrix}（{rows} × {columns}），再加它的 {biases} 个偏置，{near}",
            out=out,
            merged=merged,
            matrix=matrix,
            rows=integer(rows, f"shape({matrix}.weight)[0]"),
            columns=integer(columns, f"shape({matrix}.weight)[1]"),
            biases=integer(trace[f"{matrix}.bias"].size, f"len({matrix}.bias)"),
            near=within(off, f"error({out}, {merged} @ {matrix}.weight + {matrix}.bias)"),
        ),
    )


# F54


def _leaving_attention(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    spot = position_text(chosen.position)
    names = (
        LocalizedText("the token's vector before attention", "注意力之前该词元的向量"),
        LocalizedText("what attention adds", "注意力加上的部分"),
        LocalizedText("their sum, which goes on", "二者之和，继续往下"),
    )
    return (
        Note(
            LocalizedText(
                f"What leaves attention does not replace the token's vector but is added to it: layer {layer} (counted "
                f"from 0), {spot.en}. The article leaves this residual addition out. It also leaves out dropout, which "
                "in training sets random numbers to 0 before this addition, before that of the MLP, in the attention "
                "weights and in the input: where a model is run, as here, dropout is off.",
                f"注意力的输出并不取代该词元的向量，而是加到它上面：层 {layer}（从 0 数起），{spot.zh}。"
                "文章没有画这个残差连接，也没有提 dropout：训练时，在这次相加之前、MLP 的相加之前、注意力权重和输入里，"
                "它随机地把一些数置为 0；像这里这样运行模型时，dropout 是关闭的。",
            )
        ),
        *_three(trace, names, (f"resid.pre.{layer}", f"attn_out.{layer}", f"resid.mid.{layer}"), chosen.position),
    )


def _three(trace: Trace, names: Sequence[LocalizedText], tensors: Sequence[str], position: int) -> list[Grid]:
    """Draw two vectors and their sum."""
    return [
        _strip(LocalizedText(f"{name.en}, {tensor}", f"{name.zh}，{tensor}"), part(trace, tensor, position))
        for name, tensor in zip(names, tensors, strict=True)
    ]


def _check_leaving_attention(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    position = chosen.position
    return _added(trace, f"resid.pre.{layer}", f"attn_out.{layer}", f"resid.mid.{layer}", position)


def _added(trace: Trace, before: str, update: str, after: str, position: int) -> Check:
    """Check that a vector is the sum of two others at all positions; the statement gives the norms at `position`."""
    off = relative_error(trace[after], trace[before] + trace[update])
    lengths = [
        Number(float(np.linalg.norm(trace[name][position])), f"norm({name}[{position}])", form=".2f")
        for name in (before, update, after)
    ]
    return Check(
        off < TOLERANCE,
        Statement(
            "{after} is {before} + {update} {near}; at index {position} their lengths are {first} and {second}, and "
            "the sum's is {total}",
            "{after} 等于 {before} + {update}，{near}；在下标 {position} 处，二者的长度为 {first} 和 {second}，"
            "和的长度为 {total}",
            after=after,
            before=before,
            update=update,
            near=within(off, f"error({after}, {before} + {update})"),
            position=integer(position, "position"),
            first=lengths[0],
            second=lengths[1],
            total=lengths[2],
        ),
    )


# F55


def _hidden_layer(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    position = chosen.position
    width = trace.config.n_inner
    spot = position_text(position)
    activation = ACTIVATIONS[trace.config.activation_function]
    name = activation.name
    other = _other_activation(trace)
    return (
        Note(
            LocalizedText(
                f"The MLP of layer {layer} (counted from 0) at {spot.en}: the vector is normalised and multiplied by a "
                f"matrix into {width:,} units; then each unit x becomes {name}(x) = {activation.formula}. "
                f"The article draws neither the LayerNorm nor the {name}.{other.en}",
                f"层 {layer}（从 0 数起）的 MLP，{spot.zh}：向量先归一化，再乘以矩阵得到 {width:,} 个单元，"
                f"每个单元 x 再变成 {name}(x) = {activation.formula}。文章没有画层归一化，也没有画 {name}。{other.zh}",
            )
        ),
        norm_numbers(trace, "ln2", layer, position),
        normalised(trace, "ln2", layer, position),
        *(
            _strip(
                LocalizedText(f"the units {when} {name}", f"{name} {zh}的各单元"),
                sheet(trace, f"{kind}.{layer}", position),
            )
            for kind, when, zh in (("mlp_pre", "before", "之前"), ("mlp_act", "after", "之后"))
        ),
    )


def _other_activation(trace: Trace) -> LocalizedText:
    """Describe the activation of OpenAI's GPT-2; empty if the model has the same."""
    if trace.config.activation_function == "gelu_new":
        return LocalizedText("", "")
    gpt2 = ACTIVATIONS["gelu_new"]
    return LocalizedText(
        f" OpenAI's GPT-2 has {gpt2.name}(x) = {gpt2.formula} here.",
        f"OpenAI 的 GPT-2 这里用的是 {gpt2.name}(x) = {gpt2.formula}。",
    )


def _check_hidden_layer(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    position = chosen.position
    pre, act = (trace[f"mlp_{kind}.{layer}"][position] for kind in ("pre", "act"))
    x = pre.astype(np.float64)
    function = trace.config.activation_function
    activation = ACTIVATIONS[function]
    exact = activation.compute(x)
    off = (
        norm_difference(trace, "ln2", f"resid.mid.{layer}", layer, position),
        relative_error(pre, linear(trace, f"ln2.{layer}", f"h.{layer}.mlp.c_fc", position)),
        float((np.abs(act - exact) / np.maximum(1, np.abs(exact))).max()),
    )
    here = f"{layer}[{position}]"
    matrix = f"h.{layer}.mlp.c_fc"
    activated = f"{function}(mlp_pre.{here})"
    return Check(
        all(each < TOLERANCE for each in off) and off[2] < ACTIVATION_TOLERANCE,
        Statement(
            "{units} units, {above} above 0; {ln2} is the LayerNorm of {x} {norm}, {pre} its product with the matrix "
            "plus the bias {hidden}, {act} {activation} {activated}",
            "{units} 个单元，其中 {above} 个大于 0；{ln2} 是 {x} 的层归一化，{norm}；"
            "{pre} 是它与矩阵的乘积加偏置，{hidden}；{act} 是{activation}，{activated}",
            units=integer(pre.size, f"len(mlp_pre.{here})"),
            above=integer(int((pre > 0).sum()), f"sum(mlp_pre.{here} > 0)"),
            ln2=f"ln2.{layer}",
            x=f"resid.mid.{layer}",
            norm=within(off[0], norm_error("ln2", f"resid.mid.{here}", f"h.{layer}.ln_2", f".{here}")),
            pre=f"mlp_pre.{layer}",
            hidden=within(off[1], f"error(mlp_pre.{here}, ln2.{here} @ {matrix}.weight + {matrix}.bias)"),
            act=f"mlp_act.{layer}",
            activation=activation.spoken,
            activated=within(off[2], f"max(abs(mlp_act.{here} - {activated}) / maximum(1, abs({activated})))"),
        ),
    )


# F56


def _leaving_the_block(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    spot = position_text(chosen.position)
    names = (
        LocalizedText("before the MLP", "MLP 之前"),
        LocalizedText("what the MLP adds", "MLP 加上的部分"),
        LocalizedText("their sum, which leaves the block", "二者之和，离开这一层"),
    )
    return (
        Note(
            LocalizedText(
                f"A last matrix, h.{layer}.mlp.c_proj, brings the units back to {trace.config.n_embd:,} numbers; with "
                f"its bias they are added to the token's vector: layer {layer} (counted from 0), {spot.en}. The "
                "block's output is this sum, not the product alone as the article has it.",
                f"最后一个矩阵 h.{layer}.mlp.c_proj 把各单元变回 {trace.config.n_embd:,} 个数，加上偏置，"
                f"再加到该词元的向量上：层 {layer}（从 0 数起），{spot.zh}。"
                "这一层的输出是这个和，而不是文章所说的乘积本身。",
            )
        ),
        *_three(trace, names, (f"resid.mid.{layer}", f"mlp_out.{layer}", f"resid.post.{layer}"), chosen.position),
    )


def _check_leaving_the_block(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    position = chosen.position
    added = _added(trace, f"resid.mid.{layer}", f"mlp_out.{layer}", f"resid.post.{layer}", position)
    matrix = f"h.{layer}.mlp.c_proj"
    off = relative_error(trace[f"mlp_out.{layer}"][position], linear(trace, f"mlp_act.{layer}", matrix, position))
    expected = f"mlp_act.{layer}[{position}] @ {matrix}.weight + {matrix}.bias"
    return Check(
        added.ok and off < TOLERANCE,
        Statement(
            "{out} is {act} times {matrix} plus the bias {near}; {added}",
            "{out} 等于 {act} 乘以 {matrix} 再加偏置，{near}；{added}",
            out=f"mlp_out.{layer}",
            act=f"mlp_act.{layer}",
            matrix=matrix,
            near=within(off, f"error(mlp_out.{layer}[{position}], {expected})"),
            added=added.statement,
        ),
    )


FIGURES = (
    Figure(
        "F53",
        LocalizedText("The projection matrix", "投影矩阵"),
        part=2,
        picture=51,
        tensors=("h.L.attn.c_proj.weight", "h.L.attn.c_proj.bias"),
        draw=_projection,
        verify=_check_projection,
    ),
    Figure(
        "F54",
        LocalizedText("Attention's output is added", "加上注意力的输出"),
        part=2,
        picture=52,
        tensors=("resid.pre.L", "attn_out.L", "resid.mid.L"),
        draw=_leaving_attention,
        verify=_check_leaving_attention,
    ),
    Figure(
        "F55",
        LocalizedText("MLP, layer 1: four times as wide", "MLP 第 1 层：宽度四倍"),
        part=2,
        picture=53,
        tensors=("ln2.L", "mlp_pre.L", "mlp_act.L"),
        draw=_hidden_layer,
        verify=_check_hidden_layer,
    ),
    Figure(
        "F56",
        LocalizedText("MLP, layer 2: back, and added", "MLP 第 2 层：变回原宽并相加"),
        part=2,
        picture=54,
        tensors=("mlp_out.L", "resid.post.L"),
        draw=_leaving_the_block,
        verify=_check_leaving_the_block,
    ),
)
