"""Part 2 of the article: the KV cache - decoding one token at a time and reusing keys and values."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import block, embed, lm_head
from cutaway.figures.article.accuracy import TOLERANCE, relative_error, within
from cutaway.figures.article.decoding import beginning
from cutaway.figures.article.excerpts import part, with_count
from cutaway.figures.article.part2_query_key_value import three_parts
from cutaway.figures.article.token_columns import MOST_COLUMNS, TokenCell, TokenRow, draw_token_columns
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import QUERY_KEY_VALUE, plural, position_text, short, token_labels
from cutaway.figures.panels import Box, Drawing, Grid, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.layout import width
from cutaway.numerics import FloatArray
from cutaway.trace import Trace

BYTES = 4  # of a float32
MOST_LAYERS = 12  # with a row in the grid of the cache
ALONE = LocalizedText(
    "The text has one token: no key and no value can be used again.", "文本只有一个词元：没有可以复用的键和值。"
)
COLOURS = {"q": "query", "k": "key", "v": "value"}


def decode(trace: Trace, position: int) -> Trace:
    """Trace the text up to a position with a KV cache: all tokens before it are reused."""
    before = beginning(trace, position, trace) if position else None
    return beginning(trace, position + 1, before)


def at_once(trace: Trace) -> Trace:
    """Trace the text in one pass; return the trace itself unless it reused another trace."""
    return beginning(trace, len(trace)) if trace.work.positions_reused else trace


def first_word(trace: Trace) -> int:
    """Return the position of the second token, the article's "a"; 0 if there is none."""
    return min(1, len(trace) - 1)


# F41


