"""Part 2 of the article: masked self-attention, in which no token sees a later one."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import MASKED
from cutaway.figures.article.decoding import beginning, tail
from cutaway.figures.article.excerpts import TOLERANCE, apart, at, exact_scores, span, within
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import TOKEN, many, place, token_label, token_labels
from cutaway.figures.panels import Note, Number, Panel, Table, Words
from cutaway.figures.render.text import number
from cutaway.numerics import softmax
from cutaway.trace import Trace
from cutaway.trace.lens import surprisal

HIDDEN = number(float(MASKED), "signed")  # what a masked score is, in words
FIRST = 4  # tokens of the text, as many as the article's examples have
EXAMPLES = 12  # rows of the data set that are shown
ALONE = Words("One token alone has no next token to learn from.", "只有一个词元，没有可供学习的下一个词元。")
PREFIX = 40  # columns of a prefix that are shown


# F36


def _second_token(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position = min(1, len(trace) - 1)
    layer, here, tokens = chosen.layer, (chosen.head, position), token_labels(trace)
    spot = place(position)
    columns = TOKEN, Words("score", "分数"), Words("masked", "掩码后"), Words("weight", "权重")
    rows = [
        (
            tokens[key],
            at(trace, f"scores.{layer}", *here, key, form=".4g"),
            at(trace, f"masked.{layer}", *here, key, form=".4g"),
            at(trace, f"attn.{layer}", *here, key),
        )
        for key in range(min(FIRST, len(trace)))
    ]
    return (
        Note(
            Words(
                f"What the token at {spot.en} looks at, layer {layer}, head {chosen.head} (counted from 0). Tokens "
                f"after it have scores too, but these become {HIDDEN} before the softmax, so their weights are 0. "
                "A score of 0 would not do: its weight would be exp(0) over the sum.",
                f"{spot.zh}的词元在看，第 {layer} 层第 {chosen.head} 个头（从 0 数起）。它后面的词元也有分数，"
                f"但这些分数在 softmax 之前被设为 {HIDDEN}，权重因此恰好是 0。"
                "把分数设为 0 是不行的：那样权重会是 exp(0) 除以总和。",
            )
        ),
        Table(_first_tokens(trace), columns, rows),
    )


def _first_tokens(trace: Trace) -> Words:
    n = min(FIRST, len(trace))
    return (
        Words(f"the first {n} tokens of the text", f"文本的前 {n} 个词元")
        if n > 1
        else Words("the only token", "唯一的词元")
    )


def _check_second_token(trace: Trace, chosen: Selection) -> Check:
    layer, position = chosen.layer, min(1, len(trace) - 1)
    scores, masked, attn = (trace[f"{kind}.{layer}"][:, position] for kind in ("scores", "masked", "attn"))  # (H, T)
    exact = exact_scores(trace, layer, position, len(trace))
    earlier, later = slice(position + 1), slice(position + 1, None)
    off = max(
        apart(scores, exact),
        apart(masked[:, earlier], exact[:, earlier]),
        apart(attn[:, earlier], softmax(exact[:, earlier])),
    )
    root, near = f"√{trace.config.d_head}", within(off)
    made = Words(
        f"the scores are q · k / {root}, and the weights of the tokens up to it their softmax, {near.en}",
        f"分数是 q · k / {root}，到它为止的词元的权重是这些分数的 softmax，{near.zh}",
    )
    if not attn[:, later].size:
        nothing = Words(
            f"nothing comes after the second token that could be masked; {made.en}",
            f"第二个词元之后没有词元，没有可遮住的分数；{made.zh}",
        )
        return Check(off < TOLERANCE, nothing)
    name, hidden, leaked = f"attn.{layer}[:, 1, 2:]", masked[:, later], attn[:, later]
    return Check(
        bool((hidden == MASKED).all()) and not leaked.any() and off < TOLERANCE,
        Words(
            f"{name}, {many(leaked.size, 'weight')} in {many(len(attn), 'head')}, is at most {leaked.max():g}; the "
            f"masked scores there are {span(hidden)}; {made.en}",
            f"{name} 是 {len(attn)} 个头中的 {leaked.size} 个权重，最大为 {leaked.max():g}；"
            f"那里掩码后的分数是 {span(hidden)}；{made.zh}",
        ),
    )


# F37


def _data_set(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    if len(trace) == 1:
        return (Note(ALONE),)
    count = min(EXAMPLES, len(trace) - 1)
    losses = surprisal(trace)
    rows = [
        (
            str(i + 1),
            tail(trace, trace.ids[: i + 1], PREFIX),
            token_label(trace, trace.ids[i + 1]),
            Number(float(losses[i]), f"-log(probs[{i}, {trace.ids[i + 1]}])", form=".3f"),
        )
        for i in range(count)
    ]
    return (
        Note(
            Words(
                "Every token but the last ends an example: the text up to it is read, the next token is to be "
                "predicted, and the loss says how badly that went. The article draws each example as a row of a batch; "
                "GPT-2 reads the text once, and thanks to the mask that one pass has all the rows.",
                "除最后一个词元外，每个词元都是一个样本的末尾：读到它为止，要预测下一个词元，损失说明预测得多差。"
                "文章把每个样本画成批次中的一行；GPT-2 只读一遍文本，靠掩码一次得到所有的行。",
            )
        ),
        Table(
            Words(f"{count} of {many(len(losses), 'example')}", f"{len(losses):,} 个样本中的 {count} 个"),
            (Words("row", "行"), Words("read", "读入"), Words("next", "下一个"), Words("loss, nats", "损失（nat）")),
            rows,
        ),
    )


def _check_data_set(trace: Trace, chosen: Selection) -> Check:
    count = min(FIRST, len(trace) - 1)
    if not count:
        return Check(True, ALONE)
    read = [(trace.logits_at(i), beginning(trace, i + 1).logits_at(-1)) for i in range(count)]
    off = apart(*map(np.stack, zip(*read, strict=True)))
    near, mean = within(off), float(surprisal(trace).mean())
    return Check(
        off < TOLERANCE,
        Words(
            f"one pass gives {many(len(trace) - 1, 'example')}, mean loss {mean:.3f} nats; the first {count} prefixes, "
            f"each read alone, have the same logits {near.en}",
            f"读一遍得到 {len(trace) - 1} 个样本，平均损失 {mean:.3f} nat；前 {count} 个前缀各自单独读入，"
            f"logit 相同，{near.zh}",
        ),
    )


FIGURES = (
    Figure(
        "F36",
        Words("The second token: later ones are masked", "第二个词元：后面的被遮住"),
        part=2,
        picture=34,
        tensors=("scores.L", "masked.L", "attn.L"),
        draw=_second_token,
        verify=_check_second_token,
    ),
    Figure(
        "F37",
        Words("One text, many examples", "一段文本，许多样本"),
        part=2,
        picture=35,
        tensors=("ids", "logits"),
        draw=_data_set,
        verify=_check_data_set,
    ),
)
