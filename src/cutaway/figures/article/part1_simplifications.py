"""Part 1 of the article: measurements of statements about GPT-2 that it simplifies and does not draw."""

from collections.abc import Sequence

import numpy as np

from cutaway.errors import UsageError
from cutaway.figures.article.accuracy import TOLERANCE, max_difference, relative_error, within
from cutaway.figures.article.decoding import ROUNDS, beginning, first_logits, first_steps
from cutaway.figures.article.part1_model_sizes import slots_in_use
from cutaway.figures.article.token_columns import TokenCell, TokenRow, draw_token_columns
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import HOW_MANY, WHAT, token_label, token_labels
from cutaway.figures.panels import Drawing, Entry, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.layout import visible
from cutaway.numerics import FloatArray, softmax
from cutaway.tokenizer import bpe
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Trace

MOST_PIECES = 24
MOST_TOKENS = 12  # read one at a time
MOST_PASSES = 4  # passes that are drawn

NO_TOKENIZER = LocalizedText(
    "This model has no tokenizer: its ids stand for no text.", "本模型没有分词器，编号不对应文字。"
)


def _counted(value: int, origin: str) -> Number:
    return Number(value, origin, form=",")


# T2: when generation stops.


def _stops(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    rows: list[list[Entry]] = [
        [LocalizedText("tokens in the text", "文本的词元数"), _counted(len(trace), "len(ids)")],
        [LocalizedText("slots", "槽位数"), _counted(trace.config.n_ctx, "config.n_ctx")],
        [
            LocalizedText("slots left", "剩下的槽位"),
            _counted(trace.config.n_ctx - len(trace), "config.n_ctx - len(ids)"),
        ],
    ]
    end = trace.tokenizer.eos if trace.tokenizer else None
    if end is not None:
        probability = float(softmax(trace.logits_at(-1).astype(np.float64))[end])
        ends = Number(probability, "probs", (len(trace) - 1, end), ".4%")
        rows.append([LocalizedText("probability that the text ends here", "文本在此结束的概率"), ends])
    asked = LocalizedText(f"asked for {ROUNDS} tokens, it stops because", f"要求生成 {ROUNDS} 个词元，停下的原因")
    rows.append([asked, _finish_reason(trace)])
    return (
        Note(
            LocalizedText(
                "Writing stops when the end-of-text token is chosen, when as many tokens have come as were asked for, "
                "or when all slots are full. OpenAI's own script writes a fixed number of tokens and does not stop at "
                "the end-of-text token.",
                "生成在三种情况下停止：选中了文本结束词元；生成了要求的个数；所有槽位都已占满。"
                "OpenAI 自己的脚本生成固定个数的词元，遇到文本结束词元也不停。",
            )
        ),
        slots_in_use(trace),
        Table(LocalizedText("the counter", "计数"), [WHAT, HOW_MANY], rows),
    )


def _finish_reason(trace: Trace) -> LocalizedText:
    """Explain why greedy decoding of `ROUNDS` tokens ends."""
    steps = first_steps(trace)
    if trace.tokenizer and trace.tokenizer.eos in [step.chosen.id for step in steps]:
        return LocalizedText("the end-of-text token was chosen", "选中了文本结束词元")
    if len(steps[-1].ids) == trace.config.n_ctx and len(steps) < ROUNDS:
        return LocalizedText("all slots are full", "所有槽位都已占满")
    return LocalizedText("that many were written", "已生成要求的个数")


def _check_stops(trace: Trace, chosen: Selection) -> Check:
    room = trace.config.n_ctx
    tokens = len(trace)
    reason = _finish_reason(trace)
    refused = _refused(trace, room + 1)
    return Check(
        refused and tokens <= room,
        Statement(
            "{tokens} of {room:slot} in use; a text of {more:token} is {refused}; the loop stopped because {reason}",
            "{room} 个槽位用了 {tokens} 个；{more} 个词元的文本{refused}；循环停下的原因：{reason}",
            tokens=integer(tokens, "len(ids)"),
            room=integer(room, "config.n_ctx"),
            more=integer(room + 1, "config.n_ctx + 1"),
            refused=LocalizedText("refused", "被拒绝") if refused else LocalizedText("read", "被读入"),
            reason=reason,
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
            LocalizedText(
                "GPT-2 reads tokens, not words. A text is cut into pieces, a piece into bytes, and neighbours are "
                "merged, those first that were learnt first; what is left are the tokens.",
                "GPT-2 读的是词元，不是单词。文本先切成片段，片段再拆成字节，然后按优先级（rank）合并相邻的部分，"
                "最后剩下的就是词元。",
            )
        ),
        _cut_up(pieces[:MOST_PIECES]),
        *_merges(max(pieces, key=lambda piece: len(piece.steps))),
        _vocabulary(trace.tokenizer),
    )


def _cut_up(pieces: Sequence[bpe.PreToken]) -> Table:
    """Tabulate each pre-token with its bytes and its tokens."""
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
        LocalizedText("piece", "片段"),
        LocalizedText("bytes", "字节数"),
        LocalizedText("merges", "合并次数"),
        LocalizedText("tokens", "词元"),
        LocalizedText("bytes in hexadecimal", "十六进制字节"),
    ]
    return Table(LocalizedText("the text's pieces", "文本的各个片段"), headings, rows)


