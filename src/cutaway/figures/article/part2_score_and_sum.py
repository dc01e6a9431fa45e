"""Part 2 of the article: one head at one token - scores, weights, weighted sum."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.accuracy import TOLERANCE, exact_scores, max_difference, relative_error, within
from cutaway.figures.article.attention_scale import (
    difference,
    divisor,
    divisor_formula,
    divisor_statement,
    product,
    product_formula,
)
from cutaway.figures.article.excerpts import MOST_ROWS, at, part, selection_text, with_count
from cutaway.figures.article.part2_kv_cache import at_once, decode
from cutaway.figures.article.part2_three_steps import check_sum
from cutaway.figures.article.token_columns import MOST_COLUMNS, TokenCell, TokenRow, draw_token_columns
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import THIS_MODEL, TOKEN, token_labels
from cutaway.figures.panels import Bars, Drawing, Entry, Grid, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.numerics import FloatArray, softmax, top_k
from cutaway.trace import Trace

SHOWN = 3  # numbers of a value vector in the table of F51

# F49


def _one_query(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    shown = slice(max(0, position + 1 - MOST_ROWS), position + 1)
    tokens = token_labels(trace)[shown]
    spot = selection_text(chosen)
    return (
        Note(
            LocalizedText(
                f"One query meets all keys up to its own: {spot.en}. The score of a token is {product(trace.config)} "
                f"divided by {divisor(trace.config, layer)}.{difference(trace.config).en} {_latest(shown).en}",
                f"一个查询遇上直到它自己为止的所有键：{spot.zh}。"
                f"一个词元的分数是 {product(trace.config)} 除以 {divisor(trace.config, layer)}。"
                f"{difference(trace.config).zh}{_latest(shown).zh}",
            )
        ),
        Grid(LocalizedText("the query", "查询"), part(trace, f"q.{layer}", head, position), "signed"),
        Grid(LocalizedText("the keys", "键"), part(trace, f"k.{layer}", head, shown), "signed", tokens),
        Bars(LocalizedText("scores", "分数"), tokens, part(trace, f"scores.{layer}", head, position, shown), "signed"),
    )


def _latest(shown: slice) -> LocalizedText:
    """Describe how many of the last tokens are shown; empty if all are."""
    if shown.start == 0:
        return LocalizedText("", "")
    n = shown.stop - shown.start
    return LocalizedText(
        f"The last {n} of {shown.stop:,} tokens are shown.", f"图中是 {shown.stop:,} 个词元里的最后 {n} 个。"
    )


def _check_one_query(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    exact = exact_scores(trace, layer, position, position + 1)[head]
    off = relative_error(trace[f"scores.{layer}"][head, position, : position + 1], exact)
    divided = divisor_formula(trace.config, layer)
    dot = f"k.{layer}[{head}, :{position + 1}] @ q.{layer}[{head}, {position}]"
    expected = f"{product_formula(trace.config, dot, layer, f'[{head}, {position}, :{position + 1}]')} / {divided}"
    return Check(
        off < TOLERANCE,
        Statement(
            "{name}: {count:score}, {low} to {high}, each {product} / {divisor}, {near}",
            "{name} 中的 {count} 个分数（{low} 至 {high}）都等于 {product} / {divisor}，{near}",
            product=product(trace.config),
            name=f"scores.{layer}[{head}, {position}]",
            count=integer(len(exact), "position + 1"),
            low=Number(float(exact.min()), f"min({expected})", form=".3f"),
            high=Number(float(exact.max()), f"max({expected})", form=".3f"),
            divisor=divisor_statement(trace.config, layer),
            near=within(off, f"error(scores.{layer}[{head}, {position}, :{position + 1}], {expected})"),
        ),
    )


# F50


def _cached_keys(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    shown = slice(max(0, position + 1 - MOST_ROWS), position + 1)
    tokens = token_labels(trace)
    spot = selection_text(chosen)
    kept = LocalizedText("kept", "保留")
    new = LocalizedText("new", "新")
    rows = [
        (
            tokens[key],
            new if key == position else kept,
            at(trace, f"scores.{layer}", head, position, key, form=".3f"),
            at(trace, f"attn.{layer}", head, position, key, form=".2%"),
        )
        for key in range(shown.start, shown.stop)
    ]
    return (
        Note(
            LocalizedText(
                f"The same scores as weights: {spot.en}. The keys of earlier tokens come out of the cache; only the "
                f"last is new. With or without a cache the weights are the same. {_latest(shown).en}",
                f"同样的分数变成权重：{spot.zh}。前面各个词元的键取自缓存，只有最后一个是新的。"
                f"有没有缓存，权重都一样。{_latest(shown).zh}",
            )
        ),
        _cached_columns(trace, chosen),
        Table(
            THIS_MODEL,
            (TOKEN, LocalizedText("key", "键"), LocalizedText("score", "分数"), LocalizedText("weight", "权重")),
            rows,
        ),
    )


def _cached_columns(trace: Trace, chosen: Selection) -> Drawing:
    """Draw the last keys with their scores and weights; cached keys have their own colour."""
    layer = chosen.layer
    position = chosen.position
    here = (chosen.head, position)
    keys = range(max(0, position + 1 - MOST_COLUMNS), position + 1)
    names = [TokenCell(f"k {key}", "key" if key == position else "reused") for key in keys]
    scores = [TokenCell(at(trace, f"scores.{layer}", *here, key, form=".2f"), "score") for key in keys]
    weights = [TokenCell(at(trace, f"attn.{layer}", *here, key, form=".0%"), "score") for key in keys]
    return draw_token_columns(
        with_count(
            LocalizedText(
                "only the last key is new, the others are in the cache", "只有最后一个键是新的，其余都在缓存里"
            ),
            len(keys),
            position + 1,
        ),
        token_labels(trace)[keys.start : keys.stop],
        [
            TokenRow(LocalizedText("key", "键"), names),
            TokenRow(LocalizedText("score", "分数"), scores),
            TokenRow("softmax", weights),
        ],
    )


def _check_cached_keys(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    position = chosen.position
    cached = decode(trace, position)
    with_cache = cached[f"attn.{layer}"][:, position]  # (H, position + 1)
    without = at_once(trace)[f"attn.{layer}"][:, position, : position + 1]
    off = max_difference(with_cache, without)
    reused = cached.work.positions_reused
    exact = exact_scores(trace, layer, position, position + 1)
    scores, attn = (trace[f"{kind}.{layer}"][:, position, : position + 1] for kind in ("scores", "attn"))
    wrong = max(relative_error(scores, exact), relative_error(attn, softmax(exact)))
    seen = f"[:, {position}, :{position + 1}]"
    divided = divisor_formula(trace.config, layer)
    dot = f"sum(q.{layer}[:, {position}, None] * k.{layer}[:, :{position + 1}], -1)"
    expected = f"{product_formula(trace.config, dot, layer, seen)} / {divided}"
    return Check(
        off < TOLERANCE and wrong < TOLERANCE and cached.work.positions_computed == 1,
        Statement(
            "{name} of {heads:head}: the token read alone after a cache of {reused}, and the whole text of "
            "{tokens:token} at once, differ by at most {off}; the scores are {product} / {divisor} and the weights "
            "their softmax, {near}",
            "{heads} 个头的 {name}：在 {reused} 个词元的缓存之后单独读入这个词元，与一次读完全部 {tokens} 个词元，"
            "最大相差 {off}；分数是 {product} / {divisor}，权重是这些分数的 softmax，{near}",
            product=product(trace.config),
            name=f"attn.{layer}[:, {position}]",
            heads=integer(len(without), "config.n_head"),
            reused=integer(reused, "position"),
            tokens=integer(len(trace), "len(ids)"),
            off=Number(
                off, f"difference(attn.{layer}(step({position}))[:, {position}], attn.{layer}{seen})", form=".1e"
            ),
            divisor=divisor_statement(trace.config, layer),
            near=within(
                wrong,
                f"max([error(scores.{layer}{seen}, {expected}), error(attn.{layer}{seen}, softmax({expected}))])",
            ),
        ),
    )


# F51


def _sum(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    spot = selection_text(chosen)
    shown = min(SHOWN, trace.config.d_head)
    width = trace.config.d_head
    few = LocalizedText(f"of {width} numbers the first {shown}", f"{width} 个数中的前 {shown} 个")
    if shown == width:
        few = LocalizedText(f"all {width} numbers", f"全部 {width} 个数")
    numbers = [f"v[{i}]" for i in range(shown)], [f"w · v[{i}]" for i in range(shown)]
    return (
        Note(
            LocalizedText(
                f"What the head passes on for the token: {spot.en}. Each value v is multiplied by its weight w, and "
                "the products are added: the sum is z, the head's output.",
                f"这个头为该词元传下去的内容：{spot.zh}。每个值 v 乘以权重 w，再把乘积相加：和就是 z，即这个头的输出。",
            )
        ),
        _sum_columns(trace, chosen),
        Table(
            LocalizedText(f"word, weight, value, weight × value: {few.en}", f"词元、权重、值、权重 × 值：{few.zh}"),
            (TOKEN, "w", *numbers[0], *numbers[1]),
            _terms(trace, chosen, shown),
        ),
        Grid(
            LocalizedText("the sum of all products, z", "所有乘积之和，z"),
            part(trace, f"z.{layer}", head, position),
            "signed",
        ),
    )


def _sum_columns(trace: Trace, chosen: Selection) -> Drawing:
    """Draw weight times value of the tokens with the largest weights, and the head's output at the right end."""
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    weights = trace[f"attn.{layer}"][head, position]
    values = trace[f"v.{layer}"][head]
    keys = sorted(map(int, top_k(weights, MOST_COLUMNS - 2)))
    shares = [TokenCell(at(trace, f"attn.{layer}", head, position, key, form=".0%"), "score") for key in keys]
    firsts = [TokenCell(at(trace, f"v.{layer}", head, key, 0, form=".3f"), "value") for key in keys]
    factors = [f"attn.{layer}[{head}, {position}, {key}] * v.{layer}[{head}, {key}, 0]" for key in keys]
    products = [
        TokenCell(Number(float(weights[key] * values[key, 0]), factor, form=".3f"), "value")
        for key, factor in zip(keys, factors, strict=True)
    ]
    z = TokenCell(at(trace, f"z.{layer}", head, position, 0, form=".3f"), "output")
    return draw_token_columns(
        with_count(
            LocalizedText(
                "the first number of each value, and of z, the sum of the row over all tokens",
                "各个值的第一个数，以及 z 的第一个数（这一行对所有词元的和）",
            ),
            len(keys),
            len(trace),
        ),
        [*(token_labels(trace)[key] for key in keys), "", "z[0]"],
        [
            TokenRow(LocalizedText("weight", "权重"), [*shares, None, None]),
            TokenRow("× v[0]", [*firsts, None, None]),
            TokenRow("= w · v[0]", [*products, None, z]),
        ],
    )


