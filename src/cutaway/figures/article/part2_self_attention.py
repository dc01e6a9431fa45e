"""Part 2 of the article: self-attention in three steps, query, key and value first."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import MASKED
from cutaway.figures.article.article_numbers import ATTENDED, article_cells
from cutaway.figures.article.excerpts import TOLERANCE, apart, cut, part, token_weights, where, window, within
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import LOOKS, SEEN, many, token_labels
from cutaway.figures.panels import Bars, Grid, Note, Panel, Words
from cutaway.numerics import softmax
from cutaway.trace import Trace

ILLUSTRATION = Words("the article's numbers, an illustration", "文章中的数字（示意）")


# F30


def _over_the_sentence(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name, spot = f"attn.{chosen.layer}", where(chosen)
    return (
        Note(
            Words(
                f"How one token divides its attention: {spot.en}. The bars sum to 1, and tokens after it get nothing.",
                f"一个词元如何分配它的注意力：{spot.zh}。各条之和为 1，它后面的词元一点也分不到。",
            )
        ),
        token_weights(
            trace,
            Words("this model: attention weights", "本模型：注意力权重"),
            part(trace, name, chosen.head, chosen.position),
            (chosen.position,),
        ),
        Bars(ILLUSTRATION, ATTENDED, article_cells("article.attention"), marked=(2,)),
    )


def check_weights(trace: Trace, chosen: Selection) -> Check:
    """Whether a token's weights sum to 1, and none is on a token after it."""
    row = trace[f"attn.{chosen.layer}"][chosen.head, chosen.position]
    off, after = abs(float(row.sum()) - 1), row[chosen.position + 1 :]
    name, near = f"attn.{chosen.layer}[{chosen.head}, {chosen.position}]", within(off)
    later = Words("there is no token after it", "它后面没有词元")
    if after.size:
        later = Words(
            f"the {len(after)} after it have {after.sum():g} together", f"它后面的 {len(after)} 个共得 {after.sum():g}"
        )
    return Check(
        off < 1e-5 and not after.any(),
        Words(
            f"{name} sums to 1 {near.en}; its largest weight, {row.max():.4f}, is on index {row.argmax()}; {later.en}",
            f"{name} 之和为 1，{near.zh}；最大的权重 {row.max():.4f} 在下标 {row.argmax()}；{later.zh}",
        ),
    )


# F31


def _three_steps(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, head, position = chosen.layer, chosen.head, chosen.position
    spot = where(chosen)
    return (
        Note(
            Words(
                f"What self-attention does for one token: {spot.en}. 1. Every token has a query, a key and a value "
                "(F32). 2. The token's query and each key give a weight (F33). 3. The values, each times its weight, "
                "are added up (F34).",
                f"自注意力为一个词元做的三步：{spot.zh}。1. 每个词元都有查询、键和值（F32）。"
                "2. 这个词元的查询与每个键得出一个权重（F33）。3. 各个值乘以各自的权重，再相加（F34）。",
            )
        ),
        Grid(Words("1. its query", "1. 它的查询"), part(trace, f"q.{layer}", head, position), "signed"),
        token_weights(
            trace,
            Words("2. the weight of each token", "2. 每个词元的权重"),
            part(trace, f"attn.{layer}", head, position),
            (position,),
        ),
        Grid(
            Words("3. the sum of the weighted values", "3. 加权后的值之和"),
            part(trace, f"z.{layer}", head, position),
            "signed",
        ),
    )


def _check_three_steps(trace: Trace, chosen: Selection) -> Check:
    position = chosen.position
    q, k, v = (trace[f"{kind}.{chosen.layer}"][chosen.head, : position + 1].astype(np.float64) for kind in "qkv")
    weights = np.zeros(len(trace))  # later tokens have none
    weights[: position + 1] = softmax(q[-1] @ k.T / np.sqrt(q.shape[-1]))
    attn, z = (trace[f"{kind}.{chosen.layer}"][chosen.head, position] for kind in ("attn", "z"))
    off = apart(attn, weights), apart(z, weights[: position + 1] @ v)
    spot, formula = f"{chosen.layer}[{chosen.head}, {position}]", f"softmax(q · k / √{q.shape[-1]})"
    shares, total = map(within, off)
    return Check(
        all(each < TOLERANCE for each in off),
        Words(
            f"attn.{spot} is {formula} over {many(len(k), 'token')}, {shares.en}, and z.{spot} is the sum of these "
            f"weights times v, {total.en}",
            f"attn.{spot} 等于对 {len(k)} 个词元的 {formula}，{shares.zh}；"
            f"z.{spot} 等于这些权重乘以 v 之和，{total.zh}",
        ),
    )


# F35


def _every_token(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, head = chosen.layer, chosen.head
    shown, tokens = window(trace, chosen.position), token_labels(trace)
    return (
        Note(
            Words(
                f"The same three steps for every token at once, layer {layer}, head {head} (counted from 0): one row "
                f"of weights and one sum for each. The sums go on into the rest of the block. {cut(trace).en}",
                f"同样的三步，所有词元同时进行，第 {layer} 层第 {head} 个头（从 0 数起）："
                f"每个词元得到一行权重和一个和，和再送入这一层其余的部分。{cut(trace).zh}",
            )
        ),
        Grid(
            Words("weights", "权重"),
            part(trace, f"attn.{layer}", head, shown, shown),
            "share",
            tokens[shown],
            tokens[shown],
            LOOKS,
            SEEN,
        ),
        Grid(Words("sums", "和"), part(trace, f"z.{layer}", head, shown), "signed", tokens[shown]),
    )


def _check_every_token(trace: Trace, chosen: Selection) -> Check:
    q, k, v = (trace[f"{kind}.{chosen.layer}"][chosen.head].astype(np.float64) for kind in "qkv")
    weights = softmax(np.where(np.tri(len(q), dtype=bool), q @ k.T / np.sqrt(q.shape[-1]), MASKED))
    attn, z = (trace[f"{kind}.{chosen.layer}"][chosen.head] for kind in ("attn", "z"))
    off = apart(attn, weights), apart(z, weights @ v)
    here, (shares, sums) = f"{chosen.layer}[{chosen.head}]", map(within, off)
    return Check(
        all(each < TOLERANCE for each in off),
        Words(
            f"attn.{here} and z.{here} of {many(len(q), 'token')} follow from q, k and v in these three steps, the "
            f"weights {shares.en} and the sums {sums.en}",
            f"全部 {len(q)} 个词元的 attn.{here} 和 z.{here} 都可由 q、k、v 经这三步算出；"
            f"权重：{shares.zh}；和：{sums.zh}",
        ),
    )


FIGURES = (
    Figure(
        "F30",
        Words("How a token divides its attention", "一个词元如何分配注意力"),
        part=2,
        picture=28,
        tensors=("attn.L",),
        draw=_over_the_sentence,
        verify=check_weights,
    ),
    Figure(
        "F31",
        Words("Self-attention in three steps", "自注意力的三步"),
        part=2,
        picture=29,
        tensors=("q.L", "attn.L", "z.L"),
        draw=_three_steps,
        verify=_check_three_steps,
    ),
    Figure(
        "F35",
        Words("The three steps for every token", "所有词元的三步"),
        part=2,
        picture=33,
        tensors=("attn.L", "z.L"),
        draw=_every_token,
        verify=_check_every_token,
    ),
)
