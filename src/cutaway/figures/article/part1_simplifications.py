"""Part 1 of the article: what it says of GPT-2 without a picture, measured."""

from collections.abc import Sequence

import numpy as np

from cutaway.errors import UsageError
from cutaway.figures.article.decoding import beginning, first_logits, go_on
from cutaway.figures.article.excerpts import TOLERANCE, apart, largest_difference, within
from cutaway.figures.article.part1_model_sizes import slots_in_use
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import HOW_MANY, WHAT, many, token_label
from cutaway.figures.panels import Entry, Note, Number, Panel, Table, Words
from cutaway.layout import visible
from cutaway.numerics import FloatArray, softmax
from cutaway.tokenizer import bpe
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Trace

ROUNDS = 4  # of the loop whose end is shown
MOST_PIECES = 24
MOST_TOKENS = 12  # that are read one at a time

NO_TOKENIZER = Words("This model has no tokenizer: its ids stand for no text.", "本模型没有分词器，编号不对应文字。")


def _counted(value: int, origin: str) -> Number:
    return Number(value, origin, form=",")


# T2: when it stops.


def _stops(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    rows: list[list[Entry]] = [
        [Words("tokens in the text", "文本的词元数"), _counted(len(trace), "len(ids)")],
        [Words("slots", "位置数"), _counted(trace.config.n_ctx, "config.n_ctx")],
        [Words("slots left", "剩下的位置"), _counted(trace.config.n_ctx - len(trace), "config.n_ctx - len(ids)")],
    ]
    end = trace.tokenizer.eos if trace.tokenizer else None
    if end is not None:
        probability = float(softmax(trace.logits_at(-1).astype(np.float64))[end])
        ends = Number(probability, "probs", (len(trace) - 1, end), ".4%")
        rows.append([Words("probability that the text ends here", "文本在此结束的概率"), ends])
    asked = Words(f"asked for {ROUNDS} tokens, it stops because", f"要求写 {ROUNDS} 个词元，停下的原因")
    rows.append([asked, _stop_reason(trace)])
    return (
        Note(
            Words(
                "Writing stops when the end-of-text token is chosen, when as many tokens have come as were asked for, "
                "or when all slots are full. OpenAI's own script writes a fixed number of tokens and does not stop at "
                "the end-of-text token.",
                "写作在三种情况下停止：选中了文本结束词元；写够了要求的个数；所有位置都已占满。"
                "OpenAI 自己的脚本写固定个数的词元，遇到文本结束词元也不停。",
            )
        ),
        slots_in_use(trace),
        Table(Words("the counter", "计数"), [WHAT, HOW_MANY], rows),
    )


def _stop_reason(trace: Trace) -> Words:
    """Why the loop with the likeliest token each time ends, if it is asked for so many tokens."""
    steps, last = go_on(trace, ROUNDS)
    if trace.tokenizer and trace.tokenizer.eos in [step.chosen.id for step in steps]:
        return Words("the end-of-text token was chosen", "选中了文本结束词元")
    if len(last) == trace.config.n_ctx and len(steps) < ROUNDS:
        return Words("all slots are full", "所有位置都已占满")
    return Words("that many were written", "写够了个数")


def _check_stops(trace: Trace, chosen: Selection) -> Check:
    room, tokens, reason = trace.config.n_ctx, len(trace), _stop_reason(trace)
    refused = _refused(trace, room + 1)
    return Check(
        refused and tokens <= room,
        Words(
            f"{tokens:,} of {many(room, 'slot')} in use; a text of {many(room + 1, 'token')} is "
            f"{'refused' if refused else 'read'}; the loop stopped because {reason.en}",
            f"{room:,} 个位置用了 {tokens} 个；{room + 1:,} 个词元的文本{'被拒绝' if refused else '被读入'}；"
            f"循环停下的原因：{reason.zh}",
        ),
    )


def _refused(trace: Trace, tokens: int) -> bool:
    try:
        Trace(trace.config, trace.weights, trace.tokenizer, trace.ids[:1] * tokens)
    except UsageError:
        return True
    return False


# T3: words and tokens.


def _tokens(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    if not isinstance(trace.tokenizer, Tokenizer):
        return (Note(NO_TOKENIZER),)
    pieces = _pieces(trace, trace.tokenizer)
    return (
        Note(
            Words(
                "GPT-2 reads tokens, not words. A text is cut into pieces, a piece into bytes, and neighbours are "
                "merged, those first that were learnt first; what is left are the tokens.",
                "GPT-2 读的是词元，不是单词。文本先切成片段，片段再拆成字节，然后按学到的先后次序合并相邻的部分，"
                "最后剩下的就是词元。",
            )
        ),
        _cut_up(pieces[:MOST_PIECES]),
        *_merges(max(pieces, key=lambda piece: len(piece.steps))),
        _vocabulary(trace.tokenizer),
    )


def _cut_up(pieces: Sequence[bpe.PreToken]) -> Table:
    """Each piece with its bytes and its tokens."""
    rows: list[list[Entry]] = [
        [
            visible(piece.text.encode()),
            _counted(len(piece.bytes), "len(bytes)"),
            _counted(len(piece.steps), "len(merges)"),
            " + ".join(visible(bpe.from_symbols(token)) for token in piece.tokens),
            bytes(piece.bytes).hex(" "),
        ]
        for piece in pieces
    ]
    headings = [
        Words("piece", "片段"),
        Words("bytes", "字节数"),
        Words("merges", "合并次数"),
        Words("tokens", "词元"),
        Words("bytes in hexadecimal", "十六进制字节"),
    ]
    return Table(Words("the text's pieces", "文本的各个片段"), headings, rows)


def _pieces(trace: Trace, tokenizer: Tokenizer) -> list[bpe.PreToken]:
    return tokenizer.explain(_text(trace, tokenizer), allow_special=True)


def _text(trace: Trace, tokenizer: Tokenizer) -> str:
    """What the ids stand for; a vocabulary can be padded with ids that stand for nothing."""
    return tokenizer.decode(token for token in trace.ids if token < tokenizer.n_vocab)


def _merges(piece: bpe.PreToken) -> list[Table]:
    """The merges of one piece, if it has any, in the order in which they are made."""
    rows: list[list[Entry]] = [
        [
            visible(bpe.from_symbols(step.left)),
            visible(bpe.from_symbols(step.right)),
            _counted(step.rank + 1, f"tokenizer.merges.index({step.left} {step.right}) + 1"),
        ]
        for step in piece.steps[:MOST_PIECES]
    ]
    shown = visible(piece.text.encode())
    headings = [Words("left", "左"), Words("right", "右"), Words("learnt as number", "学到的次序")]
    return [Table(Words(f"the merges of {shown}", f"{shown} 的合并过程"), headings, rows)] if rows else []


def _vocabulary(tokenizer: Tokenizer) -> Table:
    vocabulary = tokenizer.vocabulary
    looked_up = len(vocabulary.control) + len(vocabulary.added)
    rows: list[list[Entry]] = [
        [Words("single bytes", "单个字节"), _counted(256, "len(bytes)")],
        [Words("merges", "合并"), _counted(len(vocabulary.merges), "len(tokenizer.merges)")],
        [
            Words("looked up: the end of text", "直接查表：文本结束"),
            _counted(looked_up, "len(tokenizer.control)"),
        ],
        [Words("ids in all", "编号总数"), _counted(tokenizer.n_vocab, "tokenizer.n_vocab")],
    ]
    return Table(Words("what the vocabulary is made of", "词表的构成"), [WHAT, HOW_MANY], rows)


def _check_tokens(trace: Trace, chosen: Selection) -> Check:
    if not isinstance(trace.tokenizer, Tokenizer):
        return Check(True, NO_TOKENIZER)
    text, pieces = _text(trace, trace.tokenizer), _pieces(trace, trace.tokenizer)
    ids = [token for piece in pieces for token in piece.ids]
    back = trace.tokenizer.decode(ids) == text
    same, read = ids == trace.tokenizer.encode(text, allow_special=True), tuple(ids) == trace.ids
    return Check(
        back and same,
        Words(
            f"{many(len(pieces), 'piece')} of {many(len(text.encode()), 'byte')} become {many(len(ids), 'token')}, "
            f"which are {'the text again' if back else 'another text'}; merge by merge and fast give "
            f"{'the same' if same else 'different'} ids, {'those' if read else 'not those'} that the model reads",
            f"{len(pieces)} 个片段、{len(text.encode())} 个字节变成 {len(ids)} 个词元，"
            f"{'还原后就是原文' if back else '还原后不是原文'}；"
            f"逐次合并与快速编码得到的编号{'相同' if same else '不同'}，{'正是' if read else '但不是'}模型读入的编号",
        ),
    )


# T4: all positions at once, or one at a time.


def _both_ways(trace: Trace) -> list[tuple[FloatArray, FloatArray, int]]:
    """After each of the first tokens: the logits (V,) where all were read at once, those where they were read one by
    one, and how many positions that step computed.
    """
    count = min(len(trace), MOST_TOKENS)
    pairs = []
    one = None
    for position, at_once in enumerate(first_logits(beginning(trace, count), count)):
        one = beginning(trace, position + 1, base=one)
        pairs.append((at_once, one.logits_at(-1), one.work.positions_computed))
    return pairs


def _batch(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    rows: list[list[Entry]] = [
        [
            token_label(trace, trace.ids[n]),
            token_label(trace, int(at_once.argmax())),
            token_label(trace, int(one.argmax())),
            _counted(computed, "work.positions_computed"),
            Number(largest_difference(at_once, one), f"abs(logits[{n}] - logits({n + 1} ids)[-1]).max()", form=".2g"),
        ]
        for n, (at_once, one, computed) in enumerate(_both_ways(trace))
    ]
    headings = [
        Words("after", "在此之后"),
        Words("all at once", "一次全读"),
        Words("one at a time", "逐个读入"),
        Words("computed", "计算数"),
        Words("difference", "最大差异"),
    ]
    return (
        Note(
            Words(
                "In training all positions of a text are computed in one pass, and each learns from the token after "
                "it. In writing there is one new position at a time. The mask makes both give the same logits.",
                "训练时一遍就算完文本的所有位置，每个位置都从它后面的词元学习；写作时每次只算一个新位置。"
                "有了掩码，两种做法得到的 logit 相同。",
            )
        ),
        Table(Words("the likeliest next token, both ways", "两种做法各自认为概率最大的下一个词元"), headings, rows),
    )


def _check_batch(trace: Trace, chosen: Selection) -> Check:
    at_once, one, computed = zip(*_both_ways(trace), strict=True)
    off = apart(np.stack(one), np.stack(at_once))
    near = within(off)
    return Check(
        off <= TOLERANCE,
        Words(
            f"{many(len(one), 'position')} at once, and one at a time ({sum(computed)} computed), have the same logits "
            f"{near.en}",
            f"{len(one)} 个位置一次算完，与逐个计算（共计算 {sum(computed)} 个），logit 相同，{near.zh}",
        ),
    )


FIGURES = (
    Figure(
        "T2",
        Words("When writing stops", "什么时候停笔"),
        part=1,
        picture=None,
        tensors=("ids", "probs"),
        draw=_stops,
        verify=_check_stops,
    ),
    Figure(
        "T3",
        Words("Tokens are not words", "词元不是单词"),
        part=1,
        picture=None,
        tensors=("ids",),
        draw=_tokens,
        verify=_check_tokens,
    ),
    Figure(
        "T4",
        Words("All positions at once, or one at a time", "一次算完，还是逐个计算"),
        part=1,
        picture=None,
        tensors=("logits",),
        draw=_batch,
        verify=_check_batch,
    ),
)