def _terms(trace: Trace, chosen: Selection, shown: int) -> Sequence[Sequence[Entry]]:
    """Tabulate each token (for a long text, those with the largest weights), the sum, z, and the largest difference."""
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    weights = trace[f"attn.{layer}"][head, position]
    values = trace[f"v.{layer}"][head]
    tokens = token_labels(trace)
    heaviest = np.sort(top_k(weights, MOST_ROWS))
    rows: list[Sequence[Entry]] = []
    for key in map(int, heaviest):
        factor = f"attn.{layer}[{head}, {position}, {key}]"
        value = f"v.{layer}[{head}, {key}"
        weight = at(trace, f"attn.{layer}", head, position, key, form=".2%")
        columns = range(shown)
        terms = [Number(float(weights[key] * values[key, i]), f"{factor} * {value}, {i}]", form=".3f") for i in columns]
        rows.append(
            (tokens[key], weight, *(at(trace, f"v.{layer}", head, key, i, form=".3f") for i in columns), *terms)
        )
    others = np.setdiff1d(np.arange(len(trace)), heaviest)
    if len(others):
        name = LocalizedText(f"{len(others):,} others", f"其余 {len(others):,} 个")
        rows.append(_total(name, chosen, weights[others], values[others], shown, "the others"))
    z = trace[f"z.{layer}"][head, position]
    off = float(np.abs(weights @ values - z).max())
    largest = Number(
        off,
        f"max(abs(attn.{layer}[{head}, {position}] @ v.{layer}[{head}] - z.{layer}[{head}, {position}]))",
        form=".1e",
    )
    nothing = [""] * shown
    return [
        *rows,
        _total(LocalizedText("sum", "和"), chosen, weights, values, shown, "all"),
        ("z", "", *nothing, *(at(trace, f"z.{layer}", head, position, i, form=".3f") for i in range(shown))),
        (LocalizedText("largest |sum − z|", "最大 |和 − z|"), "", *nothing, largest, *nothing[1:]),
    ]


