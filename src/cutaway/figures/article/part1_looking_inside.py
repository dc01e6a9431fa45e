"""Part 1 of the article: looking inside GPT-2, at the positions that the first two steps compute."""

from collections.abc import Sequence

from cutaway.figures.article.accuracy import TOLERANCE, max_difference, relative_error, within
from cutaway.figures.article.decoding import beginning, candidate_table, candidates
from cutaway.figures.article.part1_model_sizes import layer_names
from cutaway.figures.article.part1_transformer_blocks import tower, tower_height
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import WHAT, short, token_label
from cutaway.figures.panels import (
    Box,
    Drawing,
    Entry,
    Label,
    Line,
    LocalizedText,
    Note,
    Number,
    Panel,
    Shapes,
    Table,
    integer,
)
from cutaway.figures.statement import Statement
from cutaway.trace import Trace

NO_SECOND_STEP = LocalizedText("This model has one slot: there is no second step.", "本模型只有一个槽位，没有第二步。")
COMPUTED = LocalizedText("computed now", "本步计算")
REUSED = LocalizedText("reused", "沿用")
EMPTY = "", "plain", "", LocalizedText("empty", "空着")  # a slot that no token has reached


def _paths(trace: Trace, columns: Sequence[tuple[str, str, str, LocalizedText]]) -> Drawing:
    """Draw slots as columns, each with its token, its colour, its output and its state."""
    names = layer_names(trace)
    floor = 5 + tower_height(names)
    shapes: Shapes = []
    for slot, (token, colour, out, state) in enumerate(columns):
        x = 20 * slot
        bottom = token or LocalizedText(f"slot {slot + 1}", f"槽位 {slot + 1}")
        shapes += [*tower(x, 5, 18, names, colour), Box(x, floor + 2, 18, 3, bottom, colour)]
        shapes.append(Label(x + 1, floor + 5, state))
        if token:
            shapes.append(Line(x + 9, floor + 1, x + 9, floor))
        if out:
            shapes += [Line(x + 9, 4, x + 9, 3), Box(x, 0, 18, 3, out, "output")]
    return Drawing(LocalizedText("which paths are active", "哪些路径在工作"), shapes)


def _first_step(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    shown = candidates(beginning(trace, 1), 5)
    token = short(token_label(trace, trace.ids[0]))
    best = short(token_label(trace, shown[0].id))
    return (
        Note(
            LocalizedText(
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
    off = relative_error(trace.logits_at(0), alone.logits_at(0))
    least = min(float(alone[f"attn.{layer}"].min()) for layer in range(trace.config.n_layer))
    return Check(
        off <= TOLERANCE and least == 1,
        Statement(
            "one token gives all its weight to itself in every head (the least is {least}); the logits after “{token}” "
            "alone are those in the text {near}",
            "只有一个词元时，它在每个头里都把权重全给自己（最小的权重为 {least}）；单独读入“{token}”得到的 logit "
            "与在文本中相同，{near}",
            least=Number(least, "min([min(attn.L(ids[:1])) for L in layers])", form="g"),
            token=token_label(trace, trace.ids[0]),
            near=within(off, "error(logits[0], logits(ids[:1])[0])"),
        ),
    )


def _second_step(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    first = beginning(trace, 1)
    best = candidates(first, 1)[0]
    start, token = (short(token_label(trace, each)) for each in (trace.ids[0], best.id))
    if trace.config.n_ctx == 1:
        return Note(NO_SECOND_STEP), _paths(trace, [(start, "token", token, COMPUTED)])
    second = first.append(best.id)
    out = short(token_label(trace, candidates(second, 1)[0].id))
    return (
        Note(
            LocalizedText(
                "The token that came out is now the second input, and only its path is computed. The first path stays "
                "as it was: the model does not think the first token over in the light of the second.",
                "刚输出的词元成了第二个输入。只需计算它这一条路径：第一条路径保持原样，"
                "模型不会因为第二个词元而重新理解第一个。",
            )
        ),
        _paths(trace, [(start, "reused", "", REUSED), (token, "token", out, COMPUTED), EMPTY]),
        _measured(first, second),
    )


def _measured(first: Trace, second: Trace) -> Table:
    """Tabulate what the second step computes, and how it changes the first token's vectors."""
    work = second.work
    anew = beginning(second, 2)
    formula = "abs(resid[0] {} - resid[0] before).max()"
    rows: list[list[Entry]] = [
        [
            LocalizedText("positions computed in this step", "这一步计算的位置数"),
            Number(work.positions_computed, "work.positions_computed", form=""),
        ],
        [
            LocalizedText("positions reused", "沿用的位置数"),
            Number(work.positions_reused, "work.positions_reused", form=""),
        ],
        [
            LocalizedText("largest change of any vector on the first path", "第一条路径上各向量的最大变化"),
            Number(_moved(first, second), formula.format("after"), form=".2g"),
        ],
        [
            LocalizedText("the same, when both tokens are read anew", "同上，但两个词元都重新读一遍"),
            Number(_moved(first, anew), formula.format("anew"), form=".2g"),
        ],
    ]
    return Table(
        LocalizedText("the second step, measured", "第二步的实测"), [WHAT, LocalizedText("how much", "数值")], rows
    )


def _moved(before: Trace, after: Trace) -> float:
    """Measure the largest change of the first token's residual stream, before any layer or after the last."""
    layers = range(before.config.n_layer)
    names = [*(f"resid.pre.{layer}" for layer in layers), f"resid.post.{layers[-1]}"]
    return max(max_difference(before[name][0], after[name][0]) for name in names)


def _check_second_step(trace: Trace, chosen: Selection) -> Check:
    if trace.config.n_ctx == 1:
        return Check(True, Statement(NO_SECOND_STEP.en, NO_SECOND_STEP.zh))
    first = beginning(trace, 1)
    last = trace.final_residual
    second = first.append(candidates(first, 1)[0].id)
    again = beginning(second, 2)
    moved = _moved(first, second)
    anew = _moved(first, again)
    off = relative_error(again[last][:1], first[last])
    now = second.work.positions_computed
    reused = second.work.positions_reused
    return Check(
        now == 1 and moved == 0 and off <= TOLERANCE,
        Statement(
            "the second step computes {now} position and reuses {reused}; the first token's vectors change by {moved} "
            "(by {anew} read anew)",
            "第二步计算 {now} 个位置，沿用 {reused} 个；第一个词元的向量变化为 {moved}（重新读入则为 {anew}）",
            now=integer(now, "positions_computed(second_step)"),
            reused=integer(reused, "positions_reused(second_step)"),
            moved=Number(moved, _change(last, "second_step"), form="g"),
            anew=Number(anew, _change(last, "second_step_ids"), form=".2g"),
        ),
    )


def _change(last: str, step: str) -> str:
    """Return the formula of the largest change of the first token's residual stream when a second token is read."""
    before = f"max([difference(resid.pre.L({step})[0], resid.pre.L(ids[:1])[0]) for L in layers])"
    return f"max([{before}, difference({last}({step})[0], {last}(ids[:1])[0])])"


FIGURES = (
    Figure(
        "F16",
        LocalizedText("One token, one active path", "一个词元，一条工作的路径"),
        part=1,
        picture=14,
        tensors=("logits", "probs"),
        draw=_first_step,
        verify=_check_first_step,
    ),
    Figure(
        "F17",
        LocalizedText("The second step computes the second path only", "第二步只计算第二条路径"),
        part=1,
        picture=15,
        tensors=("resid.pre.L", "resid.post.L"),
        draw=_second_step,
        verify=_check_second_step,
    ),
)
