"""Part 1 of the article: sizes of the published models and of the loaded model, and the slots of the context."""

from collections.abc import Sequence

import numpy as np

from cutaway.config import PUBLISHED, GPT2Config
from cutaway.figures.article.accuracy import max_difference
from cutaway.figures.article.part1_transformer_blocks import FEED_FORWARD, MASKED_ATTENTION, MORE, tower, tower_height
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import HOW_MANY, THIS_MODEL, WHAT, short, token_labels
from cutaway.figures.panels import (
    Box,
    Drawing,
    Entry,
    Grid,
    Label,
    Line,
    LocalizedText,
    Note,
    Number,
    Panel,
    Shapes,
    Table,
    Text,
    computed,
    integer,
)
from cutaway.figures.statement import Statement
from cutaway.layout import width
from cutaway.trace import Trace

LEAST_AREA = 24  # of the smallest model's box in F03, in characters
# the scale of F07
BLOCKS_A_LINE = 4
WIDTH_A_CHARACTER = 64
ROOM = 72  # maximum width of a row of slots, in characters

FIELDS = (
    ("n_layer", LocalizedText("blocks", "块数")),
    ("n_embd", LocalizedText("width of a vector", "向量维度")),
    ("n_head", LocalizedText("heads in a block", "每块的头数")),
    ("n_ctx", LocalizedText("slots", "槽位数")),
    ("n_vocab", LocalizedText("tokens in the vocabulary", "词表大小")),
    ("n_params", LocalizedText("parameters", "参数")),
)


def _whole(config: GPT2Config, field: str, model: str = "config") -> Number:
    return Number(getattr(config, field), f"{model}.{field}", form=",")