def _total(
    name: LocalizedText, chosen: Selection, weights: FloatArray, values: FloatArray, shown: int, which: str
) -> Sequence[Entry]:
    """Sum the weights and the products of several tokens."""
    factor = f"attn.{chosen.layer}[{chosen.head}, {chosen.position}, j]"
    sums = weights @ values[:, :shown]
    products = [
        Number(float(total), f"sum of {factor} * v.{chosen.layer}[{chosen.head}, j, {i}] over {which}", form=".3f")
        for i, total in enumerate(sums)
    ]
    return name, Number(float(weights.sum()), f"sum of {factor} over {which}", form=".2%"), *[""] * shown, *products


FIGURES = (
    Figure(
        "F49",
        LocalizedText("One query, all keys", "一个查询与所有的键"),
        part=2,
        picture=47,
        tensors=("q.L", "k.L", "scores.L"),
        draw=_one_query,
        verify=_check_one_query,
    ),
    Figure(
        "F50",
        LocalizedText("Scores against cached keys", "与缓存中的键打分"),
        part=2,
        picture=48,
        tensors=("scores.L", "attn.L"),
        draw=_cached_keys,
        verify=_check_cached_keys,
    ),
    Figure(
        "F51",
        LocalizedText("The sum of one head", "一个头的加权和"),
        part=2,
        picture=49,
        tensors=("attn.L", "v.L", "z.L"),
        draw=_sum,
        verify=check_sum,
    ),
)
