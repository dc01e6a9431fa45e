"""Part 2 of the article: self-attention in three steps, beginning with query, key and value."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import MASKED
from cutaway.figures.article.accuracy import TOLERANCE, exact_scores, relative_error, relative_part, within
from cutaway.figures.article.article_numbers import ATTENDED, article_cells
from cutaway.figures.article.attention_scale import divisor_formula, divisor_statement, product, product_formula
from cutaway.figures.article.excerpts import at, omitted_tokens, part, selection_text, token_weights, window
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import LOOKS, SEEN, token_labels
from cutaway.figures.panels import (
    Bars,
    Box,
    Drawing,
    Grid,
    Label,
    Line,
    LocalizedText,
    Note,
    Number,
    Panel,
    Shapes,
    integer,
)
from cutaway.figures.statement import Statement
from cutaway.numerics import softmax
from cutaway.trace import Trace

STEP = 16  # width of a step's box, in characters
GAP = 6  # between two boxes
ILLUSTRATION = LocalizedText("the article's numbers, an illustration", "文章中的数字（示意）")


# F30


def _over_the_sentence(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name = f"attn.{chosen.layer}"
    spot = selection_text(chosen)
    return (
        Note(
            LocalizedText(
                f"How one token divides its attention: {spot.en}. The bars sum to 1, and tokens after it get nothing.",
                f"一个词元如何分配它的注意力：{spot.zh}。各条之和为 1，它后面的词元一点也分不到。",
            )
        ),
        token_weights(
            trace,
            LocalizedText("this model: attention weights", "本模型：注意力权重"),
            part(trace, name, chosen.head, chosen.position),
            (chosen.position,),
        ),
        Bars(ILLUSTRATION, ATTENDED, article_cells("article.attention"), marked=(2,)),
    )


def check_weights(trace: Trace, chosen: Selection) -> Check:
    """Check that a token's weights sum to 1 and that later tokens have no weight."""
    position = chosen.position
    name = f"attn.{chosen.layer}[{chosen.head}, {position}]"
    row = trace[f"attn.{chosen.layer}"][chosen.head, position]
    off = abs(float(row.sum()) - 1)
    after = row[position + 1 :]
    key = int(row.argmax())
    later = Statement("there is no token after it", "它后面没有词元")
    if after.size:
        later = Statement(
            "the {count} after it have {total} together",
            "它后面的 {count} 个共得 {total}",
            count=integer(len(after), f"len(ids) - {position + 1}"),
            total=Number(
                float(after.sum()), f"sum(attn.{chosen.layer}[{chosen.head}, {position}, {position + 1}:])", form="g"
            ),
        )
    return Check(
        off < 1e-5 and not after.any(),
        Statement(
            "{row} sums to 1 {near}; its largest weight, {largest}, is on index {key}; {later}",
            "{row} 之和为 1，{near}；最大的权重 {largest} 在下标 {key}；{later}",
            row=name,
            near=within(off, f"abs(sum({name}) - 1)"),
            largest=at(trace, f"attn.{chosen.layer}", chosen.head, position, key, form=".2%"),
            key=integer(key, f"argmax({name})"),
            later=later,
        ),
    )


# F31


