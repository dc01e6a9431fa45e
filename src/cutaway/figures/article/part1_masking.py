"""Part 1 of the article: attention with and without the causal mask."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import MASKED
from cutaway.figures.article.accuracy import max_difference, within
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import LOOKS, SEEN, position_statement, position_text, token_labels
from cutaway.figures.panels import Cells, Grid, LocalizedText, Note, Number, Panel, cells, computed, integer
from cutaway.figures.statement import Statement
from cutaway.numerics import softmax
from cutaway.trace import Intervention, Trace


def _path(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name = f"attn.{chosen.layer}"
    position = _with_later(trace, chosen)
    attn = trace[name]
    where = position_text(position)
    instead = _instead(trace, chosen)
    return (
        Note(
            LocalizedText(
                f"{instead.en}How much of its weight {where.en} gives to each token, in every head of layer "
                f"{chosen.layer} (layers and heads are counted from 0). It looks at itself and at what came before; "
                "all later weights are 0.",
                f"{instead.zh}层 {chosen.layer} 的每个头里，{where.zh}分给各个词元的权重（层和头都从 0 数起）。"
                "它只看自己和之前的词元，之后的权重都是 0。",
            )
        ),
        Grid(
            LocalizedText(f"attention weights of {where.en}", f"{where.zh}的注意力权重"),
            cells(name, attn, attn[:, position]),
            "share",
            [str(head) for head in range(trace.config.n_head)],
            token_labels(trace),
            LocalizedText("head", "头"),
            SEEN,
        ),
    )


def _with_later(trace: Trace, chosen: Selection) -> int:
    """Return the selected position, or the article's fourth if the selected one is the last."""
    return chosen.position if chosen.position < len(trace) - 1 else min(3, len(trace) - 1)


def _instead(trace: Trace, chosen: Selection) -> LocalizedText:
    """Explain why a position other than the chosen one is shown; empty if the chosen one is."""
    shown = _with_later(trace, chosen)
    last = position_text(chosen.position)
    if shown == chosen.position:
        return LocalizedText("", "")
    return LocalizedText(
        f"{last.en.capitalize()} is the last and hides nothing; shown is {position_text(shown).en}. ",
        f"{last.zh}是最后一个，没有可遮住的词元；图中是{position_text(shown).zh}。",
    )


def _check_path(trace: Trace, chosen: Selection) -> Check:
    name = f"attn.{chosen.layer}"
    position = _with_later(trace, chosen)
    attn = trace[name]
    later = attn[:, position, position + 1 :]
    largest = float(later.max(initial=0))
    off = float(np.abs(attn[:, position].sum(axis=-1) - 1).max())
    which = "position" if position == chosen.position else "min(3, len(ids) - 1)"
    return Check(
        largest == 0 and off < 1e-5,
        Statement(
            "{weights:weight} of {spot} on later tokens in layer {layer}: at most {largest}; each head's weights sum "
            "to 1 {near}",
            "层 {layer} 里，{spot}对后面词元的 {weights} 个权重最大为 {largest}；每个头的权重之和为 1，{near}",
            weights=integer(later.size, f"config.n_head * (len(ids) - 1 - {position})"),
            spot=position_statement(position, which),
            layer=integer(chosen.layer, "layer"),
            largest=Number(largest, f"max({name}[:, {position}, {position + 1}:])", form="g"),
            near=within(off, f"max(abs(sum({name}[:, {position}], -1) - 1))"),
        ),
    )


def _two_masks(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    name = f"attn.{layer}"
    attn = trace[name]
    return (
        Note(
            LocalizedText(
                f"The same weights twice, in layer {layer}, head {head} (counted from 0): with the mask of GPT-2, and "
                "with the mask taken off, as in BERT. Without it a token takes from those after it too.",
                f"同样的权重，层 {layer}、头 {head}（从 0 数起）：一次带 GPT-2 的掩码，一次像 BERT 那样去掉掩码。"
                "去掉以后，词元也会从后面的词元取值。",
            )
        ),
        _weights(trace, LocalizedText("masked, as in GPT-2", "带掩码（GPT-2）"), cells(name, attn, attn[head])),
        _weights(trace, LocalizedText("the mask taken off", "去掉掩码"), _free(trace, chosen)),
    )


def _weights(trace: Trace, title: LocalizedText, shown: Cells) -> Grid:
    tokens = token_labels(trace)
    return Grid(title, shown, "share", tokens, tokens, LOOKS, SEEN)


def _free(trace: Trace, chosen: Selection) -> Cells:
    """Compute the attention weights (T, T) of one head without the mask."""
    seen = trace.attention(chosen.layer, chosen.head, chosen.head + 1)
    scores = np.where(seen["masked"] == MASKED, seen["scores"], seen["masked"])[0]
    return computed(f"softmax(scores.{chosen.layer}[{chosen.head}])", softmax(scores))


def _check_masks(trace: Trace, chosen: Selection) -> Check:
    """Compare with a run without the layer's mask, also the logits after the first token, which all others follow."""
    name = f"attn.{chosen.layer}"
    alone = len(trace) == 1
    other = trace.intervene(*trace.interventions, Intervention("no_mask", layer=chosen.layer))
    masked, free = (float(np.triu(each[name], 1).sum(axis=-1).mean()) for each in (trace, other))
    moved = max_difference(other.logits_at(0), trace.logits_at(0))
    follows = max_difference(_free(trace, chosen).values, other[name][chosen.head])
    unmasked = f"no_mask({chosen.layer})"
    return Check(
        masked == 0 and follows < 1e-5 and (alone or free > 0),
        Statement(
            "weight on later tokens in layer {layer}: {masked} with the mask, {free} without; the logits after the "
            "first token move by {moved}{why}",
            "层 {layer} 里给后面词元的权重：有掩码时 {masked}，去掉后 {free}；"
            "第一个词元之后的 logit 最大变化 {moved}{why}",
            layer=integer(chosen.layer, "layer"),
            masked=Number(masked, f"mean(sum(triu({name}), -1))", form=".0%"),
            free=Number(free, f"mean(sum(triu({name}({unmasked})), -1))", form=".0%"),
            moved=Number(moved, f"difference(logits({unmasked})[0], logits[0])", form=".2g"),
            why=LocalizedText(", for the text has no other", "，因为文本没有别的词元") if alone else "",
        ),
    )


FIGURES = (
    Figure(
        "F12",
        LocalizedText("What one position looks at", "一个位置能看到什么"),
        part=1,
        picture=10,
        tensors=("attn.L",),
        draw=_path,
        verify=_check_path,
    ),
    Figure(
        "F13",
        LocalizedText("Self-attention with and without the mask", "带掩码与不带掩码的自注意力"),
        part=1,
        picture=11,
        tensors=("attn.L", "scores.L"),
        draw=_two_masks,
        verify=_check_masks,
    ),
)
