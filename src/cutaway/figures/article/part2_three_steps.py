"""Part 2 of the article: the three steps of self-attention one by one - vectors, scores, sum."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import MASKED as MASKED_SCORE
from cutaway.figures.article.accuracy import TOLERANCE, relative_error, within
from cutaway.figures.article.article_numbers import article_cells
from cutaway.figures.article.attention_scale import (
    difference,
    divisor,
    divisor_formula,
    divisor_meaning,
    divisor_statement,
    product,
)
from cutaway.figures.article.excerpts import at, omitted_tokens, part, selection_text, window, with_count
from cutaway.figures.article.part2_self_attention import ILLUSTRATION
from cutaway.figures.article.token_columns import MASKED, MOST_COLUMNS, TokenCell, TokenRow, draw_token_columns
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import QUERY_KEY_VALUE, THIS_MODEL, TOKEN, token_labels
from cutaway.figures.panels import Bars, Drawing, Grid, LocalizedText, Note, Number, Panel, Table, computed, integer
from cutaway.figures.statement import Statement
from cutaway.numerics import softmax, top_k
from cutaway.trace import Trace

# F32


def _queries_keys_values(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    shown = window(trace, chosen.position)
    tokens = token_labels(trace)[shown]
    return (
        Note(
            LocalizedText(
                f"Step 1, layer {chosen.layer}, head {chosen.head} (counted from 0): a token's normalised vector times "
                f"three parts of one matrix, plus a bias, is its query, its key and its value. "
                f"{omitted_tokens(trace).en}",
                f"第 1 步，层 {chosen.layer}、头 {chosen.head}（从 0 数起）："
                f"词元归一化后的向量分别乘以同一个矩阵的三部分，再加偏置，就得到它的查询、键和值。{omitted_tokens(trace).zh}",
            )
        ),
        *(
            Grid(
                LocalizedText(f"{name.en} of each token", f"每个词元的{name.zh}"),
                part(trace, f"{kind}.{chosen.layer}", chosen.head, shown),
                "signed",
                tokens,
            )
            for kind, name in QUERY_KEY_VALUE.items()
        ),
    )


def _check_queries_keys_values(trace: Trace, chosen: Selection) -> Check:
    layer = chosen.layer
    x = f"ln1.{layer}"
    matrix = f"h.{layer}.attn.c_attn"
    qkv = trace[x].astype(np.float64) @ trace[f"{matrix}.weight"] + trace[f"{matrix}.bias"]  # (T, 3d)
    ours = [np.concatenate(list(trace[f"{kind}.{layer}"]), axis=-1) for kind in "qkv"]
    off = relative_error(np.concatenate(ours, axis=-1), qkv)
    merged = ", ".join(f"merge_heads({kind}.{layer})" for kind in "qkv")
    return Check(
        off < TOLERANCE,
        Statement(
            "q, k and v of {tokens:token} are three times {width} columns of {x} @ {matrix}.weight + bias, {near}",
            "{tokens} 个词元的 q、k、v 各是 {x} @ {matrix}.weight + bias 中的 {width} 列，{near}",
            tokens=integer(len(trace), "len(ids)"),
            width=integer(trace.config.n_embd, "config.n_embd"),
            x=x,
            matrix=matrix,
            near=within(off, f"error(concat({merged}), {x} @ {matrix}.weight + {matrix}.bias)"),
        ),
    )


# F33


def _scores(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    spot = selection_text(chosen)
    config = trace.config
    meaning = divisor_meaning(config, chosen.layer)
    columns = (
        TOKEN,
        product(config),
        f"÷ {divisor(config, chosen.layer)}",
        LocalizedText("weight", "权重"),
        LocalizedText("without mask", "不加掩码"),
    )
    return (
        Note(
            LocalizedText(
                f"Step 2: {spot.en}. The query times each key is a score; divided by {meaning.en}, and put through "
                "the softmax, it is a weight. The article draws this step unmasked, as in the last column; in GPT-2 "
                f"later tokens have no weight.{difference(config).en} {omitted_tokens(trace).en}",
                f"第 2 步：{spot.zh}。查询与每个键的点积是分数；除以 {meaning.zh}，再经过 softmax，"
                f"就是权重。文章这一步没有画掩码，即最后一列；在 GPT-2 里，后面的词元没有权重。{difference(config).zh}"
                f"{omitted_tokens(trace).zh}",
            )
        ),
        _score_columns(trace, chosen),
        Table(THIS_MODEL, columns, _score_rows(trace, chosen)),
        Bars(ILLUSTRATION, ("1", "2", "3", "4"), article_cells("article.unmasked"), marked=(0,)),
    )


def _score_columns(trace: Trace, chosen: Selection) -> Drawing:
    """Draw the keys with the largest weights and the token's own key, and below each its values, step by step."""
    layer = chosen.layer
    here = (chosen.head, chosen.position)
    heaviest = top_k(trace[f"attn.{layer}"][here], MOST_COLUMNS - 1)
    shown = sorted({chosen.position, *map(int, heaviest)})
    tokens = token_labels(trace)

    def row(name: LocalizedText | str, tensor: str, form: str) -> TokenRow:
        numbers = [TokenCell(at(trace, f"{tensor}.{layer}", *here, key, form=form), "score") for key in shown]
        if tensor == "attn":
            numbers = [MASKED if key > chosen.position else cell for key, cell in zip(shown, numbers, strict=True)]
        return TokenRow(name, numbers)

    return draw_token_columns(
        with_count(
            LocalizedText(
                f"the query of “{tokens[chosen.position]}” meets the keys",
                f"“{tokens[chosen.position]}”的查询与各个键相遇",
            ),
            len(shown),
            len(trace),
        ),
        [tokens[key] for key in shown],
        [
            TokenRow(LocalizedText("key", "键"), [TokenCell(f"k {key}", "key") for key in shown]),
            row(f"× q {chosen.position}", "scores_raw", ".1f"),
            row(f"÷ {divisor(trace.config, layer)}", "scores", ".2f"),
            row("softmax", "attn", ".0%"),
        ],
    )