def _three_steps(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    spot = selection_text(chosen)
    return (
        Note(
            LocalizedText(
                f"What self-attention does for one token: {spot.en}. 1. Every token has a query, a key and a value "
                "(F32). 2. The token's query and each key give a weight (F33). 3. The values, each times its weight, "
                "are added up (F34).",
                f"自注意力为一个词元做的三步：{spot.zh}。1. 每个词元都有查询、键和值（F32）。"
                "2. 这个词元的查询与每个键得出一个权重（F33）。3. 各个值乘以各自的权重，再相加（F34）。",
            )
        ),
        _steps(),
        Grid(LocalizedText("1. its query", "1. 它的查询"), part(trace, f"q.{layer}", head, position), "signed"),
        token_weights(
            trace,
            LocalizedText("2. the weight of each token", "2. 每个词元的权重"),
            part(trace, f"attn.{layer}", head, position),
            (position,),
        ),
        Grid(
            LocalizedText("3. the sum of the weighted values", "3. 加权后的值之和"),
            part(trace, f"z.{layer}", head, position),
            "signed",
        ),
    )


def _steps() -> Drawing:
    """Draw the steps as boxes from left to right, with the inputs of each below it."""
    steps = (
        (LocalizedText("1. query", "1. 查询"), "query", LocalizedText("the token", "这个词元")),
        (LocalizedText("2. weights", "2. 权重"), "score", LocalizedText("all keys", "所有的键")),
        (LocalizedText("3. sum z", "3. 和 z"), "output", LocalizedText("all values", "所有的值")),
    )
    shapes: Shapes = []
    for number, (name, colour, takes) in enumerate(steps):
        x = number * (STEP + GAP)
        shapes.append(Box(x, 0, STEP, 3, name, colour))
        shapes.append(Line(x + STEP // 2, 5, x + STEP // 2, 3))
        shapes.append(Label(x + 2, 6, takes))
        if number:
            shapes.append(Line(x - GAP, 1, x - 1, 1))
    return Drawing(LocalizedText("the three steps", "三步"), shapes)


def _check_three_steps(trace: Trace, chosen: Selection) -> Check:
    position = chosen.position
    v = trace[f"v.{chosen.layer}"][chosen.head, : position + 1].astype(np.float64)
    weights = np.zeros(len(trace))  # later tokens have none
    weights[: position + 1] = softmax(exact_scores(trace, chosen.layer, position, position + 1)[chosen.head])
    attn, z = (trace[f"{kind}.{chosen.layer}"][chosen.head, position] for kind in ("attn", "z"))
    off = relative_error(attn, weights), relative_error(z, weights[: position + 1] @ v)
    spot = f"{chosen.layer}[{chosen.head}, {position}]"
    earlier = f"{chosen.layer}[{chosen.head}, :{position + 1}]"
    index = f"[{chosen.head}, {position}, :{position + 1}]"
    dot = product_formula(trace.config, f"k.{earlier} @ q.{spot}", chosen.layer, index)
    shares = f"softmax({dot} / {divisor_formula(trace.config, chosen.layer)})"
    return Check(
        all(each < TOLERANCE for each in off),
        Statement(
            "attn.{spot} is softmax({product} / {divisor}) over {tokens:token}, {shares}, and z.{spot} is the sum of "
            "these weights times v, {total}",
            "attn.{spot} 等于对 {tokens} 个词元的 softmax({product} / {divisor})，{shares}；"
            "z.{spot} 等于这些权重乘以 v 之和，{total}",
            product=product(trace.config),
            spot=spot,
            divisor=divisor_statement(trace.config, chosen.layer),
            tokens=integer(len(v), "position + 1"),
            shares=within(off[0], f"error(attn.{spot}, concat({shares}, zeros(len(ids) - {position + 1})))"),
            total=within(off[1], f"error(z.{spot}, {shares} @ v.{earlier})"),
        ),
    )


# F35


def _every_token(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    shown = window(trace, chosen.position)
    tokens = token_labels(trace)
    return (
        Note(
            LocalizedText(
                f"The same three steps for every token at once, layer {layer}, head {head} (counted from 0): one row "
                f"of weights and one sum for each. The sums go on into the rest of the block. "
                f"{omitted_tokens(trace).en}",
                f"同样的三步，所有词元同时进行，层 {layer}、头 {head}（从 0 数起）："
                f"每个词元得到一行权重和一个和，和再送入这一层其余的部分。{omitted_tokens(trace).zh}",
            )
        ),
        Grid(
            LocalizedText("weights", "权重"),
            part(trace, f"attn.{layer}", head, shown, shown),
            "share",
            tokens[shown],
            tokens[shown],
            LOOKS,
            SEEN,
        ),
        Grid(LocalizedText("sums", "和"), part(trace, f"z.{layer}", head, shown), "signed", tokens[shown]),
    )


def _check_every_token(trace: Trace, chosen: Selection) -> Check:
    q, k, v = (trace[f"{kind}.{chosen.layer}"][chosen.head].astype(np.float64) for kind in "qkv")
    raw = q @ k.T + relative_part(trace, chosen.layer)[chosen.head]
    scores = raw / trace.config.attention_divisor(chosen.layer)
    weights = softmax(np.where(np.tri(len(q), dtype=bool), scores, MASKED))
    attn, z = (trace[f"{kind}.{chosen.layer}"][chosen.head] for kind in ("attn", "z"))
    off = relative_error(attn, weights), relative_error(z, weights @ v)
    here = f"{chosen.layer}[{chosen.head}]"
    divided = divisor_formula(trace.config, chosen.layer)
    dot = product_formula(trace.config, f"q.{here} @ transpose(k.{here})", chosen.layer, f"[{chosen.head}]")
    shares = f"softmax(causal({dot} / {divided}))"
    return Check(
        all(each < TOLERANCE for each in off),
        Statement(
            "attn.{here} and z.{here} of {tokens:token} follow from q, k and v in these three steps, the weights "
            "{shares} and the sums {sums}",
            "全部 {tokens} 个词元的 attn.{here} 和 z.{here} 都可由 q、k、v 经这三步算出；权重：{shares}；和：{sums}",
            here=here,
            tokens=integer(len(q), "len(ids)"),
            shares=within(off[0], f"error(attn.{here}, {shares})"),
            sums=within(off[1], f"error(z.{here}, {shares} @ v.{here})"),
        ),
    )


FIGURES = (
    Figure(
        "F30",
        LocalizedText("How a token divides its attention", "一个词元如何分配注意力"),
        part=2,
        picture=28,
        tensors=("attn.L",),
        draw=_over_the_sentence,
        verify=check_weights,
    ),
    Figure(
        "F31",
        LocalizedText("Self-attention in three steps", "自注意力的三步"),
        part=2,
        picture=29,
        tensors=("q.L", "attn.L", "z.L"),
        draw=_three_steps,
        verify=_check_three_steps,
    ),
    Figure(
        "F35",
        LocalizedText("The three steps for every token", "所有词元的三步"),
        part=2,
        picture=33,
        tensors=("attn.L", "z.L"),
        draw=_every_token,
        verify=_check_every_token,
    ),
)
