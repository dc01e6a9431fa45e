"""Part 2 of the article: one token at a time - what is computed for it, what is kept, and what is used again."""

from collections.abc import Sequence

import numpy as np

from cutaway.engines.reference import block, embed, head
from cutaway.figures.article.decoding import beginning
from cutaway.figures.article.excerpts import TOLERANCE, apart, part, within
from cutaway.figures.article.part2_query_key_value import three_parts
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import QUERY_KEY_VALUE, many, place, token_labels
from cutaway.figures.panels import Box, Drawing, Entry, Grid, Note, Number, Panel, Table, Words
from cutaway.figures.render.text import short
from cutaway.layout import width
from cutaway.numerics import FloatArray
from cutaway.trace import Trace

BYTES = 4  # of a float32
MOST_LAYERS = 12  # that have a row in the grid of the cache
ALONE = Words(
    "The text has one token: no key and no value can be used again.", "文本只有一个词元：没有可以复用的键和值。"
)
COLOURS = {"q": "query", "k": "key", "v": "value"}


def decode(trace: Trace, position: int) -> Trace:
    """The text up to that position, read as a model with a cache does: all tokens before it are taken over."""
    before = beginning(trace, position, trace) if position else None
    return beginning(trace, position + 1, before)


def at_once(trace: Trace) -> Trace:
    """The text read in one pass: the trace itself, unless it took over a part from another."""
    return beginning(trace, len(trace)) if trace.work.positions_reused else trace


def first_word(trace: Trace) -> int:
    """The token after the one that starts the text, where there is one; the article's "a"."""
    return min(1, len(trace) - 1)


# F41


