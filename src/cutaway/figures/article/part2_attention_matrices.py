"""Part 2 of the article: masked self-attention as matrices - queries times keys, the mask, the softmax."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import MASKED
from cutaway.figures.article.accuracy import TOLERANCE, relative_error, relative_part, span, within
from cutaway.figures.article.article_numbers import NUMBERS, WORDS, article_cells
from cutaway.figures.article.attention_scale import product, product_formula
from cutaway.figures.article.excerpts import MOST_BARS, at, omitted_tokens, part, window
from cutaway.figures.article.part2_masked_self_attention import HIDDEN
from cutaway.figures.article.part2_self_attention import ILLUSTRATION
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import LOOKS, QUERY_KEY_VALUE, SEEN, plural, position_text, token_labels
from cutaway.figures.panels import Grid, LocalizedText, Note, Number, Panel, computed, integer
from cutaway.figures.statement import Statement
from cutaway.numerics import softmax
from cutaway.trace import Trace

# F38


def _dot_products(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    query = chosen.position
    key = _best_key(trace, chosen)
    shown = window(trace, query)
    tokens = token_labels(trace)
    width = trace.config.d_head
    dot = product(trace.config)
    added = (" and scores_rel", "再加上 scores_rel") if trace.config.relative_positions else ("", "")
    return (
        Note(
            LocalizedText(
                f"Every query times every key, layer {layer}, head {head} (counted from 0). Below, one cell is opened, "
                f"the heaviest of its row: {position_text(query).en} looks at {position_text(key).en}. Its score is "
                f"the sum of {plural(width, 'product')}{added[0]}. {omitted_tokens(trace).en}",
                f"每个查询乘以每个键，层 {layer}、头 {head}（从 0 数起）。"
                f"下面拆开一格，即这一行里权重最大的一格：{position_text(query).zh}看{position_text(key).zh}。"
                f"它的分数是 {width} 个乘积之和{added[1]}。{omitted_tokens(trace).zh}",
            )
        ),
        Grid(
            LocalizedText(f"{dot}, before scaling and mask", f"{dot}，缩放和掩码之前"),
            part(trace, f"scores_raw.{layer}", head, shown, shown),
            "signed",
            tokens[shown],
            tokens[shown],
            LOOKS,
            SEEN,
        ),
        *_opened(trace, chosen, key),
    )


def _opened(trace: Trace, chosen: Selection, key: int) -> Sequence[Grid]:
    """Draw a query, a key, and their elementwise products, whose sum is the score."""
    head = chosen.head
    tokens = token_labels(trace)
    strips = []
    names = []
    for kind, position in (("q", chosen.position), ("k", key)):
        cells = part(trace, f"{kind}.{chosen.layer}", head, position)
        name = QUERY_KEY_VALUE[kind]
        title = LocalizedText(f"{name.en} of “{tokens[position]}”", f"“{tokens[position]}”的{name.zh}")
        strips.append(Grid(title, cells, "signed"))
        names.append(f"{kind}.{chosen.layer}[{head}, {position}]")
    products = strips[0].cells.values * strips[1].cells.values
    title = LocalizedText("their products, number by number", "逐个相乘")
    return *strips, Grid(title, computed(" * ".join(names), products), "signed")


def _best_key(trace: Trace, chosen: Selection) -> int:
    """Return the key with the largest weight at the position."""
    return int(trace[f"attn.{chosen.layer}"][chosen.head, chosen.position].argmax())


def _check_dot_products(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    q, k = (trace[f"{kind}.{layer}"][head].astype(np.float64) for kind in "qk")
    raw = trace[f"scores_raw.{layer}"][head]
    key = _best_key(trace, chosen)
    terms = q[position] * k[key]
    off = relative_error(raw, q @ k.T + relative_part(trace, layer)[head])
    here = f"{layer}[{head}]"
    expected = product_formula(trace.config, f"q.{here} @ transpose(k.{here})", layer, f"[{head}]")
    return Check(
        off < TOLERANCE,
        Statement(
            "{products:product} sum to {total} and {score} is {printed}; {scores:score} of the head: each is "
            "{product}, {near}",
            "{products} 个乘积之和为 {total}，{score} 为 {printed}；这个头的全部 {scores} 个分数都是 {product}，{near}",
            product=product(trace.config),
            products=integer(terms.size, "config.d_head"),
            total=Number(float(terms.sum()), f"q.{layer}[{head}, {position}] @ k.{layer}[{head}, {key}]"),
            score=f"scores_raw.{layer}[{head}, {position}, {key}]",
            printed=at(trace, f"scores_raw.{layer}", head, position, key),
            scores=integer(raw.size, "len(ids) * len(ids)"),
            near=within(off, f"error(scores_raw.{here}, {expected})"),
        ),
    )


# F39


def _mask(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    shown = window(trace, chosen.position)
    tokens = token_labels(trace)[shown]
    names = LocalizedText("scores", "分数"), LocalizedText("masked scores", "掩码后的分数")
    return (
        Note(
            LocalizedText(
                f"The mask, layer {layer}, head {head} (counted from 0): every score above the diagonal becomes "
                f"{HIDDEN}, as in OpenAI's code; all others stay. The article draws minus infinity, and prints its "
                f"scores before they are scaled. {omitted_tokens(trace).en}",
                f"掩码，层 {layer}、头 {head}（从 0 数起）：对角线右上方的分数都变成 {HIDDEN}，"
                f"与 OpenAI 的代码相同，其余不变。文章画的是负无穷，给出的是缩放之前的分数。{omitted_tokens(trace).zh}",
            )
        ),
        *(
            Grid(name, part(trace, f"{kind}.{layer}", head, shown, shown), "signed", tokens, tokens, LOOKS, SEEN)
            for kind, name in zip(("scores", "masked"), names, strict=True)
        ),
        *(
            Grid(
                LocalizedText(f"{ILLUSTRATION.en}: {name.en}", f"{ILLUSTRATION.zh}：{name.zh}"),
                article_cells(f"article.{kind}"),
                "signed",
                WORDS,
                WORDS,
            )
            for kind, name in zip(("scores", "masked"), names, strict=True)
        ),
    )


def _check_mask(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    scores, masked, attn = (trace[f"{kind}.{layer}"] for kind in ("scores", "masked", "attn"))
    earlier = np.tri(len(trace), dtype=bool)
    kept = bool(np.array_equal(masked[:, earlier], scores[:, earlier]))
    hidden = masked[:, ~earlier]
    leaked = attn[:, ~earlier]
    others = LocalizedText("stay bit for bit", "逐位不变") if kept else LocalizedText("change", "有变化")
    if not hidden.size:
        alone = Statement(
            "no score of one token is masked: the scores {others}",
            "只有一个词元，没有分数被遮住：分数{others}",
            others=others,
        )
        return Check(kept, alone)
    return Check(
        kept and bool((hidden == MASKED).all()) and not leaked.any(),
        Statement(
            "{above} of {size} scores a head are above the diagonal: they become {now} and their weights are at most "
            "{most}; the others {others}",
            "每个头的 {size} 个分数中，对角线右上方有 {above} 个：它们变成 {now}，权重最大为 {most}；其余的{others}",
            above=integer(hidden.size // len(masked), "len(ids) * (len(ids) - 1) / 2"),
            size=integer(earlier.size, "len(ids) * len(ids)"),
            now=span(hidden, f"above_diagonal(masked.{layer})"),
            most=Number(float(leaked.max()), f"max(above_diagonal(attn.{layer}))", form="g"),
            others=others,
        ),
    )


# F40


def _softmax(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    name = f"attn.{chosen.layer}"
    tokens = token_labels(trace)
    fits = len(tokens) <= MOST_BARS  # one line for each token, else one line for all
    sums = computed(f"{name}[{chosen.head}].sum(-1)", trace[name][chosen.head].sum(axis=-1, keepdims=fits))
    return (
        Note(
            LocalizedText(
                f"The softmax of each row of masked scores, layer {chosen.layer}, head {chosen.head} (counted from 0): "
                "how much of each token's value a token takes. Weights right of the diagonal are 0.",
                f"层 {chosen.layer}、头 {chosen.head}（从 0 数起）：对掩码后的每一行分数取 softmax，"
                "得到每个词元从各个词元的值里取多少。对角线右侧的权重都是 0。",
            )
        ),
        Grid(
            LocalizedText("this model: attention weights", "本模型：注意力权重"),
            part(trace, name, chosen.head),
            "share",
            tokens,
            tokens,
            LOOKS,
            SEEN,
        ),
        Grid(LocalizedText("sum of each row", "每行之和"), sums, "share", tokens if fits else ()),
        *_the_articles(),
    )


def _the_articles() -> Sequence[Panel]:
    """Draw the article's table of weights, and state the divisor that its scores need to give these weights."""
    return (
        Grid(ILLUSTRATION, article_cells("article.softmax"), "share", WORDS, WORDS, LOOKS, SEEN),
        Note(
            LocalizedText(
                "The article's scores give its weights when they are first divided by 4, the square root of 16, and "
                "not as they are: GPT-2 divides by the square root of a head's width, which the article does not "
                "mention.",
                "文章中的分数先除以 4（16 的平方根）才能得到它的权重，直接取 softmax 则不能："
                "GPT-2 会除以头的维度 d_head 的平方根，文章没有提到这一步。",
            )
        ),
    )