def _pieces(trace: Trace, tokenizer: Tokenizer) -> list[bpe.PreToken]:
    return tokenizer.explain(_text(trace, tokenizer), allow_special=True)


def _text(trace: Trace, tokenizer: Tokenizer) -> str:
    """Decode the ids, except those of a padded vocabulary."""
    return tokenizer.decode(token for token in trace.ids if token < tokenizer.n_vocab)


def _merges(piece: bpe.PreToken) -> list[Table]:
    """Tabulate the merges of one pre-token, if it has any, in the order in which they are applied."""
    rows: list[list[Entry]] = [
        [
            visible(bpe.from_symbols(step.left)),
            visible(bpe.from_symbols(step.right)),
            _counted(step.rank + 1, f"tokenizer.merges.index({step.left} {step.right}) + 1"),
        ]
        for step in piece.steps[:MOST_PIECES]
    ]
    shown = visible(piece.text.encode())
    headings = [
        LocalizedText("left", "左"),
        LocalizedText("right", "右"),
        LocalizedText("learnt as number", "优先级（rank）"),
    ]
    return [Table(LocalizedText(f"the merges of {shown}", f"{shown} 的合并过程"), headings, rows)] if rows else []


def _vocabulary(tokenizer: Tokenizer) -> Table:
    vocabulary = tokenizer.vocabulary
    looked_up = len(vocabulary.control) + len(vocabulary.added)
    rows: list[list[Entry]] = [
        [LocalizedText("single bytes", "单个字节"), _counted(256, "len(bytes)")],
        [LocalizedText("merges", "合并"), _counted(len(vocabulary.merges), "len(tokenizer.merges)")],
        [
            LocalizedText("looked up: the end of text", "直接查表：文本结束"),
            _counted(looked_up, "len(tokenizer.control)"),
        ],
        [LocalizedText("ids in all", "编号总数"), _counted(tokenizer.n_vocab, "tokenizer.n_vocab")],
    ]
    return Table(LocalizedText("what the vocabulary is made of", "词表的构成"), [WHAT, HOW_MANY], rows)


def _check_tokens(trace: Trace, chosen: Selection) -> Check:
    if not isinstance(trace.tokenizer, Tokenizer):
        return Check(True, Statement(NO_TOKENIZER.en, NO_TOKENIZER.zh))
    text = _text(trace, trace.tokenizer)
    pieces = _pieces(trace, trace.tokenizer)
    ids = [token for piece in pieces for token in piece.ids]
    back = trace.tokenizer.decode(ids) == text
    same = ids == trace.tokenizer.encode(text, allow_special=True)
    read = tuple(ids) == trace.ids
    return Check(
        back and same,
        Statement(
            "{pieces:piece} of {bytes:byte} become {tokens:token}, which are {back}; merge by merge and fast give "
            "{same} ids, {those} that the model reads",
            "{pieces} 个片段、{bytes} 个字节变成 {tokens} 个词元，{back}；逐次合并与快速编码得到的编号{same}，"
            "{those}模型读入的编号",
            pieces=integer(len(pieces), "len(pieces(text))"),
            bytes=integer(len(text.encode()), "len(bytes(text))"),
            tokens=integer(len(ids), "len(encode(text))"),
            back=LocalizedText("the text again", "还原后就是原文")
            if back
            else LocalizedText("another text", "还原后不是原文"),
            same=LocalizedText("the same", "相同") if same else LocalizedText("different", "不同"),
            those=LocalizedText("those", "正是") if read else LocalizedText("not those", "但不是"),
        ),
    )