def _score_rows(trace: Trace, chosen: Selection) -> Sequence[Sequence[str | Number]]:
    layer = chosen.layer
    here = (chosen.head, chosen.position)
    unmasked = softmax(trace[f"scores.{layer}"][here])
    formula = f"softmax(scores.{layer}[{chosen.head}, {chosen.position}])"
    tokens = token_labels(trace)
    return [
        (
            tokens[key],
            at(trace, f"scores_raw.{layer}", *here, key, form=".3f"),
            at(trace, f"scores.{layer}", *here, key, form=".3f"),
            at(trace, f"attn.{layer}", *here, key, form=".2%"),
            Number(float(unmasked[key]), f"{formula}[{key}]", form=".2%"),
        )
        for key in range(*window(trace, chosen.position).indices(len(trace)))
    ]


def _check_scores(trace: Trace, chosen: Selection) -> Check:
    raw, scores, attn = (trace[f"{kind}.{chosen.layer}"][chosen.head] for kind in ("scores_raw", "scores", "attn"))
    scaled = raw.astype(np.float64) / trace.config.attention_divisor(chosen.layer)
    may_see = np.tri(len(trace), dtype=bool)
    off = relative_error(scores, scaled), relative_error(attn, softmax(np.where(may_see, scaled, MASKED_SCORE)))
    here = f"{chosen.layer}[{chosen.head}]"
    quotient = f"scores_raw.{here} / {divisor_formula(trace.config, chosen.layer)}"
    return Check(
        all(each < TOLERANCE for each in off),
        Statement(
            "scores.{here} is {product} divided by {divisor}, {divided}, and attn.{here} is the softmax of each row up "
            "to the diagonal, {shares}",
            "scores.{here} 等于 {product} 除以 {divisor}，{divided}；"
            "attn.{here} 等于每一行到对角线为止的 softmax，{shares}",
            here=here,
            product=product(trace.config),
            divisor=divisor_statement(trace.config, chosen.layer),
            divided=within(off[0], f"error(scores.{here}, {quotient})"),
            shares=within(off[1], f"error(attn.{here}, softmax(causal({quotient})))"),
        ),
    )


# F34


def _weighted_values(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    shown = window(trace, position)
    spot = selection_text(chosen)
    return (
        Note(
            LocalizedText(
                f"Step 3: {spot.en}. The smaller a token's weight, the paler its value; what is left of all values "
                f"is added up. {omitted_tokens(trace).en}",
                f"第 3 步：{spot.zh}。权重越小，值就越淡；再把所有词元剩下的部分加起来。{omitted_tokens(trace).zh}",
            )
        ),
        Grid(
            LocalizedText("values", "值"), part(trace, f"v.{layer}", head, shown), "signed", token_labels(trace)[shown]
        ),
        *weighted_values(trace, chosen),
    )


def weighted_values(trace: Trace, chosen: Selection) -> tuple[Grid, Grid]:
    """Draw each token's value times its weight, and the sum over all tokens."""
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    shown = window(trace, position)
    products = trace[f"attn.{layer}"][head, position, shown, None] * trace[f"v.{layer}"][head, shown]
    span = f"{shown.start}:{shown.stop}"
    formula = f"attn.{layer}[{head}, {position}, {span}, None] * v.{layer}[{head}, {span}]"
    title = LocalizedText("values times weights", "值乘以权重")
    return (
        Grid(title, computed(formula, products), "signed", token_labels(trace)[shown]),
        Grid(LocalizedText("their sum", "它们的和"), part(trace, f"z.{layer}", head, position), "signed", ("z",)),
    )


def check_sum(trace: Trace, chosen: Selection) -> Check:
    """Check that a head's output for a token is the weighted sum of all values."""
    layer = chosen.layer
    head = chosen.head
    position = chosen.position
    terms = trace[f"attn.{layer}"][head, position, :, None].astype(np.float64) * trace[f"v.{layer}"][head]  # (T, dh)
    off = relative_error(trace[f"z.{layer}"][head, position], terms.sum(axis=0))
    count, width = terms.shape
    name = f"z.{layer}[{head}, {position}]"
    return Check(
        off <= 1e-5,
        Statement(
            "{name} is the sum of {count:value} of {width:number}, each times its weight, {near}",
            "{name} 等于 {count} 个值（每个 {width} 个数）乘以各自的权重之和，{near}",
            name=name,
            count=integer(count, "len(ids)"),
            width=integer(width, "config.d_head"),
            near=within(off, f"error({name}, attn.{layer}[{head}, {position}] @ v.{layer}[{head}])"),
        ),
    )


FIGURES = (
    Figure(
        "F32",
        LocalizedText("Step 1: query, key and value", "第 1 步：查询、键和值"),
        part=2,
        picture=30,
        tensors=("q.L", "k.L", "v.L"),
        draw=_queries_keys_values,
        verify=_check_queries_keys_values,
    ),
    Figure(
        "F33",
        LocalizedText("Step 2: scores and weights", "第 2 步：分数与权重"),
        part=2,
        picture=31,
        tensors=("scores_raw.L", "scores.L", "attn.L"),
        draw=_scores,
        verify=_check_scores,
    ),
    Figure(
        "F34",
        LocalizedText("Step 3: the sum of weighted values", "第 3 步：加权求和"),
        part=2,
        picture=32,
        tensors=("attn.L", "v.L", "z.L"),
        draw=_weighted_values,
        verify=check_sum,
    ),
)
