"""Part 1 of the article: what a position may look at, and which positions' paths are active."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.content import (
    Box,
    Cells,
    Check,
    Drawing,
    Entry,
    Grid,
    Label,
    Line,
    Note,
    Number,
    Panel,
    Selection,
    Table,
    Words,
    cells,
    computed,
)
from cutaway.figures.labels import place, token_label, token_labels
from cutaway.figures.registry import Figure
from cutaway.figures.sizes import layer_names
from cutaway.figures.stacks import Shapes, tower, tower_height
from cutaway.figures.steps import beginning, candidate_table, candidates, largest_difference, tolerance
from cutaway.figures.text import short
from cutaway.reference import MASKED, softmax
from cutaway.trace import Intervention, Trace

LOOKS = Words("query: the token that looks", "查询：在看的词元")
SEEN = Words("key: the token that is looked at", "键：被看的词元")
NO_SECOND_STEP = Words("This model has one slot: there is no second step.", "本模型只有一个位置，没有第二步。")
COMPUTED, REUSED = Words("computed now", "本步计算"), Words("taken over", "沿用")
EMPTY = "", "plain", "", Words("empty", "空着")  # a slot that no token has reached

# F12 and F13: what a position may look at.


def _path(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name, position = f"attn.{chosen.layer}", _with_later(trace, chosen)
    attn = trace[name]
    where = place(position)
    return (
        Note(
            Words(
                f"How much of its weight {where.en} gives to each token, in every head of layer {chosen.layer} (layers "
                "and heads are counted from 0). It looks at itself and at what came before; all later weights are 0.",
                f"第 {chosen.layer} 层的每个头里，{where.zh}分给各个词元的权重（层和头都从 0 数起）。"
                "它只看自己和之前的词元，之后的权重都是 0。",
            )
        ),
        Grid(
            Words(f"attention weights of {where.en}", f"{where.zh}的注意力权重"),
            cells(name, attn, attn[:, position]),
            "share",
            [str(head) for head in range(trace.config.n_head)],
            token_labels(trace),
            Words("head", "头"),
            SEEN,
        ),
    )


def _with_later(trace: Trace, chosen: Selection) -> int:
    """The chosen position, or the article's fourth where the chosen one is the last and has no later ones."""
    return chosen.position if chosen.position < len(trace) - 1 else min(3, len(trace) - 1)


def _check_path(trace: Trace, chosen: Selection) -> Check:
    attn, position = trace[f"attn.{chosen.layer}"], _with_later(trace, chosen)
    later = attn[:, position, position + 1 :]
    largest, total = float(later.max(initial=0)), attn[:, position].sum(axis=-1)
    apart = float(np.abs(total - 1).max())
    return Check(
        largest == 0 and apart < 1e-5,
        f"the {later.size} weights of {place(position).en} on later tokens in layer {chosen.layer} are at most "
        f"{largest:g}; each head's weights sum to 1 within {apart:.2g}",
    )