def _first_step(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position = first_word(trace)
    layer = chosen.layer
    head = chosen.head
    spot = position_text(position)
    token = token_labels(trace)[position]
    return (
        Note(
            LocalizedText(
                f"“{token}”, {spot.en}, is read alone: in every layer its query, key and value are computed, as one "
                f"vector. Shown is layer {layer}, first the whole vector, then what head {head} has of it (both "
                "counted from 0).",
                f"单独读入{spot.zh}的“{token}”：在每一层都计算它的查询、键和值，三者连成一个向量。"
                f"图中是层 {layer}：先是整个向量，再是头 {head} 所用的部分（都从 0 数起）。",
            )
        ),
        *three_parts(trace, layer, position),
        *(
            Grid(
                LocalizedText(f"{name.en} of head {head}", f"头 {head} 的{name.zh}"),
                part(trace, f"{kind}.{layer}", head, position),
                "signed",
            )
            for kind, name in QUERY_KEY_VALUE.items()
        ),
    )


def _kept(trace: Trace, chosen: Selection, position: int) -> Sequence[Panel]:
    """Draw a token's key and value in every layer."""
    names = [str(layer) for layer in range(trace.config.n_layer)]
    return [
        Grid(
            LocalizedText(f"{QUERY_KEY_VALUE[kind].en}, a row for each layer", f"{QUERY_KEY_VALUE[kind].zh}，每层一行"),
            part(trace, f"cache.{kind}", slice(None), chosen.head, position),
            "signed",
            names,
        )
        for kind in "kv"
    ]


def _check_first_step(trace: Trace, chosen: Selection) -> Check:
    position = first_word(trace)
    layers = range(trace.config.n_layer)
    alone = decode(trace, position)
    together = at_once(trace)
    names = [f"{kind}.{layer}" for kind in "qkv" for layer in layers]
    parts = (np.stack([read[name][:, position] for name in names]) for read in (alone, together))
    whole = (np.stack([read[f"qkv.{layer}"][position] for layer in layers]) for read in (alone, together))
    off = max(relative_error(*parts), relative_error(*whole))
    now = alone.work.positions_computed
    return Check(
        off < TOLERANCE and now == 1,
        Statement(
            "{now} of {positions:position} computed; its qkv, q, k and v in {layers:layer} are those of the whole text "
            "read at once, {near}",
            "{positions} 个位置中计算了 {now} 个；它在 {layers} 层里的 qkv、q、k、v 与一次读完整段文本时相同，{near}",
            now=integer(now, f"positions_computed(step({position}))"),
            positions=integer(position + 1, "min(2, len(ids))"),
            layers=integer(len(layers), "config.n_layer"),
            near=within(off, _decode_error(position)),
        ),
    )


# F42


def _cache(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position = first_word(trace)
    spot = position_text(position)
    token = token_labels(trace)[position]
    return (
        Note(
            LocalizedText(
                f"Every layer keeps the key and the value of “{token}”, {spot.en}. The query is not kept: no later "
                f"token asks for it. Shown is head {chosen.head} of each layer (both counted from 0).",
                f"每一层都保留{spot.zh}的“{token}”的键和值。查询不保留：后面的词元用不到它。"
                f"图中是各层的头 {chosen.head}（都从 0 数起）。",
            )
        ),
        Table(
            LocalizedText(f"the cache after {plural(position + 1, 'token')}", f"读入 {position + 1} 个词元之后的缓存"),
            (
                LocalizedText("tensor", "张量"),
                LocalizedText("layers × heads × tokens × width", "层 × 头 × 词元 × 宽度"),
                LocalizedText("bytes", "字节"),
            ),
            [_size(trace, kind, position + 1) for kind in "kv"],
        ),
        _grid_of_cells(trace, position),
        *_kept(trace, chosen, position),
    )


def _grid_of_cells(trace: Trace, position: int) -> Drawing:
    """Draw a row for each layer and a column for each token; the colour tells cached entries from new ones."""
    layers = [str(layer) for layer in range(trace.config.n_layer)]
    if len(layers) > MOST_LAYERS:
        layers = [*layers[: MOST_LAYERS - 2], "…", layers[-1]]
    first = max(0, position + 1 - MOST_COLUMNS)
    tokens = token_labels(trace)[first : position + 1]
    old = [TokenCell("k v", "reused")] * (len(tokens) - 1)
    rows = [
        TokenRow(LocalizedText(f"layer {layer}", f"层 {layer}"), [*old, TokenCell("k v", "key")])
        for layer in reversed(layers)
    ]
    return draw_token_columns(
        with_count(
            LocalizedText(
                "the cache: in each box a key and a value of every head; the last column is new",
                "缓存：每格是每个头的一个键和一个值，最后一列是新的",
            ),
            len(tokens),
            position + 1,
        ),
        tokens,
        rows,
        arrows=False,
    )


def _shape(trace: Trace, tokens: int) -> tuple[int, ...]:
    return trace.config.n_layer, trace.config.n_head, tokens, trace.config.d_head


def _size(trace: Trace, kind: str, tokens: int) -> Sequence[str | Number]:
    shape = " × ".join(map(str, _shape(trace, tokens)))
    numbers = int(np.prod(_shape(trace, tokens)))
    return f"cache.{kind}", shape, Number(BYTES * numbers, f"{BYTES} * {shape.replace('×', '*')}", form=",")


def _check_cache(trace: Trace, chosen: Selection) -> Check:
    position = first_word(trace)
    config = trace.config
    step = decode(trace, position)
    names = [name for name in step.shapes() if name.startswith("cache.")]
    shapes = {step[name].shape for name in names}
    size = sum(step[name].nbytes for name in names)
    off = relative_error(_from_cache(trace, len(trace) - 1), trace.logits_at(-1))
    tokens = position + 1
    per_token = f"{BYTES} * 2 * config.n_layer * config.n_head * config.d_head"
    return Check(
        names == ["cache.k", "cache.v"] and shapes == {_shape(trace, tokens)} and off < TOLERANCE,
        Statement(
            "the cache at length {tokens} is {names}, each of shape ({layers}, {heads}, {tokens}, {width}): {size} "
            "bytes, {each} a token; from keys and values alone, without any q before it, the last token has the same "
            "logits {near}",
            "长度为 {tokens} 时，缓存由 {names} 组成，形状都是 ({layers}, {heads}, {tokens}, {width})：共 {size} 字节，"
            "每个词元 {each} 字节；只凭键和值、不用前面的任何 q，最后一个词元的 logit 相同，{near}",
            tokens=integer(tokens, "min(2, len(ids))"),
            names=LocalizedText(" and ".join(names), "、".join(names)),
            layers=integer(config.n_layer, f"shape(cache.k(step({position})))[0]"),
            heads=integer(config.n_head, f"shape(cache.k(step({position})))[1]"),
            width=integer(config.d_head, f"shape(cache.k(step({position})))[3]"),
            size=integer(size, f"{per_token} * {tokens}"),
            each=integer(size // tokens, per_token),
            near=within(off, f"error(logits_from_cache({len(trace) - 1}), logits[-1])"),
        ),
    )


def _from_cache(trace: Trace, position: int) -> FloatArray:
    """Compute the logits (V,) of one token from the cached keys and values of the tokens before it."""
    config = trace.config
    weights = trace.weights
    hook = trace.edits(position)
    x = embed(weights, [trace.ids[position]], position, hook)  # (1, d)
    for layer in range(config.n_layer):
        past = trace["cache.k"][layer][:, :position], trace["cache.v"][layer][:, :position]
        x, _ = block(config, weights, layer, x, past if position else None, hook)
    logits: FloatArray = lm_head(config, weights, x, hook)[0]
    return logits


# F43


def _second_step(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    if len(trace) == 1:
        return (Note(ALONE),)
    position = _second_word(trace)
    token = token_labels(trace)[position]
    spot = position_text(position)
    per_token = BYTES * 2 * trace.config.n_layer * trace.config.n_embd
    formula = f"{BYTES} * 2 * {trace.config.n_layer} * {trace.config.n_embd}"
    again = Number(per_token * position, f"{formula} * {position}", form=",")
    return (
        Note(
            LocalizedText(
                f"“{token}”, {spot.en}, comes next. Only its own query, key and value are computed; the keys and "
                "values of the tokens before it are in the cache, in every layer, and stay as they are.",
                f"接着是{spot.zh}的“{token}”。只计算它自己的查询、键和值；"
                "它前面各个词元的键和值都在每一层的缓存里，保持不变。",
            )
        ),
        _columns(trace, position),
        Table(
            LocalizedText("bytes of keys and values, all layers", "键和值的字节数（所有层）"),
            (LocalizedText("used again", "复用"), LocalizedText("computed now", "新计算")),
            [(again, Number(per_token, formula, form=","))],
        ),
    )


def _second_word(trace: Trace) -> int:
    """Return the position of the third token, or the last position in a shorter text."""
    return min(2, len(trace) - 1)


def _columns(trace: Trace, position: int) -> Drawing:
    """Draw a column for each token: its key and value, and for the current token also its query."""
    shapes: list[Box] = []
    x = 0
    for i, token in enumerate(map(short, token_labels(trace)[: position + 1])):
        new = i == position
        wide = max(18, width(token) + 4)
        shapes.append(Box(x, 0, wide, 3, token, "token"))
        for y, kind in enumerate("qkv" if new else "kv", 1 if new else 2):
            shapes.append(Box(x, 4 * y, wide, 3, _state(kind, new), COLOURS[kind] if new else "reused"))
        x += wide + 2
    return Drawing(LocalizedText("in every layer", "在每一层"), shapes)


def _state(kind: str, new: bool) -> LocalizedText:
    name = QUERY_KEY_VALUE[kind]
    return LocalizedText(f"{name.en}: {'new' if new else 'kept'}", f"{name.zh}：{'新' if new else '保留'}")


def _check_second_step(trace: Trace, chosen: Selection) -> Check:
    if len(trace) == 1:
        return Check(True, Statement(ALONE.en, ALONE.zh))
    position = _second_word(trace)
    before = decode(trace, position - 1)
    after = beginning(trace, position + 1, before)
    old = [(before[name], after[name][:, :, :position]) for name in ("cache.k", "cache.v")]
    same = all(np.array_equal(mine, kept) for mine, kept in old)
    now = after.work.positions_computed
    reused = after.work.positions_reused
    return Check(
        same and now == 1 and reused == position,
        Statement(
            "{now} position computed and {reused} reused; the {size} bytes of their keys and values are {same}",
            "计算了 {now} 个位置，沿用了 {reused} 个；沿用的键和值共 {size} 字节，{same}",
            now=integer(now, f"positions_computed(step({position}))"),
            reused=integer(reused, f"positions_reused(step({position}))"),
            size=integer(
                sum(kept.nbytes for _, kept in old),
                f"{BYTES} * 2 * config.n_layer * config.n_head * config.d_head * {position}",
            ),
            same=LocalizedText("the same bit for bit", "逐位相同")
            if same
            else LocalizedText("not the same", "并不相同"),
        ),
    )


def _decode_error(position: int) -> str:
    """Return the formula of the error of a token's vectors in cached decoding, compared with one pass."""
    step = f"step({position})"
    heads = ", ".join(f"{kind}.L[:, {position}]" for kind in "qkv")
    heads_alone = ", ".join(f"{kind}.L({step})[:, {position}]" for kind in "qkv")
    return (
        f"max([error(stack([stack([{heads_alone}]) for L in layers]), stack([stack([{heads}]) for L in layers])), "
        f"error(stack([qkv.L({step})[{position}] for L in layers]), stack([qkv.L[{position}] for L in layers]))])"
    )


FIGURES = (
    Figure(
        "F41",
        LocalizedText("Reading one token: its query, key and value", "读入一个词元：它的查询、键和值"),
        part=2,
        picture=39,
        tensors=("qkv.L", "q.L", "k.L", "v.L"),
        draw=_first_step,
        verify=_check_first_step,
    ),
    Figure(
        "F42",
        LocalizedText("What every layer keeps: keys and values", "每一层保留什么：键和值"),
        part=2,
        picture=40,
        tensors=("cache.k", "cache.v"),
        draw=_cache,
        verify=_check_cache,
    ),
    Figure(
        "F43",
        LocalizedText("The next token uses them again", "下一个词元复用它们"),
        part=2,
        picture=41,
        tensors=("cache.k", "cache.v"),
        draw=_second_step,
        verify=_check_second_step,
    ),
)
