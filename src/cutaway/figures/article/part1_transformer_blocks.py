"""Part 1 of the article: diagrams of other models and their blocks, without numbers."""

from collections.abc import Sequence

from cutaway.figures.figure import Figure, Selection
from cutaway.figures.panels import Box, Drawing, Entry, Label, Line, LocalizedText, Note, Panel, Shapes, Table, Text
from cutaway.trace import Trace

MORE = "⋮"  # stands for blocks that are not drawn
ENCODER = LocalizedText("encoder block", "编码器块")
DECODER = LocalizedText("decoder block", "解码器块")
ATTENTION = LocalizedText("self-attention", "自注意力")
MASKED_ATTENTION = LocalizedText("masked self-attention", "带掩码的自注意力")
FEED_FORWARD = LocalizedText("feed-forward network", "前馈网络")


def tower(x: int, y: int, width: int, names: Sequence[Text], colour: str) -> Shapes:
    """Draw a stack of boxes; `names` are from the top down."""
    shapes: Shapes = []
    for name in names:
        if name == MORE:
            shapes.append(Label(x + width // 2, y, MORE))
            y += 1
        else:
            shapes.append(Box(x, y, width, 3, name, colour))
            y += 3
    return shapes


def tower_height(names: Sequence[Text]) -> int:
    """Return the height of a tower in lines."""
    return sum(1 if name == MORE else 3 for name in names)


def _encoder_decoder(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    shapes = [
        Label(42, 0, LocalizedText("the translation, word by word", "译文，逐词写出")),
        Line(54, 3, 54, 1),
        *tower(0, 4, 22, [ENCODER] * 3, "key"),
        *tower(43, 4, 22, [DECODER] * 3, "query"),
        Line(11, 15, 11, 13),
        Label(2, 16, LocalizedText("the whole sentence", "整个原文句子")),
        Line(54, 15, 54, 13),
        Label(42, 16, LocalizedText("the translation so far", "已写出的译文")),
        Line(11, 3, 11, 2, arrow=False),
        Line(11, 2, 32, 2, arrow=False),
        Line(32, 2, 32, 11, arrow=False),
        *(Line(32, y, 42, y) for y in (5, 8, 11)),
    ]
    return (
        Note(
            LocalizedText(
                "The first Transformer (2017) translates with two stacks: the encoder reads the whole sentence, and "
                "each decoder block looks at what the encoder made of it. This is not GPT-2, which has one stack only.",
                "最早的 Transformer（2017 年）用两叠网络做翻译：编码器读完整个句子，每个解码器块再去看编码器的结果。"
                "这不是 GPT-2，GPT-2 只有一叠。",
            )
        ),
        Drawing(LocalizedText("encoder and decoder: not GPT-2", "编码器与解码器：不是 GPT-2"), shapes),
    )


def _three_stacks(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    shapes: Shapes = []
    stacks = (("GPT-2", DECODER, "query"), ("BERT", ENCODER, "key"), ("Transformer-XL", DECODER, "query"))
    for x, (name, block, colour) in zip((0, 22, 44), stacks, strict=True):
        shapes += [Label(x + 9 - len(name) // 2, 0, name), *tower(x, 1, 18, [block, MORE, block, block], colour)]
        shapes += [Line(x + 9, 13, x + 9, 11), Label(x + 6, 14, LocalizedText("tokens", "词元"))]
    shapes += [
        Line(64, 6, 62, 6),
        Line(64, 9, 62, 9),
        Line(64, 2, 62, 2),
        Box(65, 1, 14, 10, LocalizedText("memory", "记忆")),
    ]
    rows: list[list[Entry]] = [
        ["GPT-2", LocalizedText("itself and the tokens before it", "自己和它之前的词元"), LocalizedText("yes", "是")],
        ["BERT", LocalizedText("all tokens of the text", "文本的所有词元"), LocalizedText("no", "否")],
        [
            "Transformer-XL",
            LocalizedText("the same as in GPT-2, and the segment before", "与 GPT-2 相同，外加前一段文本"),
            LocalizedText("yes", "是"),
        ],
    ]
    headings = [
        LocalizedText("model", "模型"),
        LocalizedText("a token looks at", "一个词元能看到"),
        LocalizedText("writes on", "能续写"),
    ]
    return (
        Note(
            LocalizedText(
                "Three ways to stack blocks. GPT-2 and Transformer-XL write a token, read it and write the next. BERT "
                "reads in both directions, so it fills gaps but cannot go on writing.",
                "三种堆叠方式。GPT-2 和 Transformer-XL 写出一个词元，把它读进来，再写下一个；BERT 同时看左右两边，"
                "能填空，但不能接着往下写。",
            )
        ),
        Drawing(LocalizedText("stacks", "堆叠方式"), shapes),
        Table(LocalizedText("what a token may look at", "一个词元能看到什么"), headings, rows),
    )


def _encoder_block(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    words: list[tuple[Text, str]] = [(word, "token") for word in ("robot", "must", "obey", "orders")]
    slots: Shapes = []
    x = 0
    for text, colour in [*words, (LocalizedText("padding", "填充"), "plain"), ("…", "plain")]:
        wide = 11 if isinstance(text, LocalizedText) else max(5, len(text) + 4)
        slots += [Box(x, 17, wide, 3, text, colour), Line(x + wide // 2, 16, x + wide // 2, 14)]
        x += wide + 1
    return (
        Note(
            LocalizedText(
                "A block of an encoder. Its self-attention has no mask: every token looks both ways. It reads up to a "
                "fixed number of slots, 512 in the article; a shorter text is filled up with padding.",
                "编码器的一个块。它的自注意力没有掩码：每个词元都能看到左右两边的所有词元。"
                "它最多读入固定数目的位置，文章里是 512 个；较短的文本用填充补足。",
            )
        ),
        Drawing(
            LocalizedText("an encoder block: not GPT-2", "编码器块：不是 GPT-2"),
            [*_block(x - 1, ENCODER, ATTENTION), *slots],
        ),
    )


def _block(width: int, name: Text, *layers: Text) -> Shapes:
    """Draw the inside of a block: its name, its layers from the feed-forward network down, and the output on top."""
    inner = [FEED_FORWARD, *layers]
    middle = width // 2
    shapes: Shapes = [Box(0, 2, width, 5 * len(inner) + 2), Label(2, 3, name), Line(middle, 1, middle, 0)]
    for i, layer in enumerate(inner):
        shapes.append(Box(4, 4 + 5 * i, width - 8, 3, layer, "mlp" if layer is FEED_FORWARD else "query"))
        if i:
            shapes.append(Line(middle, 3 + 5 * i, middle, 2 + 5 * i))
    return shapes


def _decoder_block(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    cross = LocalizedText("encoder-decoder (cross) attention", "编码器-解码器（交叉）注意力")
    width = 50
    shapes = [
        *_block(width, DECODER, cross, MASKED_ATTENTION),
        Line(58, 10, 46, 10),
        Label(60, 10, LocalizedText("from the encoder", "来自编码器")),
        Line(width // 2, 20, width // 2, 19),
        Label(width // 2 - 10, 21, LocalizedText("tokens written so far", "已写出的词元")),
    ]
    return (
        Note(
            LocalizedText(
                "A decoder block of the first Transformer. Its self-attention is masked: a token sees none after it. "
                "GPT-2 keeps this block without the layer in the middle: it has no encoder to look at.",
                "最早的 Transformer 的解码器块。它的自注意力带掩码，词元看不到后面的词元。"
                "GPT-2 沿用这种块，但去掉了中间那一层：它没有编码器可看。",
            )
        ),
        Drawing(LocalizedText("a decoder block with cross attention", "带交叉注意力的解码器块"), shapes),
    )


FIGURES = (
    Figure(
        "F05",
        LocalizedText("Encoder and decoder", "编码器与解码器"),
        part=1,
        picture=5,
        draw=_encoder_decoder,
    ),
    Figure(
        "F06",
        LocalizedText("Stacks: GPT-2, BERT, Transformer-XL", "三种堆叠：GPT-2、BERT、Transformer-XL"),
        part=1,
        picture=6,
        draw=_three_stacks,
    ),
    Figure(
        "F10",
        LocalizedText("An encoder block", "编码器块"),
        part=1,
        picture=8,
        draw=_encoder_block,
    ),
    Figure(
        "F11",
        LocalizedText("A decoder block with cross attention", "带交叉注意力的解码器块"),
        part=1,
        picture=9,
        draw=_decoder_block,
    ),
)