def _two_masks(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, head = chosen.layer, chosen.head
    name = f"attn.{layer}"
    attn = trace[name]
    return (
        Note(
            Words(
                f"The same weights twice, in layer {layer}, head {head} (counted from 0): with the mask of GPT-2, and "
                "with the mask taken off, as in BERT. Without it a token takes from those after it too.",
                f"同样的权重，第 {layer} 层第 {head} 个头（从 0 数起）：一次带 GPT-2 的掩码，一次像 BERT 那样去掉掩码。"
                "去掉以后，词元也会从后面的词元取值。",
            )
        ),
        _weights(trace, Words("masked, as in GPT-2", "带掩码（GPT-2）"), cells(name, attn, attn[head])),
        _weights(trace, Words("the mask taken off", "去掉掩码"), _free(trace, chosen)),
    )


def _weights(trace: Trace, title: Words, shown: Cells) -> Grid:
    tokens = token_labels(trace)
    return Grid(title, shown, "share", tokens, tokens, LOOKS, SEEN)


def _free(trace: Trace, chosen: Selection) -> Cells:
    """The weights of one head (T, T) with its scores left as they were where the mask hides them."""
    seen = trace.attention(chosen.layer, chosen.head, chosen.head + 1)
    scores = np.where(seen["masked"] == MASKED, seen["scores"], seen["masked"])[0]
    return computed(f"softmax(scores.{chosen.layer}[{chosen.head}])", softmax(scores))


def _check_masks(trace: Trace, chosen: Selection) -> Check:
    """Against the model run without the layer's mask; the first token is the one that all others come after."""
    name = f"attn.{chosen.layer}"
    other = trace.intervene(*trace.interventions, Intervention("no_mask", layer=chosen.layer))
    masked, free = (float(np.triu(each[name], 1).sum(axis=-1).mean()) for each in (trace, other))
    apart = largest_difference(other.logits_at(0), trace.logits_at(0))
    follows = largest_difference(_free(trace, chosen).values, other[name][chosen.head])
    alone = len(trace) == 1
    return Check(
        masked == 0 and follows < 1e-5 and (alone or (free > 0 and apart > 0)),
        f"weight on later tokens in layer {chosen.layer}: {masked:.0%} with the mask, {free:.0%} without; the logits "
        f"after the first token move by {apart:.2g}" + (", for the text has no other" if alone else ""),
    )


# F16 and F17: the first two steps, seen from above.


def _paths(trace: Trace, columns: Sequence[tuple[str, str, str, Words]]) -> Drawing:
    """Slots as columns: each with its token, its colour, what comes out and what is done there."""
    names = layer_names(trace)
    floor = 5 + tower_height(names)
    shapes: Shapes = []
    for slot, (token, colour, out, state) in enumerate(columns):
        x = 20 * slot
        bottom = token or Words(f"slot {slot + 1}", f"位置 {slot + 1}")
        shapes += [*tower(x, 5, 18, names, colour), Box(x, floor + 2, 18, 3, bottom, colour)]
        shapes.append(Label(x + 1, floor + 5, state))
        if token:
            shapes.append(Line(x + 9, floor + 1, x + 9, floor))
        if out:
            shapes += [Line(x + 9, 4, x + 9, 3), Box(x, 0, 18, 3, out, "output")]
    return Drawing(Words("which paths are active", "哪些路径在工作"), shapes)


def _first_step(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    shown = candidates(beginning(trace, 1), 5)
    token, best = short(token_label(trace, trace.ids[0])), short(token_label(trace, shown[0].id))
    return (
        Note(
            Words(
                "With one token to start from, only the first path is active. The last vector on it is scored against "
                "the whole vocabulary, and the likeliest token comes out. Layers are counted from 0.",
                "只有一个起始词元时，只有第一条路径在工作。路径末端的向量与整个词表逐一打分，输出概率最大的词元。"
                "层从 0 数起。",
            )
        ),
        _paths(trace, [(token, "token", best, COMPUTED), EMPTY, EMPTY]),
        candidate_table(trace, 0, shown),
    )


def _check_first_step(trace: Trace, chosen: Selection) -> Check:
    alone = beginning(trace, 1)
    logits = alone.logits_at(0)
    apart = largest_difference(logits, trace.logits_at(0))
    weights = min(float(alone[f"attn.{layer}"].min()) for layer in range(trace.config.n_layer))
    return Check(
        apart <= tolerance(logits) and weights == 1,
        f"one token gives all its weight to itself in every head (at least {weights:g}); the logits after "
        f"{token_label(trace, trace.ids[0])} alone are those in the text within {apart:.2g}",
    )


def _second_step(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    first = beginning(trace, 1)
    best = candidates(first, 1)[0]
    start, token = (short(token_label(trace, each)) for each in (trace.ids[0], best.id))
    if trace.config.n_ctx == 1:
        return Note(NO_SECOND_STEP), _paths(trace, [(start, "token", token, COMPUTED)])
    second = first.append(best.id)
    out = short(token_label(trace, candidates(second, 1)[0].id))
    rows: list[list[Entry]] = [
        [
            Words("positions computed in this step", "这一步计算的位置数"),
            Number(second.work.positions_computed, "work.positions_computed", form=""),
        ],
        [
            Words("positions taken over", "沿用的位置数"),
            Number(second.work.positions_reused, "work.positions_reused", form=""),
        ],
        [
            Words("largest change of any vector on the first path", "第一条路径上各向量的最大变化"),
            Number(_moved(first, second), "abs(resid[0] after - resid[0] before).max()", form=".2g"),
        ],
        [
            Words("the same, when both tokens are read anew", "同上，但两个词元都重新读一遍"),
            Number(_moved(first, beginning(second, 2)), "abs(resid[0] anew - resid[0] before).max()", form=".2g"),
        ],
    ]
    return (
        Note(
            Words(
                "The token that came out is now the second input, and only its path is computed. The first path stays "
                "as it was: the model does not think the first token over in the light of the second.",
                "刚输出的词元成了第二个输入。只需计算它这一条路径：第一条路径保持原样，"
                "模型不会因为第二个词元而重新理解第一个。",
            )
        ),
        _paths(trace, [(start, "reused", "", REUSED), (token, "token", out, COMPUTED), EMPTY]),
        Table(
            Words("the second step, measured", "第二步的实测"), [Words("what", "项目"), Words("how much", "数值")], rows
        ),
    )


def _moved(before: Trace, after: Trace) -> float:
    """The largest change of the residual stream of the first token, before any layer or after the last."""
    layers = range(before.config.n_layer)
    names = [*(f"resid.pre.{layer}" for layer in layers), f"resid.post.{layers[-1]}"]
    return max(largest_difference(before[name][0], after[name][0]) for name in names)


def _check_second_step(trace: Trace, chosen: Selection) -> Check:
    if trace.config.n_ctx == 1:
        return Check(True, NO_SECOND_STEP.en)
    first = beginning(trace, 1)
    second = first.append(candidates(first, 1)[0].id)
    moved, anew = _moved(first, second), _moved(first, beginning(second, 2))
    size = tolerance(first[f"resid.post.{trace.config.n_layer - 1}"])
    return Check(
        second.work.positions_computed == 1 and moved == 0 and anew <= size,
        f"the second step computes {second.work.positions_computed} position and takes over "
        f"{second.work.positions_reused}; the first token's vectors change by {moved:g} (by {anew:.2g} read anew)",
    )


FIGURES = (
    Figure(
        "F12",
        Words("What one position looks at", "一个位置能看到什么"),
        part=1,
        picture=10,
        status="live",
        tensors=("attn.L",),
        draw=_path,
        verify=_check_path,
    ),
    Figure(
        "F13",
        Words("Self-attention with and without the mask", "带掩码与不带掩码的自注意力"),
        part=1,
        picture=11,
        status="live",
        tensors=("attn.L", "scores.L"),
        draw=_two_masks,
        verify=_check_masks,
    ),
    Figure(
        "F16",
        Words("One token, one active path", "一个词元，一条工作的路径"),
        part=1,
        picture=14,
        status="live",
        tensors=("logits", "probs"),
        draw=_first_step,
        verify=_check_first_step,
    ),
    Figure(
        "F17",
        Words("The second step computes the second path only", "第二步只计算第二条路径"),
        part=1,
        picture=15,
        status="live",
        tensors=("resid.pre.L", "resid.post.L"),
        draw=_second_step,
        verify=_check_second_step,
    ),
)