def _check_softmax(trace: Trace, chosen: Selection) -> Check:
    name = f"attn.{chosen.layer}"
    attn = trace[name]
    off = float(np.abs(attn.sum(axis=-1) - 1).max())
    later = float(np.abs(np.triu(attn, 1)).max())
    printed = np.round(softmax(np.where(np.tri(4, dtype=bool), NUMBERS["article.scores"] / 4, MASKED)), 2)
    follows = bool(np.allclose(printed, NUMBERS["article.softmax"], atol=1e-6))
    return Check(
        off < 1e-5 and later == 0 and follows,
        Statement(
            "rows of {name} sum to 1 {near}, weights of later tokens are at most {later}, the article's table "
            "{follows} from its scores divided by 4",
            "{name} 每行之和为 1，{near}；对后面词元的权重最大为 {later}；文章的表{follows}由它的分数除以 4 得出",
            name=name,
            near=within(off, f"max(abs(sum({name}, -1) - 1))"),
            later=Number(later, f"max(abs(above_diagonal({name})))", form="g"),
            follows=LocalizedText("follows", "可以") if follows else LocalizedText("does not follow", "不能"),
        ),
    )


FIGURES = (
    Figure(
        "F38",
        LocalizedText("Queries times keys", "查询乘以键"),
        part=2,
        picture=36,
        tensors=("q.L", "k.L", "scores_raw.L"),
        draw=_dot_products,
        verify=_check_dot_products,
    ),
    Figure(
        "F39",
        LocalizedText("The mask hides later scores", "掩码遮住后面的分数"),
        part=2,
        picture=37,
        tensors=("scores.L", "masked.L"),
        draw=_mask,
        verify=_check_mask,
    ),
    Figure(
        "F40",
        LocalizedText("Softmax: scores become weights", "Softmax：分数变成权重"),
        part=2,
        picture=38,
        tensors=("attn.L",),
        draw=_softmax,
        verify=_check_softmax,
    ),
)