def _first_step(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position, layer, head = first_word(trace), chosen.layer, chosen.head
    spot, token = place(position), token_labels(trace)[position]
    return (
        Note(
            Words(
                f"{token}, {spot.en}, is read alone: in every layer its query, key and value are computed, as one "
                f"vector. Shown is layer {layer}, first the whole vector, then what head {head} has of it (both "
                "counted from 0).",
                f"单独读入{spot.zh}的 {token}：在每一层都计算它的查询、键和值，三者连成一个向量。"
                f"图中是第 {layer} 层：先是整个向量，再是第 {head} 个头所用的部分（都从 0 数起）。",
            )
        ),
        *three_parts(trace, layer, position),
        *(
            Grid(
                Words(f"{name.en} of head {head}", f"第 {head} 个头的{name.zh}"),
                part(trace, f"{kind}.{layer}", head, position),
                "signed",
            )
            for kind, name in QUERY_KEY_VALUE.items()
        ),
    )


def _kept(trace: Trace, chosen: Selection, position: int) -> Sequence[Panel]:
    """The key and the value of a token in every layer."""
    names = [str(layer) for layer in range(trace.config.n_layer)]
    return [
        Grid(
            Words(f"{QUERY_KEY_VALUE[kind].en}, a row for each layer", f"{QUERY_KEY_VALUE[kind].zh}，每层一行"),
            part(trace, f"cache.{kind}", slice(None), chosen.head, position),
            "signed",
            names,
        )
        for kind in "kv"
    ]


def _check_first_step(trace: Trace, chosen: Selection) -> Check:
    position, layers = first_word(trace), range(trace.config.n_layer)
    alone, together = decode(trace, position), at_once(trace)
    names = [f"{kind}.{layer}" for kind in "qkv" for layer in layers]
    parts = (np.stack([read[name][:, position] for name in names]) for read in (alone, together))
    whole = (np.stack([read[f"qkv.{layer}"][position] for layer in layers]) for read in (alone, together))
    off = max(apart(*parts), apart(*whole))
    now, near = alone.work.positions_computed, within(off)
    return Check(
        off < TOLERANCE and now == 1,
        Words(
            f"{now} of {many(position + 1, 'position')} computed; its qkv, q, k and v in {many(len(layers), 'layer')} "
            f"are those of the whole text read at once, {near.en}",
            f"{position + 1} 个位置中计算了 {now} 个；它在 {len(layers)} 层里的 qkv、q、k、v "
            f"与一次读完整段文本时相同，{near.zh}",
        ),
    )


# F42


def _cache(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    position = first_word(trace)
    spot, token = place(position), token_labels(trace)[position]
    return (
        Note(
            Words(
                f"Every layer keeps the key and the value of {token}, {spot.en}. The query is not kept: no later token "
                f"asks for it. Shown is head {chosen.head} of each layer (both counted from 0).",
                f"每一层都保留{spot.zh}的 {token} 的键和值。查询不保留：后面的词元用不到它。"
                f"图中是各层的第 {chosen.head} 个头（都从 0 数起）。",
            )
        ),
        Table(
            Words(f"the cache after {many(position + 1, 'token')}", f"读入 {position + 1} 个词元之后的缓存"),
            (
                Words("tensor", "张量"),
                Words("layers × heads × tokens × width", "层 × 头 × 词元 × 宽度"),
                Words("bytes", "字节"),
            ),
            [_size(trace, kind, position + 1) for kind in "kv"],
        ),
        _grid_of_cells(trace, position),
        *_kept(trace, chosen, position),
    )


def _grid_of_cells(trace: Trace, position: int) -> Table:
    """A row for each layer, a column for each token: what stood in the cache before, and what this step put there."""
    old, new = Words("kept", "保留"), Words("new", "新")
    layers = [str(layer) for layer in range(trace.config.n_layer)]
    if len(layers) > MOST_LAYERS:
        layers = [*layers[: MOST_LAYERS - 2], "…", layers[-1]]
    tokens = [short(token) for token in token_labels(trace)[: position + 1]]
    rows: list[Sequence[Entry]] = [(layer, *[old] * position, new) for layer in layers]
    return Table(
        Words("the cache: in each cell a key and a value of every head", "缓存：每格是每个头的一个键和一个值"),
        (Words("layer", "层"), *tokens),
        rows,
    )


def _shape(trace: Trace, tokens: int) -> tuple[int, ...]:
    return trace.config.n_layer, trace.config.n_head, tokens, trace.config.d_head


def _size(trace: Trace, kind: str, tokens: int) -> Sequence[str | Number]:
    shape = " × ".join(map(str, _shape(trace, tokens)))
    numbers = int(np.prod(_shape(trace, tokens)))
    return f"cache.{kind}", shape, Number(BYTES * numbers, f"{BYTES} * {shape.replace('×', '*')}", form=",")


def _check_cache(trace: Trace, chosen: Selection) -> Check:
    position = first_word(trace)
    step = decode(trace, position)
    names = [name for name in step.shapes() if name.startswith("cache.")]
    shapes = {step[name].shape for name in names}
    size, shape = sum(step[name].nbytes for name in names), ", ".join(map(str, sorted(shapes)))
    off = apart(_from_cache(trace, len(trace) - 1), trace.logits_at(-1))
    tokens, each, near = position + 1, size // (position + 1), within(off)
    return Check(
        names == ["cache.k", "cache.v"] and shapes == {_shape(trace, tokens)} and off < TOLERANCE,
        Words(
            f"the cache at length {tokens} is {' and '.join(names)}, each of shape {shape}: {size:,} bytes, {each:,} a "
            f"token; from keys and values alone, without any q before it, the last token has the same logits {near.en}",
            f"长度为 {tokens} 时，缓存由 {'、'.join(names)} 组成，形状都是 {shape}：共 {size:,} 字节，"
            f"每个词元 {each:,} 字节；只凭键和值、不用前面的任何 q，最后一个词元的 logit 相同，{near.zh}",
        ),
    )


def _from_cache(trace: Trace, position: int) -> FloatArray:
    """The logits (V,) of one token that is read with nothing but the keys and values of those before it."""
    config, weights, hook = trace.config, trace.weights, trace.edits(position)
    x = embed(weights, [trace.ids[position]], position, hook)  # (1, d)
    for layer in range(config.n_layer):
        past = trace["cache.k"][layer][:, :position], trace["cache.v"][layer][:, :position]
        x, _ = block(config, weights, layer, x, past if position else None, hook)
    logits: FloatArray = head(config, weights, x, hook)[0]
    return logits


# F43


def _second_step(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    if len(trace) == 1:
        return (Note(ALONE),)
    position = _second_word(trace)
    token, spot = token_labels(trace)[position], place(position)
    per_token = BYTES * 2 * trace.config.n_layer * trace.config.n_embd
    formula = f"{BYTES} * 2 * {trace.config.n_layer} * {trace.config.n_embd}"
    again = Number(per_token * position, f"{formula} * {position}", form=",")
    return (
        Note(
            Words(
                f"{token}, {spot.en}, comes next. Only its own query, key and value are computed; the keys and values "
                "of the tokens before it are in the cache, in every layer, and stay as they are.",
                f"接着是{spot.zh}的 {token}。只计算它自己的查询、键和值；"
                "它前面各个词元的键和值都在每一层的缓存里，保持不变。",
            )
        ),
        _columns(trace, position),
        Table(
            Words("bytes of keys and values, all layers", "键和值的字节数（所有层）"),
            (Words("used again", "复用"), Words("computed now", "新计算")),
            [(again, Number(per_token, formula, form=","))],
        ),
    )


def _second_word(trace: Trace) -> int:
    """The token after the first word, where there is one."""
    return min(2, len(trace) - 1)


def _columns(trace: Trace, position: int) -> Drawing:
    """A column for each token: its key and its value, and for the one that is read now its query."""
    shapes: list[Box] = []
    x = 0
    for i, token in enumerate(map(short, token_labels(trace)[: position + 1])):
        new = i == position
        wide = max(18, width(token) + 4)
        shapes.append(Box(x, 0, wide, 3, token, "token"))
        for y, kind in enumerate("qkv" if new else "kv", 1 if new else 2):
            shapes.append(Box(x, 4 * y, wide, 3, _state(kind, new), COLOURS[kind] if new else "reused"))
        x += wide + 2
    return Drawing(Words("in every layer", "在每一层"), shapes)


def _state(kind: str, new: bool) -> Words:
    name = QUERY_KEY_VALUE[kind]
    return Words(f"{name.en}: {'new' if new else 'kept'}", f"{name.zh}：{'新' if new else '保留'}")


def _check_second_step(trace: Trace, chosen: Selection) -> Check:
    if len(trace) == 1:
        return Check(True, ALONE)
    position = _second_word(trace)
    before = decode(trace, position - 1)
    after = beginning(trace, position + 1, before)
    old = [(before[name], after[name][:, :, :position]) for name in ("cache.k", "cache.v")]
    same = all(np.array_equal(mine, kept) for mine, kept in old)
    now, reused, size = after.work.positions_computed, after.work.positions_reused, sum(kept.nbytes for _, kept in old)
    return Check(
        same and now == 1 and reused == position,
        Words(
            f"{now} position computed and {reused} taken over; the {size:,} bytes of their keys and values are "
            f"{'the same bit for bit' if same else 'not the same'}",
            f"计算了 {now} 个位置，沿用了 {reused} 个；沿用的键和值共 {size:,} 字节，"
            f"{'逐位相同' if same else '并不相同'}",
        ),
    )


FIGURES = (
    Figure(
        "F41",
        Words("Reading one token: its query, key and value", "读入一个词元：它的查询、键和值"),
        part=2,
        picture=39,
        tensors=("qkv.L", "q.L", "k.L", "v.L"),
        draw=_first_step,
        verify=_check_first_step,
    ),
    Figure(
        "F42",
        Words("What every layer keeps: keys and values", "每一层保留什么：键和值"),
        part=2,
        picture=40,
        tensors=("cache.k", "cache.v"),
        draw=_cache,
        verify=_check_cache,
    ),
    Figure(
        "F43",
        Words("The next token uses them again", "下一个词元复用它们"),
        part=2,
        picture=41,
        tensors=("cache.k", "cache.v"),
        draw=_second_step,
        verify=_check_second_step,
    ),
)
