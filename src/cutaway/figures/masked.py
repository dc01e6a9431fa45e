"""Part 2 of the article: masked self-attention, in which no token sees a later one."""

from collections.abc import Sequence

from cutaway.figures.content import Check, Note, Number, Panel, Selection, Table, Words
from cutaway.figures.labels import place, token_label, token_labels
from cutaway.figures.registry import Figure
from cutaway.figures.steps import beginning
from cutaway.figures.text import number
from cutaway.figures.views import TOLERANCE, apart, at, span, within
from cutaway.reference import MASKED
from cutaway.trace import Trace
from cutaway.trace.lens import surprise

HIDDEN = number(float(MASKED), "size")  # what a masked score is, in words
FIRST = 4  # tokens of the text, as many as the article's examples have
EXAMPLES = 12  # rows of the data set that are shown
PREFIX = 40  # characters of a prefix that are shown


# F36


def _second_token(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position = min(1, len(trace) - 1)
    layer, here, tokens = chosen.layer, (chosen.head, position), token_labels(trace)
    spot = place(position)
    columns = Words("token", "词"), Words("score", "分数"), Words("masked", "掩码后"), Words("weight", "权重")
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
                f"The token at {spot.en} looks, layer {layer}, head {chosen.head} (counted from 0). Tokens after it "
                f"have scores too, which are set to {HIDDEN} before the softmax: their weights are exactly 0. "
                "A score of 0 would not do: its weight would be exp(0) over the sum.",
                f"{spot.zh}的词在看，第 {layer} 层第 {chosen.head} 个头（从 0 数起）。它后面的词也有分数，"
                f"但在 softmax 之前被设为 {HIDDEN}，权重因此恰好是 0。"
                "分数设为 0 是不行的：权重会是 exp(0) 除以总和。",
            )
        ),
        Table(_first_tokens(trace), columns, rows),
    )


def _first_tokens(trace: Trace) -> Words:
    n = min(FIRST, len(trace))
    return (
        Words(f"the first {n} tokens of the text", f"文本的前 {n} 个词")
        if n > 1
        else Words("the only token", "唯一的词")
    )


def _check_second_token(trace: Trace, chosen: Selection) -> Check:
    masked, attn = (trace[f"{kind}.{chosen.layer}"][:, 1:2, 2:] for kind in ("masked", "attn"))
    if not attn.size:
        return Check(True, f"the text has {len(trace)} token(s): nothing comes after the second that could be masked")
    return Check(
        bool((masked == MASKED).all()) and not attn.any(),
        f"attn.{chosen.layer}[:, 1, 2:], {attn.size} weights in {len(attn)} heads, is at most {attn.max():g}; "
        f"the masked scores there are {span(masked)}",
    )


# F37


def _data_set(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    if len(trace) == 1:
        return (
            Note(Words("One token alone has no next token to learn from.", "只有一个词，没有可供学习的下一个词。")),
        )
    count = min(EXAMPLES, len(trace) - 1)
    losses = surprise(trace)
    rows = [
        (
            str(i + 1),
            _prefix(trace, i + 1),
            token_label(trace, trace.ids[i + 1]),
            Number(float(losses[i]), f"-log(probs[{i}, {trace.ids[i + 1]}])", form=".3f"),
        )
        for i in range(count)
    ]
    return (
        Note(
            Words(
                "Every token but the last ends an example: the text up to it is read, the next token is to be "
                "predicted, and the loss says how badly that went. The article draws a row of a batch for each; GPT-2 "
                "reads the text once, and the mask makes it all rows.",
                "除最后一个词外，每个词都是一个样本：读入它和它前面的词，要预测它后面的词，损失说明预测得多差。"
                "文章把每个样本画成批次中的一行；GPT-2 只读一遍文本，掩码就从中得到所有各行。",
            )
        ),
        Table(
            Words(f"{count} of {len(losses):,} examples", f"{len(losses):,} 个样本中的 {count} 个"),
            (Words("row", "行"), Words("read", "读入"), Words("next", "下一个"), Words("loss, nats", "损失（nat）")),
            rows,
        ),
    )


def _prefix(trace: Trace, count: int) -> str:
    text = " ".join(token_labels(trace)[:count])
    return text if len(text) <= PREFIX else "…" + text[1 - PREFIX :]


def _check_data_set(trace: Trace, chosen: Selection) -> Check:
    count = min(FIRST, len(trace) - 1)
    if not count:
        return Check(True, "the text has one token, so there is no next token and no example")
    off = max(apart(trace.logits_at(i), beginning(trace, i + 1).logits_at(-1)) for i in range(count))
    mean = float(surprise(trace).mean())
    return Check(
        off < TOLERANCE,
        f"one pass gives {len(trace) - 1} examples, mean loss {mean:.3f} nats; the first {count} prefixes, each read "
        f"alone, have the same logits {within(off)}",
    )


FIGURES = (
    Figure(
        "F36",
        Words("The second token: later ones are masked", "第二个词：后面的词被遮住"),
        part=2,
        picture=34,
        status="live",
        tensors=("scores.L", "masked.L", "attn.L"),
        draw=_second_token,
        verify=_check_second_token,
    ),
    Figure(
        "F37",
        Words("One text, many examples", "一段文本，许多样本"),
        part=2,
        picture=35,
        status="live",
        tensors=("ids", "logits"),
        draw=_data_set,
        verify=_check_data_set,
    ),
)