# T4: all positions at once, or one at a time.


def _both_ways(trace: Trace) -> list[tuple[FloatArray, FloatArray, int]]:
    """List, for each of the first tokens, the logits (V,) after it in one pass over all of them, the logits after it in
    token-by-token decoding, and how many positions that step computed.
    """
    count = min(len(trace), MOST_TOKENS)
    pairs = []
    one = None
    for position, at_once in enumerate(first_logits(beginning(trace, count), count)):
        one = beginning(trace, position + 1, base=one)
        pairs.append((at_once, one.logits_at(-1), one.work.positions_computed))
    return pairs


def _batch(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    tokens = token_labels(trace)
    rows: list[list[Entry]] = [
        [
            tokens[n],
            token_label(trace, int(at_once.argmax())),
            token_label(trace, int(one.argmax())),
            _counted(computed, "work.positions_computed"),
            Number(max_difference(at_once, one), f"abs(logits[{n}] - logits({n + 1} ids)[-1]).max()", form=".2g"),
        ]
        for n, (at_once, one, computed) in enumerate(_both_ways(trace))
    ]
    headings = [
        LocalizedText("after", "在此之后"),
        LocalizedText("all at once", "一次全读"),
        LocalizedText("one at a time", "逐个读入"),
        LocalizedText("computed", "计算数"),
        LocalizedText("difference", "最大差异"),
    ]
    return (
        Note(
            LocalizedText(
                "In training all positions of a text are computed in one pass, and each learns from the token after "
                "it. In writing there is one new position at a time. The mask makes both give the same logits.",
                "训练时一遍就算完文本的所有位置，每个位置都从它后面的词元学习；生成时每次只算一个新位置。"
                "有了掩码，两种做法得到的 logit 相同。",
            )
        ),
        _passes(trace),
        Table(
            LocalizedText("the likeliest next token, both ways", "两种做法各自认为概率最大的下一个词元"), headings, rows
        ),
    )


def _passes(trace: Trace) -> Drawing:
    """Draw a row for each forward pass: one that computes all of the first tokens, then one for each token."""
    count = min(len(trace), MOST_PASSES)
    training = TokenRow(LocalizedText("training", "训练时"), [TokenCell(LocalizedText("new", "新"), "output")] * count)
    old = TokenCell(LocalizedText("kept", "保留"), "reused")
    new = TokenCell(LocalizedText("new", "新"), "output")
    nothing = [None] * count
    steps = [
        TokenRow(LocalizedText(f"step {i + 1}", f"第 {i + 1} 步"), [*[old] * i, new, *nothing[i + 1 :]])
        for i in range(count)
    ]
    return draw_token_columns(
        LocalizedText(
            "training computes every column in one pass; generation one column a step, and reuses those before",
            "训练时一遍算完所有列；生成时每步只算一列，前面的列复用",
        ),
        token_labels(trace)[:count],
        [training, *steps],
        arrows=False,
    )


def _check_batch(trace: Trace, chosen: Selection) -> Check:
    at_once, one, computed = zip(*_both_ways(trace), strict=True)
    off = relative_error(np.stack(one), np.stack(at_once))
    count = len(one)
    return Check(
        off <= TOLERANCE,
        Statement(
            "{positions:position} at once, and one at a time ({computed} computed), have the same logits {near}",
            "{positions} 个位置一次算完，与逐个计算（共计算 {computed} 个），logit 相同，{near}",
            positions=integer(count, f"min({MOST_TOKENS}, len(ids))"),
            computed=integer(sum(computed), f"sum([positions_computed(step(i)) for i in range({count})])"),
            near=within(off, f"error(stack([logits(step(i))[-1] for i in range({count})]), logits(ids[:{count}]))"),
        ),
    )


FIGURES = (
    Figure(
        "T2",
        LocalizedText("When writing stops", "什么时候停止生成"),
        part=1,
        picture=None,
        tensors=("ids", "probs"),
        draw=_stops,
        verify=_check_stops,
    ),
    Figure(
        "T3",
        LocalizedText("Tokens are not words", "词元不是单词"),
        part=1,
        picture=None,
        tensors=("ids",),
        draw=_tokens,
        verify=_check_tokens,
    ),
    Figure(
        "T4",
        LocalizedText("All positions at once, or one at a time", "一次算完，还是逐个计算"),
        part=1,
        picture=None,
        tensors=("logits",),
        draw=_batch,
        verify=_check_batch,
    ),
)