def _four_sizes(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    rows: list[list[Entry]] = [
        [model.name, model.first_size, model.size, _whole(model.config, "n_params", model.name)] for model in PUBLISHED
    ]
    rows.append([THIS_MODEL, "", "", _whole(trace.config, "n_params")])
    headings = [
        LocalizedText("model", "模型"),
        LocalizedText("at first called", "最初的叫法"),
        LocalizedText("now called", "现在的叫法"),
        LocalizedText("parameters, counted", "参数个数（实际数出）"),
    ]
    return (
        Note(
            LocalizedText(
                "OpenAI published four sizes. Each has two names, because OpenAI counted the parameters wrongly at "
                "first. A box's area stands for the number of parameters.",
                "OpenAI 发布了四种尺寸。每种都有两个叫法，因为 OpenAI 最初把参数个数数错了。"
                "方框的面积与参数个数成正比。",
            )
        ),
        Drawing(LocalizedText("the four published sizes", "已发布的四种尺寸"), _boxes_by_parameters()),
        Table(LocalizedText("parameters", "参数"), headings, rows),
    )


def _boxes_by_parameters() -> Shapes:
    """Draw four boxes on one baseline, about three characters wide for each line of height."""
    shapes: Shapes = []
    areas = [LEAST_AREA * model.config.n_params / PUBLISHED[0].config.n_params for model in PUBLISHED]
    base = round((areas[-1] / 3) ** 0.5)
    x = 0
    for model, area in zip(PUBLISHED, areas, strict=True):
        high = round((area / 3) ** 0.5)
        wide = round(area / high)
        first = LocalizedText(f"was {model.first_size}", f"原{model.first_size}")
        shapes += [Box(x, base - high, wide, high, model.size, "weights"), Label(x, base, first)]
        x += wide + 2
    return shapes


def _check_sizes(trace: Trace, chosen: Selection) -> Check:
    counted = [model.config.n_params for model in PUBLISHED]
    named = [round(count / 1e6) == int(model.size[:-1]) for count, model in zip(counted, PUBLISHED, strict=True)]
    first = [round(count / 1e6) == int(model.first_size[:-1]) for count, model in zip(counted, PUBLISHED, strict=True)]
    loaded = sum(tensor.size for tensor in trace.weights.values())
    return Check(
        all(named) and not any(first) and loaded == trace.config.n_params,
        Statement(
            "counted {counted}: {named} of {models} round to the size that OpenAI says now, {first} to the one it said "
            "first; this model's weights hold {loaded} numbers",
            "数出 {counted}：{models} 个中有 {named} 个舍入后与 OpenAI 现在的叫法相符，{first} 个与最初的叫法相符；"
            "本模型的权重共有 {loaded} 个数",
            counted=[_whole(model.config, "n_params", model.name) for model in PUBLISHED],
            named=integer(sum(named), "sum(round(published.n_params / 1000000) == published.size)"),
            models=integer(len(named), "len(published.n_params)"),
            first=integer(sum(first), "sum(round(published.n_params / 1000000) == published.first_size)"),
            loaded=integer(loaded, "size(*)"),
        ),
    )


def _four_shapes(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    rows: list[list[Entry]] = [
        [model.name, *(_whole(model.config, field, model.name) for field, _ in FIELDS[:3])] for model in PUBLISHED
    ]
    rows.append([THIS_MODEL, *(_whole(trace.config, field) for field, _ in FIELDS[:3])])
    base = max(model.config.n_layer for model in PUBLISHED) // BLOCKS_A_LINE
    shapes: Shapes = []
    x = 0
    for model in PUBLISHED:
        high = model.config.n_layer // BLOCKS_A_LINE
        wide = model.config.n_embd // WIDTH_A_CHARACTER
        shapes.append(Box(x, base - high, wide, high, model.name, "query"))
        x += wide + 2
    return (
        Note(
            LocalizedText(
                "A larger GPT-2 has more blocks, more heads and wider vectors; nothing else in it is new. A box's "
                "height stands for the number of blocks, its width for the width of a vector.",
                "更大的 GPT-2 只是块更多、头更多、向量更宽，没有别的新东西。方框的高表示块数，宽表示向量的宽度。",
            )
        ),
        Drawing(LocalizedText("blocks (height) and width", "块数（高）与向量维度（宽）"), shapes),
        Table(
            LocalizedText("shapes", "形状"), [LocalizedText("model", "模型"), *(words for _, words in FIELDS[:3])], rows
        ),
    )


def _loaded(trace: Trace) -> Table:
    rows: list[list[Entry]] = [[words, _whole(trace.config, field)] for field, words in FIELDS]
    return Table(THIS_MODEL, [WHAT, HOW_MANY], rows)


def _check_shapes(trace: Trace, chosen: Selection) -> Check:
    """Compare the configuration that is shown with the shapes of the weights."""
    weights = trace.weights
    config = trace.config
    heads = len(trace["q.0"])
    (tokens, width) = weights["wte.weight"].shape
    (slots, wide) = weights["wpe.weight"].shape
    blocks = sum(name.endswith(".attn.c_attn.weight") for name in weights)
    layers = sorted({name.split(".")[2] for name in weights if name.startswith("h.0.")})
    return Check(
        (tokens, width, slots, wide, blocks, heads) == _expected(config) and layers == ["attn", "ln_1", "ln_2", "mlp"],
        Statement(
            "the weights are {blocks:block} of {layers} with {heads:head}, {tokens:token} and {slots:slot} of "
            "{width:number}",
            "权重共有 {blocks} 个块，每块含 {layers}，有 {heads} 个头；"
            "{tokens} 个词元和 {slots} 个位置各有 {width} 个数",
            blocks=integer(blocks, "tensors(h.*.attn.c_attn.weight)"),
            layers=LocalizedText(", ".join(layers), "、".join(layers)),
            heads=integer(heads, "len(q.0)"),
            tokens=integer(tokens, "shape(wte.weight)[0]"),
            slots=integer(slots, "shape(wpe.weight)[0]"),
            width=integer(width, "shape(wte.weight)[1]"),
        ),
    )


def _expected(config: GPT2Config) -> tuple[int, ...]:
    return config.n_vocab, config.n_embd, config.n_ctx, config.n_embd, config.n_layer, config.n_head


def _decoder_only(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    names = [LocalizedText(f"decoder block {n}", f"解码器块 {n}") for n in (6, 2, 1)]
    shapes: Shapes = [
        *tower(0, 1, 24, [names[0], MORE, *names[1:]], "query"),
        Line(11, 13, 11, 11),
        Label(0, 14, LocalizedText("slots 1, 2, 3, … 4,000", "槽位 1、2、3……4,000")),
        Line(25, 9, 31, 9),
        Box(32, 1, 34, 12),
        Label(34, 2, LocalizedText("in every block", "每个块里")),
        *tower(36, 4, 26, [FEED_FORWARD], "mlp"),
        Line(48, 8, 48, 7),
        *tower(36, 9, 26, [MASKED_ATTENTION], "query"),
    ]
    return (
        Note(
            LocalizedText(
                "In 2018 a model threw the encoder away and kept one stack of decoder blocks; the article draws it "
                "with 6 blocks and 4,000 slots. GPT-2 is built the same way.",
                "2018 年有一个模型去掉了编码器，只留下一叠解码器块；文章把它画成 6 个块、4,000 个槽位。"
                "GPT-2 也是这样搭起来的。",
            )
        ),
        Drawing(LocalizedText("the article's example", "文章中的例子"), shapes),
        _loaded(trace),
    )


def _opened(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    names = layer_names(trace)
    top = tower_height(names) + 2
    shapes: Shapes = [
        Label(22, 0, LocalizedText("the next token", "下一个词元")),
        Line(28, 2, 28, 1),
        *tower(14, 2, 30, names, "query"),
        Line(28, top + 1, 28, top),
        *_slots(trace, top + 2),
    ]
    return (
        Note(
            LocalizedText(
                "GPT-2 opened: a stack of decoder blocks over a row of slots. Each token of the text takes one slot; "
                "the others stay empty. Layers are counted from 0, as in the tensors' names.",
                "打开 GPT-2：一排位置，上面是一叠解码器块。文本的每个词元占一个位置，其余的空着。"
                "层从 0 数起，与张量的名字一致。",
            )
        ),
        Drawing(THIS_MODEL, shapes),
        slots_in_use(trace),
        _loaded(trace),
    )


def layer_names(trace: Trace) -> list[Text]:
    """Name the layers from the top down; if there are more than three, only the last and the first."""
    layers = range(trace.config.n_layer - 1, -1, -1)
    names: list[Text] = [LocalizedText(f"layer {layer}", f"层 {layer}") for layer in layers]
    return [names[0], MORE, names[-1]] if len(names) > 3 else names


def _slots(trace: Trace, y: int) -> Shapes:
    """Draw a row of boxes: as many tokens as fit, and the last slot of the context."""
    shapes: Shapes = []
    x = 0
    for label in map(short, token_labels(trace)):
        if x + width(label) + 4 > ROOM - 24:
            break
        shapes.append(Box(x, y, width(label) + 4, 3, label, "token"))
        x += width(label) + 5
    last = trace.config.n_ctx
    if last > len(shapes):
        shapes += [Label(x, y + 1, "…"), Box(x + 2, y, 14, 3, LocalizedText(f"slot {last}", f"槽位 {last}"))]
    return shapes


def slots_in_use(trace: Trace) -> Grid:
    """Draw the whole context, a cell for each slot: 1 for each token of the text."""
    used = (np.arange(trace.config.n_ctx) < len(trace)).astype(np.float32)
    return Grid(
        LocalizedText("all slots: in use (1) or empty (0)", "所有槽位：已用（1）或空着（0）"),
        computed("arange(config.n_ctx) < len(ids)", used),
        "signed",
    )


def _check_slots(trace: Trace, chosen: Selection) -> Check:
    off = max_difference(trace["pos_emb"], trace.weights["wpe.weight"][: len(trace)])
    slots = len(trace.weights["wpe.weight"])
    return Check(
        off == 0 and slots == trace.config.n_ctx,
        Statement(
            "{tokens:token} in the first {tokens} of {slots:slot}: pos_emb is those rows of wpe.weight (largest "
            "difference {off})",
            "{tokens} 个词元占用 {slots} 个位置中的前 {tokens} 个：pos_emb 就是 wpe.weight 的那些行（最大差异 {off}）",
            tokens=integer(len(trace), "len(ids)"),
            slots=integer(slots, "len(wpe.weight)"),
            off=Number(off, "difference(pos_emb, wpe.weight[:len(ids)])", form="g"),
        ),
    )


FIGURES = (
    Figure(
        "F03",
        LocalizedText("The four sizes of GPT-2", "GPT-2 的四种尺寸"),
        part=1,
        picture=4,
        draw=_four_sizes,
        verify=_check_sizes,
    ),
    Figure(
        "F07",
        LocalizedText("More blocks, wider vectors", "更多的块，更宽的向量"),
        part=1,
        picture=7,
        tensors=("wte.weight", "wpe.weight"),
        draw=_four_shapes,
        verify=_check_shapes,
    ),
    Figure(
        "F14",
        LocalizedText("A stack of decoder blocks only", "只有解码器块的一叠"),
        part=1,
        picture=12,
        tensors=("wte.weight", "wpe.weight"),
        draw=_decoder_only,
        verify=_check_shapes,
    ),
    Figure(
        "F15",
        LocalizedText("GPT-2 opened: its slots", "打开 GPT-2：它的槽位"),
        part=1,
        picture=13,
        tensors=("ids", "pos_emb", "wpe.weight"),
        draw=_opened,
        verify=_check_slots,
    ),
)
