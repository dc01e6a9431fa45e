"""Part 1 of the article: the words that a word attends to, in the most focused head and in any other head."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.figures.article.accuracy import TOLERANCE, exact_scores, within
from cutaway.figures.article.attention_scale import divisor_formula, product_formula
from cutaway.figures.article.excerpts import at, part
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import plural, position_text, token_labels
from cutaway.figures.panels import Arcs, Grid, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.numerics import softmax
from cutaway.trace import Trace
from cutaway.trace.once import once_for_a_trace

BEST = 5  # heads that are named
MOST_LINES = 48  # tokens; a longer text is drawn as a strip instead of lines


@dataclass(frozen=True)
class Look:
    """The token that gets the largest weight from a head's query, except the first token and the query's own."""

    layer: int
    head: int
    key: int
    weight: float


@once_for_a_trace
def _looks(trace: Trace, position: int) -> list[Look]:
    """Find the `Look` of each head that has one, largest weight first, with one layer at a time in memory."""
    found = []
    for layer in range(trace.config.n_layer):
        weights = trace.attention(layer, 0, trace.config.n_head)["attn"][:, position].copy()  # (H, T)
        weights[:, [0, position]] = 0  # many heads use the first token as a sink, and every token sees itself
        for head, key in enumerate(weights.argmax(axis=-1)):
            found.append(Look(layer, head, int(key), float(weights[head, key])))
    return sorted((look for look in found if look.weight > 0), key=lambda look: -look.weight)


def _arcs(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    p = chosen.position
    looks = _looks(trace, p)
    of_the_chosen = _lines(trace, chosen.layer, chosen.head, p, LocalizedText("the chosen head", "选定的头"))
    if not looks:
        alone = LocalizedText(
            f"The token at {position_text(p).en} has nothing to look at but itself and the first token.",
            f"{position_text(p).zh}的词元除了自己和第一个词元，没有别的可看。",
        )
        return Note(alone), of_the_chosen
    best = looks[0]
    label = token_labels(trace)[p]
    n_heads = trace.config.n_layer * trace.config.n_head
    return (
        Note(
            LocalizedText(
                f"What “{label}” at {position_text(p).en} looks at. Of {plural(n_heads, 'head')} (layers and heads are "
                f"counted from 0), head {best.head} of layer {best.layer} gives the most weight to a single token "
                "other than itself and the first, on which many heads rest.",
                f"{position_text(p).zh}的“{label}”在看哪些词元。许多头会停在第一个词元上；除去第一个词元和它自己，"
                f"在全部 {n_heads} 个头里（层和头都从 0 数起），"
                f"层 {best.layer}、头 {best.head} 给单个词元的权重最大。",
            )
        ),
        *([of_the_chosen] if (best.layer, best.head) != (chosen.layer, chosen.head) else []),
        _lines(trace, best.layer, best.head, p, LocalizedText("the best head", "权重最大的头")),
        _best_heads(trace, looks[:BEST], p),
    )


def _lines(trace: Trace, layer: int, head: int, position: int, name: LocalizedText) -> Panel:
    """Draw the weights of one query: as lines, or as one strip for a long text."""
    title = LocalizedText(f"{name.en}: layer {layer}, head {head}", f"{name.zh}：层 {layer}、头 {head}")
    weights = part(trace, f"attn.{layer}", head, position)
    if len(trace) > MOST_LINES:
        return Grid(title, weights, "share")
    return Arcs(title, token_labels(trace), weights, position)


def _best_heads(trace: Trace, looks: Sequence[Look], position: int) -> Table:
    tokens = token_labels(trace)
    return Table(
        LocalizedText("the heads that look most at one token", "最集中看某一个词元的几个头"),
        (
            LocalizedText("layer", "层"),
            LocalizedText("head", "头"),
            LocalizedText("looks at", "看的词元"),
            LocalizedText("at", "所在位置"),
            LocalizedText("weight", "权重"),
        ),
        [
            (
                str(look.layer),
                str(look.head),
                tokens[look.key],
                position_text(look.key),
                Number(look.weight, f"attn.{look.layer}", (look.head, position, look.key), ".2%"),
            )
            for look in looks
        ],
    )


def _check_arcs(trace: Trace, chosen: Selection) -> Check:
    """Recompute the largest weight from the queries and keys of all heads."""
    p = chosen.position
    looks = _looks(trace, chosen.position)
    if not looks:
        total = float(trace[f"attn.{chosen.layer}"][chosen.head, p].sum())
        alone = Statement(
            "there is no other token to look at; the weights sum to {total}",
            "没有别的词元可看；权重之和为 {total}",
            total=Number(total, f"sum(attn.{chosen.layer}[{chosen.head}, {p}])", form=".6f"),
        )
        return Check(abs(total - 1) < 1e-5, alone)
    best = looks[0]
    heads = trace.config.n_layer * trace.config.n_head
    exact = _weights(trace, p)  # (L, H, p + 1)
    there = exact[best.layer, best.head, best.key] if best.key <= p else 0.0  # a later token should have none
    off = float(max(abs(best.weight - there), abs(best.weight - exact[:, :, 1:p].max(initial=0.0))))
    return Check(
        off < TOLERANCE,
        Statement(
            "of {heads:head}, {name} = {weight} is the largest; from all q and k alone it is the same {near}",
            "在 {heads} 个头中，{name} = {weight} 最大；只由所有的 q 和 k 计算，结果相同，{near}",
            heads=integer(heads, "config.n_layer * config.n_head"),
            name=f"attn.{best.layer}[{best.head}, {p}, {best.key}]",
            weight=at(trace, f"attn.{best.layer}", best.head, p, best.key, form=".2%"),
            near=within(off, _look_error(trace, best, p)),
        ),
    )


def _weights(trace: Trace, position: int) -> NDArray[np.float64]:
    """Compute the attention weights (L, H, position + 1) of a position from queries and keys only."""
    return softmax(
        np.array([exact_scores(trace, layer, position, position + 1) for layer in range(trace.config.n_layer)])
    )


def _look_error(trace: Trace, best: Look, position: int) -> str:
    """Return the formula of a weight's error, compared with itself and the maximum of all heads, recomputed."""
    weight = f"attn.{best.layer}[{best.head}, {position}, {best.key}]"
    divisor = divisor_formula(trace.config, "L")
    dot = f"sum(q.L[:, {position}, None] * k.L[:, :{position + 1}], -1)"
    shares = f"softmax({product_formula(trace.config, dot, 'L', f'[:, {position}, :{position + 1}]')} / {divisor})"
    there = f"stack([{shares} for L in layers])[{best.layer}, {best.head}, {best.key}]"
    if best.key > position:
        there = "0"
    largest = f"max(stack([{shares} for L in layers])[:, :, 1:{position}])"
    return f"max([abs({weight} - {there}), abs({weight} - {largest})])"


FIGURES = (
    Figure(
        "F22",
        LocalizedText("What a word looks at", "一个词在看哪些词"),
        part=1,
        picture=20,
        tensors=("attn.L",),
        draw=_arcs,
        verify=_check_arcs,
    ),
)
