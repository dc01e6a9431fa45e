"""Part 1 of the article: the auto-regressive loop, in which each output becomes input."""

from collections.abc import Sequence
from itertools import pairwise

from cutaway.figures.article.decoding import ROUNDS, Step, first_steps, go_on, likely, tail
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import PROBABILITY, short, token_label
from cutaway.figures.panels import Box, Drawing, Entry, Label, Line, LocalizedText, Note, Panel, Shapes, Table, integer
from cutaway.figures.statement import Statement
from cutaway.layout import width
from cutaway.trace import Trace

TAIL = 26  # characters of text before a new token
# columns of F09: the new token, the model, and the token that it chose
NEW = 29
MODEL = 50
OUT = 61

STEP = LocalizedText("step", "步")
CHOSEN = LocalizedText("chosen", "选出的词元")


# F08 and F09: one token at a time.


def _one_at_a_time(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    steps = first_steps(trace)
    rows: list[list[Entry]] = [
        [str(n), tail(trace, step.ids, TAIL), token_label(trace, step.chosen.id), likely(step)]
        for n, step in enumerate(steps, 1)
    ]
    return (
        Note(
            LocalizedText(
                "GPT-2 gives one token at a time. Here it is always the likeliest one.",
                "GPT-2 每次只给出一个词元。这里每次都取概率最大的那个。",
            )
        ),
        Table(
            LocalizedText("the text that is read, and what comes out", "读入的文本与输出"),
            [STEP, LocalizedText("text", "文本"), CHOSEN, PROBABILITY],
            rows,
        ),
    )


def _check_output(trace: Trace, chosen: Selection) -> Check:
    steps, last = go_on(trace, ROUNDS)
    written = [step.chosen.id for step in steps]
    joined = (*trace.ids, *written) == (*last.ids, written[-1])
    best = all(int(last.logits_at(len(step.ids) - 1).argmax()) == step.chosen.id for step in steps)
    return Check(
        joined and best,
        Statement(
            "{tokens:token} of text and the {written} written {are} the ids of the last step; {each} has the largest "
            "logit",
            "文本的 {tokens} 个词元加上写出的 {written} 个，{are}最后一步的编号；写出的词元{each}都有最大的 logit",
            tokens=integer(len(trace), "len(ids)"),
            written=integer(len(written), f"len(greedy({ROUNDS}))"),
            are=LocalizedText("are", "正是") if joined else LocalizedText("are not", "并非"),
            each=LocalizedText("each", "每个") if best else LocalizedText("not each", "并非每个"),
        ),
    )


def _loop(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    steps = first_steps(trace)[: ROUNDS - 1]
    shapes: Shapes = []
    for n, step in enumerate(steps):
        shapes += _round(trace, step, 6 * n, first=n == 0, last=n == len(steps) - 1)
    return (
        Note(
            LocalizedText(
                "The token that came out is put behind the text and read in the next step. A model that feeds on its "
                "own output in this way is called auto-regressive.",
                "输出的词元接到文本后面，在下一步里作为输入读进去。像这样以自己的输出为输入的模型，叫做自回归模型。",
            )
        ),
        Drawing(LocalizedText("output becomes input", "输出变成输入"), shapes),
    )


def _round(trace: Trace, step: Step, y: int, *, first: bool, last: bool) -> Shapes:
    """Draw one step: the input, the model, the chosen token, and the line back to the next input."""
    old, new = (step.ids, "") if first else (step.ids[:-1], short(token_label(trace, step.ids[-1])))
    before = tail(trace, old, TAIL)
    out = short(token_label(trace, step.chosen.id))
    shapes: Shapes = [Label(TAIL + 1 - width(before), y + 1, before)]
    start = NEW
    if new:
        start += width(new) + 5
        shapes.append(Box(NEW, y, width(new) + 4, 3, new, "output"))
    shapes += [
        Line(start, y + 1, MODEL - 1, y + 1),
        Box(MODEL, y, 9, 3, "GPT-2", "weights"),
        Line(OUT - 2, y + 1, OUT - 1, y + 1),
        Box(OUT, y, width(out) + 4, 3, out, "output"),
    ]
    if not last:
        shapes += [
            Line(OUT + 2, y + 3, OUT + 2, y + 4, arrow=False),
            Line(NEW + 2, y + 4, OUT + 2, y + 4, arrow=False),
            Line(NEW + 2, y + 4, NEW + 2, y + 5),
        ]
    return shapes


def _check_loop(trace: Trace, chosen: Selection) -> Check:
    steps = first_steps(trace)[: ROUNDS - 1]
    fed = [after.ids == (*before.ids, before.chosen.id) for before, after in pairwise(steps)]
    if not fed:
        full = Statement("the context is full: the token chosen cannot be read", "上下文已满：选出的词元没有位置可读入")
        return Check(True, full)
    return Check(
        all(fed),
        Statement(
            "in {fed} of {steps:step} after the first the input is the last input and the token chosen then",
            "第一步之后的 {steps} 步中，有 {fed} 步的输入是上一步的输入加上当时选出的词元",
            fed=integer(sum(fed), f"len(greedy({ROUNDS - 1})) - 1"),
            steps=integer(len(fed), f"min({ROUNDS - 2}, config.n_ctx - len(ids))"),
        ),
    )


FIGURES = (
    Figure(
        "F08",
        LocalizedText("One token at a time", "每次一个词元"),
        part=1,
        picture=None,
        tensors=("ids", "logits"),
        draw=_one_at_a_time,
        verify=_check_output,
    ),
    Figure(
        "F09",
        LocalizedText("The loop: output becomes input", "循环：输出变成输入"),
        part=1,
        picture=3,
        tensors=("ids", "logits"),
        draw=_loop,
        verify=_check_loop,
    ),
)
