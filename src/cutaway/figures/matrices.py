"""Part 2 of the article: masked self-attention as matrices - queries times keys, the mask, the softmax."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article import NUMBERS, WORDS, article_cells
from cutaway.figures.attention import ILLUSTRATION, LOOKS, SEEN
from cutaway.figures.content import Check, Grid, Note, Panel, Selection, Words, computed
from cutaway.figures.labels import place, token_labels
from cutaway.figures.masked import HIDDEN
from cutaway.figures.registry import Figure
from cutaway.figures.views import MOST_BARS, TOLERANCE, apart, cut, part, span, window, within
from cutaway.reference import MASKED, softmax
from cutaway.trace import Trace

# F38


def _dot_products(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, head, query = chosen.layer, chosen.head, chosen.position
    key = _best_key(trace, chosen)
    shown, tokens = window(trace, query), token_labels(trace)
    products = trace[f"q.{layer}"][head, query] * trace[f"k.{layer}"][head, key]
    pair = Words(f"{place(query).en} and {place(key).en}", f"{place(query).zh}与{place(key).zh}")
    return (
        Note(
            Words(
                f"Every query times every key, layer {layer}, head {head} (counted from 0). Below, the cell of "
                f"{pair.en}, the heaviest of its row, is opened: {products.size} products, whose sum is the score. "
                f"{cut(trace).en}",
                f"每个查询乘以每个键，第 {layer} 层第 {head} 个头（从 0 数起）。下面拆开{pair.zh}的一格，"
                f"即该行权重最大的一格：{products.size} 个乘积，它们之和就是分数。{cut(trace).zh}",
            )
        ),
        Grid(
            Words("q · k, before scaling and mask", "q · k，缩放和掩码之前"),
            part(trace, f"scores_raw.{layer}", head, shown, shown),
            "size",
            tokens[shown],
            tokens[shown],
            LOOKS,
            SEEN,
        ),
        *(
            Grid(
                Words(f"{en} of {tokens[at]}", f"{tokens[at]} 的{zh}"),
                part(trace, f"{kind}.{layer}", head, at),
                "signed",
            )
            for kind, en, zh, at in (("q", "query", "查询", query), ("k", "key", "键", key))
        ),
        Grid(
            Words("their products, number by number", "逐个相乘"),
            computed(f"q.{layer}[{head}, {query}] * k.{layer}[{head}, {key}]", products),
            "signed",
        ),
    )


def _best_key(trace: Trace, chosen: Selection) -> int:
    """The key that the position gives most weight to."""
    return int(trace[f"attn.{chosen.layer}"][chosen.head, chosen.position].argmax())


def _check_dot_products(trace: Trace, chosen: Selection) -> Check:
    q, k = (trace[f"{kind}.{chosen.layer}"][chosen.head].astype(np.float64) for kind in "qk")
    raw, key = trace[f"scores_raw.{chosen.layer}"][chosen.head], _best_key(trace, chosen)
    terms = q[chosen.position] * k[key]
    off = apart(raw, q @ k.T)
    return Check(
        off < TOLERANCE,
        f"the {terms.size} products sum to {terms.sum():.4f} and scores_raw.{chosen.layer}[{chosen.head}, "
        f"{chosen.position}, {key}] is {raw[chosen.position, key]:.4f}; all {raw.size} scores of the head are q · k, "
        f"{within(off)}",
    )


# F39


def _mask(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer, head = chosen.layer, chosen.head
    shown = window(trace, chosen.position)
    tokens = token_labels(trace)[shown]
    names = Words("scores", "分数"), Words("masked scores", "掩码后的分数")
    return (
        Note(
            Words(
                f"The mask, layer {layer}, head {head} (counted from 0): every score above the diagonal becomes "
                f"{HIDDEN}, as in OpenAI's code; all others stay. The article draws minus infinity, and prints its "
                f"scores before they are scaled. {cut(trace).en}",
                f"掩码，第 {layer} 层第 {head} 个头（从 0 数起）：对角线右上方的分数都变成 {HIDDEN}，"
                f"与 OpenAI 的代码相同，其余不变。文章画的是负无穷，给出的是缩放之前的分数。{cut(trace).zh}",
            )
        ),
        *(
            Grid(name, part(trace, f"{kind}.{layer}", head, shown, shown), "size", tokens, tokens, LOOKS, SEEN)
            for kind, name in zip(("scores", "masked"), names, strict=True)
        ),
        *(
            Grid(
                Words(f"{ILLUSTRATION.en}: {name.en}", f"{ILLUSTRATION.zh}：{name.zh}"),
                article_cells(f"article.{kind}"),
                "size",
                WORDS,
                WORDS,
            )
            for kind, name in zip(("scores", "masked"), names, strict=True)
        ),
    )


def _check_mask(trace: Trace, chosen: Selection) -> Check:
    scores, masked, attn = (trace[f"{kind}.{chosen.layer}"] for kind in ("scores", "masked", "attn"))
    earlier = np.tri(len(trace), dtype=bool)
    kept = bool(np.array_equal(masked[:, earlier], scores[:, earlier]))
    hidden, leaked = masked[:, ~earlier], attn[:, ~earlier]
    if not hidden.size:
        return Check(kept, "the text has one token, so no score is masked, and the one there is stays as it is")
    return Check(
        kept and bool((hidden == MASKED).all()) and not leaked.any(),
        f"{hidden.size // len(masked)} of {earlier.size} scores a head are above the diagonal: they become "
        f"{span(hidden)} and their weights are at most {leaked.max():g}; the others "
        f"{'stay bit for bit' if kept else 'change'}",
    )


# F40


def _softmax(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name = f"attn.{chosen.layer}"
    tokens = token_labels(trace)
    attn = trace[name]
    fits = len(tokens) <= MOST_BARS  # a line for each token; else all on one
    sums = attn[chosen.head].sum(axis=-1, keepdims=fits)
    return (
        Note(
            Words(
                f"The softmax of each row of masked scores, layer {chosen.layer}, head {chosen.head} (counted from 0): "
                "how much of each token's value a token takes. Weights right of the diagonal are 0.",
                f"第 {chosen.layer} 层第 {chosen.head} 个头（从 0 数起）：对掩码后的每一行分数取 softmax，"
                "得到每个词从各个词的值里取多少。对角线右侧的权重都是 0。",
            )
        ),
        Grid(
            Words("this model: attention weights", "本模型：注意力权重"),
            part(trace, name, chosen.head),
            "share",
            tokens,
            tokens,
            LOOKS,
            SEEN,
        ),
        Grid(
            Words("sum of each row", "每行之和"),
            computed(f"{name}[{chosen.head}].sum(-1)", sums),
            "share",
            tokens if fits else (),
        ),
        Grid(ILLUSTRATION, article_cells("article.softmax"), "share", WORDS, WORDS, LOOKS, SEEN),
        Note(
            Words(
                "The article's scores give its weights when they are first divided by 4, the square root of 16, and "
                "not as they are: GPT-2 divides by the square root of a head's width, which the article does not "
                "mention.",
                "文章中的分数先除以 4（16 的平方根）才能得到它的权重，直接取 softmax 则不能："
                "GPT-2 会除以每个头宽度的平方根，文章没有提到这一步。",
            )
        ),
    )


def _check_softmax(trace: Trace, chosen: Selection) -> Check:
    attn = trace[f"attn.{chosen.layer}"]
    off = float(np.abs(attn.sum(axis=-1) - 1).max())
    later = float(np.abs(np.triu(attn, 1)).max())
    printed = np.round(softmax(np.where(np.tri(4, dtype=bool), NUMBERS["article.scores"] / 4, MASKED)), 2)
    as_printed = bool(np.allclose(printed, NUMBERS["article.softmax"], atol=1e-6))
    return Check(
        off < 1e-5 and later == 0 and as_printed,
        f"rows of attn.{chosen.layer} sum to 1 within {off:.1e}, weights of later tokens are at most {later:g}, "
        f"the article's table {'follows' if as_printed else 'does not follow'} from its scores divided by 4",
    )


FIGURES = (
    Figure(
        "F38",
        Words("Queries times keys", "查询乘以键"),
        part=2,
        picture=36,
        status="live",
        tensors=("q.L", "k.L", "scores_raw.L"),
        draw=_dot_products,
        verify=_check_dot_products,
    ),
    Figure(
        "F39",
        Words("The mask hides later scores", "掩码遮住后面的分数"),
        part=2,
        picture=37,
        status="live",
        tensors=("scores.L", "masked.L"),
        draw=_mask,
        verify=_check_mask,
    ),
    Figure(
        "F40",
        Words("Softmax: scores become weights", "Softmax：分数变成权重"),
        part=2,
        picture=38,
        status="live",
        tensors=("attn.L",),
        draw=_softmax,
        verify=_check_softmax,
    ),
)
