"""Part 2 of the article: masked self-attention, in which no token attends to a later one."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import MASKED
from cutaway.figures.article.accuracy import TOLERANCE, exact_scores, relative_error, span, within
from cutaway.figures.article.attention_scale import divisor_formula, divisor_statement, product, product_formula
from cutaway.figures.article.decoding import beginning, tail
from cutaway.figures.article.excerpts import at
from cutaway.figures.article.token_columns import MASKED as HIDDEN_CELL
from cutaway.figures.article.token_columns import WIDE, TokenCell, TokenRow, draw_token_columns
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import TOKEN, cut, number, plural, position_text, token_labels
from cutaway.figures.panels import Drawing, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.numerics import softmax
from cutaway.trace import Trace
from cutaway.trace.lens import surprisal

HIDDEN = number(float(MASKED), "signed")  # a masked score, as text
FIRST = 4  # tokens of the text, as in the article's examples
EXAMPLES = 12  # rows of the data set that are shown
ALONE = LocalizedText("One token alone has no next token to learn from.", "只有一个词元，没有可供学习的下一个词元。")
PREFIX = 40  # columns of a prefix


# F36


def _second_token(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position = min(1, len(trace) - 1)
    layer = chosen.layer
    here = (chosen.head, position)
    tokens = token_labels(trace)
    spot = position_text(position)
    columns = TOKEN, LocalizedText("score", "分数"), LocalizedText("masked", "掩码后"), LocalizedText("weight", "权重")
    rows = [
        (
            tokens[key],
            at(trace, f"scores.{layer}", *here, key, form=".4g"),
            at(trace, f"masked.{layer}", *here, key, form=".4g"),
            at(trace, f"attn.{layer}", *here, key, form=".2%"),
        )
        for key in range(min(FIRST, len(trace)))
    ]
    return (
        Note(
            LocalizedText(
                f"What the token at {spot.en} looks at, layer {layer}, head {chosen.head} (counted from 0). Tokens "
                f"after it have scores too, but these become {HIDDEN} before the softmax, so their weights are 0. "
                "A score of 0 would not do: its weight would be exp(0) over the sum.",
                f"{spot.zh}的词元在看，层 {layer}、头 {chosen.head}（从 0 数起）。它后面的词元也有分数，"
                f"但这些分数在 softmax 之前被设为 {HIDDEN}，权重因此恰好是 0。"
                "把分数设为 0 是不行的：那样权重会是 exp(0) 除以总和。",
            )
        ),
        _masked_columns(trace, chosen, position),
        Table(_first_tokens(trace), columns, rows),
    )


def _masked_columns(trace: Trace, chosen: Selection, position: int) -> Drawing:
    """Draw the first tokens; those after `position` are masked before the softmax."""
    layer = chosen.layer
    here = (chosen.head, position)
    keys = range(min(FIRST, len(trace)))
    scores = [TokenCell(at(trace, f"scores.{layer}", *here, key, form=".2f"), "score") for key in keys]
    masked = [cell if key <= position else HIDDEN_CELL for key, cell in enumerate(scores)]
    weights = [TokenCell(at(trace, f"attn.{layer}", *here, key, form=".0%"), "score") for key in keys]
    return draw_token_columns(
        LocalizedText("the mask comes between the scores and the softmax", "掩码在分数与 softmax 之间"),
        token_labels(trace)[: len(keys)],
        [
            TokenRow(LocalizedText("key", "键"), [TokenCell(f"k {key}", "key") for key in keys]),
            TokenRow(f"× q {position}", scores),
            TokenRow(LocalizedText("mask", "掩码"), masked),
            TokenRow("softmax", weights),
        ],
    )


def _first_tokens(trace: Trace) -> LocalizedText:
    n = min(FIRST, len(trace))
    return (
        LocalizedText(f"the first {n} tokens of the text", f"文本的前 {n} 个词元")
        if n > 1
        else LocalizedText("the only token", "唯一的词元")
    )


def _check_second_token(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    position = min(1, len(trace) - 1)
    scores, masked, attn = (trace[f"{kind}.{layer}"][:, position] for kind in ("scores", "masked", "attn"))  # (H, T)
    exact = exact_scores(trace, layer, position, len(trace))
    earlier = slice(position + 1)
    later = slice(position + 1, None)
    off = max(
        relative_error(scores, exact),
        relative_error(masked[:, earlier], exact[:, earlier]),
        relative_error(attn[:, earlier], softmax(exact[:, earlier])),
    )
    made = Statement(
        "the scores are {product} / {divisor}, and the weights of the tokens up to it their softmax, {near}",
        "分数是 {product} / {divisor}，到它为止的词元的权重是这些分数的 softmax，{near}",
        product=product(trace.config),
        divisor=divisor_statement(trace.config, layer),
        near=within(off, _score_error(trace, layer, position)),
    )
    if not attn[:, later].size:
        nothing = Statement(
            "nothing comes after the second token that could be masked; {made}",
            "第二个词元之后没有词元，没有可遮住的分数；{made}",
            made=made,
        )
        return Check(off < TOLERANCE, nothing)
    name = f"attn.{layer}[:, 1, 2:]"
    hidden = masked[:, later]
    leaked = attn[:, later]
    return Check(
        bool((hidden == MASKED).all()) and not leaked.any() and off < TOLERANCE,
        Statement(
            "{name}, {count:weight} in {heads:head}, is at most {largest}; the masked scores there are {hidden}; "
            "{made}",
            "{name} 是 {heads} 个头中的 {count} 个权重，最大为 {largest}；那里掩码后的分数是 {hidden}；{made}",
            name=name,
            count=integer(leaked.size, f"len(flat({name}))"),
            heads=integer(len(attn), "config.n_head"),
            largest=Number(float(leaked.max()), f"max({name})", form="g"),
            hidden=span(hidden, f"masked.{layer}[:, 1, 2:]"),
            made=made,
        ),
    )


# F37


def _data_set(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    if len(trace) == 1:
        return (Note(ALONE),)
    count = min(EXAMPLES, len(trace) - 1)
    losses = surprisal(trace)
    tokens = token_labels(trace)
    rows = [
        (
            str(i + 1),
            tail(trace, trace.ids[: i + 1], PREFIX),
            tokens[i + 1],
            Number(float(losses[i]), f"-log(probs[{i}, {trace.ids[i + 1]}])", form=".3f"),
        )
        for i in range(count)
    ]
    return (
        Note(
            LocalizedText(
                "Every token but the last ends an example: the text up to it is read, the next token is to be "
                "predicted, and the loss says how badly that went. The article draws each example as a row of a batch; "
                "GPT-2 reads the text once, and thanks to the mask that one pass has all the rows.",
                "除最后一个词元外，每个词元都是一个样本的末尾：读到它为止，要预测下一个词元，损失说明预测得多差。"
                "文章把每个样本画成批次中的一行；GPT-2 只读一遍文本，靠掩码一次得到所有的行。",
            )
        ),
        _examples(trace),
        Table(
            LocalizedText(f"{count} of {plural(len(losses), 'example')}", f"{len(losses):,} 个样本中的 {count} 个"),
            (
                LocalizedText("row", "行"),
                LocalizedText("read", "读入"),
                LocalizedText("next", "下一个"),
                LocalizedText("loss, nats", "损失（nat）"),
            ),
            rows,
        ),
    )


def _examples(trace: Trace) -> Drawing:
    """Draw a row for each of the first examples: the input, the masked tokens, and the token to predict."""
    count = min(FIRST, len(trace) - 1)
    tokens = [cut(token, WIDE - 3) for token in token_labels(trace)[: count + 1]]
    rows = [
        TokenRow(
            LocalizedText(f"example {i + 1}", f"样本 {i + 1}"),
            [
                *(TokenCell(tokens[key], "token") if key <= i else HIDDEN_CELL for key in range(count)),
                None,
                TokenCell(tokens[i + 1], "output"),
            ],
        )
        for i in range(count)
    ]
    return draw_token_columns(
        LocalizedText("each row is read up to a token; the answer is at its end", "每行读到一个词元为止，答案在行末"),
        [*(str(key + 1) for key in range(count)), "", "?"],
        rows,
        arrows=False,
    )


def _check_data_set(trace: Trace, chosen: Selection) -> Check:
    count = min(FIRST, len(trace) - 1)
    if not count:
        return Check(True, Statement(ALONE.en, ALONE.zh))
    read = [(trace.logits_at(i), beginning(trace, i + 1).logits_at(-1)) for i in range(count)]
    off = relative_error(*map(np.stack, zip(*read, strict=True)))
    return Check(
        off < TOLERANCE,
        Statement(
            "one pass gives {examples:example}, mean loss {mean} nats; the first {count} prefixes, each read alone, "
            "have the same logits {near}",
            "读一遍得到 {examples} 个样本，平均损失 {mean} nat；前 {count} 个前缀各自单独读入，logit 相同，{near}",
            examples=integer(len(trace) - 1, "len(ids) - 1"),
            mean=Number(
                float(surprisal(trace).mean()),
                "-mean(log(softmax(logits)[arange(len(ids) - 1), ids[1:]]))",
                form=".3f",
            ),
            count=integer(count, f"min({FIRST}, len(ids) - 1)"),
            near=within(off, f"error(logits[:{count}], stack([logits(ids[:i + 1])[-1] for i in range({count})]))"),
        ),
    )


def _score_error(trace: Trace, layer: int, position: int) -> str:
    """Return the formula of the error of a token's scores, masked scores and weights, recomputed from q and k."""
    divided = divisor_formula(trace.config, layer)
    dot = f"sum(q.{layer}[:, {position}, None] * k.{layer}, -1)"
    scores = f"{product_formula(trace.config, dot, layer, f'[:, {position}]')} / {divided}"
    seen = f"({scores})[:, :{position + 1}]"
    return (
        f"max([error(scores.{layer}[:, {position}], {scores}), "
        f"error(masked.{layer}[:, {position}, :{position + 1}], {seen}), "
        f"error(attn.{layer}[:, {position}, :{position + 1}], softmax({seen}))])"
    )


FIGURES = (
    Figure(
        "F36",
        LocalizedText("The second token: later ones are masked", "第二个词元：后面的被遮住"),
        part=2,
        picture=34,
        tensors=("scores.L", "masked.L", "attn.L"),
        draw=_second_token,
        verify=_check_second_token,
    ),
    Figure(
        "F37",
        LocalizedText("One text, many examples", "一段文本，许多样本"),
        part=2,
        picture=35,
        tensors=("ids", "logits"),
        draw=_data_set,
        verify=_check_data_set,
    ),
)
