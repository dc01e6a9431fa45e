"""Part 1 of the article: a language model seen from outside, as a predictor of the next token."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.accuracy import TOLERANCE, relative_error, within
from cutaway.figures.article.decoding import beginning, candidate_table, candidates, first_logits, tail
from cutaway.figures.article.part1_model_output import expected_logits, output_matrix
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import PROBABILITY, position_text, short, token_label
from cutaway.figures.panels import (
    Bars,
    Box,
    Drawing,
    Entry,
    Label,
    Line,
    LocalizedText,
    Note,
    Number,
    Panel,
    Shapes,
    Table,
    computed,
    integer,
)
from cutaway.figures.statement import Statement
from cutaway.numerics import softmax
from cutaway.trace import Trace

MOST_HIDDEN = 32  # tokens; F02 recomputes the text before the hidden token


# F01 and F04: candidates for the next token.


def _keyboard(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    likely = candidates(trace, 3)
    labels = [short(token_label(trace, each.id)) for each in likely]
    text = tail(trace, trace.ids, 52)
    shapes: Shapes = [Box(20 * n, 0, 18, 3, label, "output") for n, label in enumerate(labels)]
    shapes.append(Box(0, 4, 58, 3, f"{text} ▏", "token"))
    return (
        Note(
            LocalizedText(
                "A language model does what a phone's keyboard does: from the text so far it says what may come next. "
                "These are its three likeliest tokens.",
                "语言模型做的事和手机键盘一样：根据已有的文字，给出接下来可能出现的内容。这里是概率最大的三个词元。",
            )
        ),
        Drawing(LocalizedText("suggestions above the text", "文字上方的建议"), shapes),
        candidate_table(trace, len(trace) - 1, likely),
    )


def _check_keyboard(trace: Trace, chosen: Selection) -> Check:
    return _check_candidates(trace, 3)


def _check_candidates(trace: Trace, count: int) -> Check:
    """Check that the most likely tokens have the largest logits, and that their logits and their probabilities over the
    whole vocabulary follow from the output of the last block.
    """
    logits = trace.logits_at(-1)
    shown = candidates(trace, count)
    expected = expected_logits(trace, -1)
    ids = [each.id for each in shown]
    above = int((logits > min(each.logit for each in shown)).sum())
    off = (
        relative_error(np.array([each.logit for each in shown]), expected[ids]),
        relative_error(np.array([each.probability for each in shown]), softmax(expected.astype(np.float64))[ids]),
    )
    last = f"{trace.final_residual}[-1]"
    matrix = output_matrix(trace)
    product = f"layer_norm({last}, ln_f.weight, ln_f.bias) @ transpose({matrix})"
    return Check(
        above < len(shown) and all(each < TOLERANCE for each in off),
        Statement(
            "{above} of {size} logits are larger than the smallest of the {shown} shown; these are "
            "ln_f({last}) @ {matrix}.T {scores}, and the probabilities its softmax {shares}",
            "{size} 个 logit 中有 {above} 个大于所示 {shown} 个里最小的；所示的 logit 等于 "
            "ln_f({last}) @ {matrix}.T，{scores}；概率等于它的 softmax，{shares}",
            above=integer(above, f"sum(logits[-1] > min(logits[-1, {ids}]))"),
            size=integer(len(logits), "config.n_vocab"),
            shown=integer(len(shown), f"min({count}, config.n_vocab)"),
            last=last,
            matrix=matrix,
            scores=within(off[0], f"error(logits[-1, {ids}], ({product})[{ids}])"),
            shares=within(off[1], f"error(softmax(logits[-1])[{ids}], softmax({product})[{ids}])"),
        ),
    )


def _ten(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    likely = candidates(trace, 10)
    shares = np.array([each.probability for each in likely])
    size = f"{trace.config.n_vocab:,}"
    formula = f"probs[{len(trace) - 1}, [{', '.join(str(each.id) for each in likely)}]]"
    return (
        Note(
            LocalizedText(
                f"The {len(likely)} tokens likeliest to come next. The percentages are shares of the whole vocabulary "
                f"of {size}, not of these {len(likely)}.",
                f"接下来最可能出现的 {len(likely)} 个词元。百分比是在整个词表（{size} 个词元）中的概率，"
                f"不是只在这 {len(likely)} 个之中的概率。",
            )
        ),
        Bars(
            LocalizedText(f"the {len(likely)} likeliest", f"概率最大的 {len(likely)} 个"),
            [token_label(trace, each.id) for each in likely],
            computed(formula, shares),
        ),
        candidate_table(trace, len(trace) - 1, likely),
    )


def _check_ten(trace: Trace, chosen: Selection) -> Check:
    found = _check_candidates(trace, 10)
    if len(trace) == trace.config.n_ctx:
        full = Statement(
            "{found}; the context is full, so none can be taken", "{found}；上下文已满，不能再选", found=found.statement
        )
        return Check(found.ok, full)
    there = trace.append(candidates(trace, 1)[0].id)
    back = there.edit(trace.ids)
    off = relative_error(back.logits_at(-1), trace.logits_at(-1))
    return Check(
        found.ok and back.ids == trace.ids == there.ids[:-1] and off <= TOLERANCE,
        Statement(
            "{found}; the first taken and taken back gives the same ids and logits {near}",
            "{found}；选中第一个再撤回，编号和 logit 与原来相同，{near}",
            found=found.statement,
            near=within(off, "error(logits(ids)[-1], logits[-1])"),
        ),
    )


# F02: a hidden word.


def _gap(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    instead = _instead(trace, chosen)
    return (
        Note(
            LocalizedText(
                "BERT guesses a hidden word from both sides. GPT-2 has no such gap to fill: what it expects at a place "
                f"depends on what stands left of it, and nothing on the right changes it.{instead.en}",
                "BERT 根据左右两边猜被遮住的词。GPT-2 没有这样的空可填：它在某处的预测只取决于左边的内容，"
                f"右边写什么都不会改变它。{instead.zh}",
            )
        ),
        Drawing(
            LocalizedText("where the guess comes from", "猜测从哪里来"),
            [*_guess("BERT", 0, both=True), *_guess("GPT-2", 6)],
        ),
        *_hidden_table(trace, chosen),
    )


def _guess(name: str, y: int, *, both: bool = False) -> Shapes:
    """Draw a gap between words, with arrows from the words that the model sees."""
    shapes: Shapes = [
        Label(0, y, name),
        Box(0, y + 1, 20, 3, LocalizedText("words before it", "前面的词"), "key"),
        Line(21, y + 2, 26, y + 2),
        Box(28, y + 1, 12, 3, LocalizedText("hidden", "遮住"), "query"),
        Box(48, y + 1, 20, 3, LocalizedText("words after it", "后面的词"), "key" if both else "plain"),
    ]
    return [*shapes, Line(46, y + 2, 41, y + 2)] if both else shapes


def _hidden(trace: Trace, chosen: Selection) -> int:
    """Choose the position to hide: the selected one if it has tokens on both sides, else one in the middle."""
    inside = 0 < chosen.position < len(trace) - 1
    return min(chosen.position if inside else len(trace) // 2, MOST_HIDDEN)


def _instead(trace: Trace, chosen: Selection) -> LocalizedText:
    """Explain why a position other than the chosen one is hidden; empty if the chosen one is."""
    hidden = _hidden(trace, chosen)
    wanted = position_text(chosen.position)
    if hidden in (0, chosen.position):
        return LocalizedText("", "")
    why = LocalizedText("nothing before it", "前面没有内容")
    if chosen.position == len(trace) - 1:
        why = LocalizedText("nothing after it", "后面没有内容")
    elif chosen.position:
        why = LocalizedText("too much before it to be read anew", "前面的内容太长，不便重读")
    return LocalizedText(
        f" {wanted.en.capitalize()} has {why.en}; hidden is {position_text(hidden).en}.",
        f"{wanted.zh}{why.zh}；这里遮住的是{position_text(hidden).zh}。",
    )


def _hidden_table(trace: Trace, chosen: Selection) -> list[Table]:
    """Tabulate the hidden token's probability, computed from the tokens before it alone and in the whole text."""
    hidden = _hidden(trace, chosen)
    if hidden == 0:
        return []
    token = trace.ids[hidden]
    alone = softmax(beginning(trace, hidden).logits_at(-1).astype(np.float64))[token]
    whole = softmax(trace.logits_at(hidden - 1).astype(np.float64))[token]
    rows: list[list[Entry]] = [
        [
            LocalizedText("only what stands before it", "只有前面的内容"),
            Number(float(alone), f"softmax(logits(ids[:{hidden}])[-1])[{token}]", form=".4%"),
            Number(-float(np.log(alone)), f"-log(softmax(logits(ids[:{hidden}])[-1])[{token}])"),
        ],
        [
            LocalizedText("the whole text", "整段文本"),
            Number(float(whole), "probs", (hidden - 1, token), ".4%"),
            Number(-float(np.log(whole)), f"-log(probs[{hidden - 1}, {token}])"),
        ],
    ]
    where = position_text(hidden)
    label = token_label(trace, token)
    title = LocalizedText(f"“{label}” hidden, at {where.en}", f"遮住{where.zh}的“{label}”")
    headings = [
        LocalizedText("the model reads", "模型读到的"),
        PROBABILITY,
        LocalizedText("loss (nats)", "损失（nat）"),
    ]
    return [Table(title, headings, rows)]


def _check_gap(trace: Trace, chosen: Selection) -> Check:
    hidden = _hidden(trace, chosen)
    if hidden == 0:
        alone = Statement(
            "the text is one token long: there is nothing on either side of it", "文本只有一个词元，两边都没有内容"
        )
        return Check(True, alone)
    off = relative_error(first_logits(trace, hidden), first_logits(beginning(trace, hidden), hidden))
    return Check(
        off <= TOLERANCE,
        Statement(
            "with {right} tokens put right of the first {hidden} their logits stay the same {near}",
            "在前 {hidden} 个词元的右边接上 {right} 个词元，它们的 logit 不变，{near}",
            right=integer(len(trace) - hidden, f"len(ids) - {hidden}"),
            hidden=integer(hidden, f"len(logits(ids[:{hidden}]))"),
            near=within(off, f"error(logits[:{hidden}], logits(ids[:{hidden}]))"),
        ),
    )


FIGURES = (
    Figure(
        "F01",
        LocalizedText("Suggestions above a keyboard", "键盘上方的建议"),
        part=1,
        picture=2,
        tensors=("logits", "probs"),
        draw=_keyboard,
        verify=_check_keyboard,
    ),
    Figure(
        "F02",
        LocalizedText("A hidden word", "被遮住的词"),
        part=1,
        picture=1,
        tensors=("logits", "probs"),
        draw=_gap,
        verify=_check_gap,
    ),
    Figure(
        "F04",
        LocalizedText("Ten candidates", "十个候选"),
        part=1,
        picture=None,
        tensors=("logits", "probs"),
        draw=_ten,
        verify=_check_ten,
    ),
)
