"""Part 1 of the article: greedy decoding, which can repeat itself forever, and how another choice ends that."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cutaway.figures.article.decoding import Candidate, Step, candidates, go_on, likely, tail
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import PROBABILITY, TOKEN, plural, token_label
from cutaway.figures.panels import Entry, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.trace import Trace
from cutaway.trace.once import once_for_a_trace

MOST_STEPS = 44
FEWEST_STEPS = 12
MOST_READ = 5_000_000_000  # parameters times steps: 40 steps of the 124M model, which take seconds
# a circle is a run that occurs at least TIMES times in a row and spans at least LEAST tokens
TIMES = 3
LEAST = 8
AFTER = 6  # steps after the other choice
TOGETHER = 8  # tokens in a row of the table, outside a circle
TEXT = 40  # characters of generated text
SEEN_BEFORE = LocalizedText("repeated run", "重复长度")


@dataclass(frozen=True)
class Walk:
    """Greedy decoding until the tokens repeat in a circle, and a second continuation from the step that closes it.

    The circle is `lap` tokens long, 0 if there is none, and begins after `start` steps. `largest` are the tokens with
    the largest logit after each prefix, computed in one pass. `other` is the first token of the second continuation.
    """

    steps: Sequence[Step]
    largest: Sequence[int]
    lap: int = 0
    start: int = 0
    other: Candidate | None = None
    larger: int = 0  # number of logits larger than the other choice's
    after: Sequence[Step] = ()

    @property
    def written(self) -> list[int]:
        return [step.chosen.id for step in self.steps]

    @property
    def closed(self) -> int:
        """The index of the first step that repeats a token of the circle."""
        return self.start + self.lap


@once_for_a_trace
def walk(trace: Trace) -> Walk:
    """Decode greedily from a trace until a circle is found, then again with another choice where it closes."""
    most = min(MOST_STEPS, max(FEWEST_STEPS, MOST_READ // trace.config.n_params))
    steps, last = go_on(trace, most, lambda written: find_lap(written) > 0)
    written = [step.chosen.id for step in steps]
    top = last[trace.final_residual][len(trace) - 1 :]
    ends = last.read_out(top)["logits"].argmax(axis=-1).tolist()
    lap = find_lap(written)
    if not lap:
        return Walk(steps, ends)
    start = _begins(written, lap)
    position = len(trace) + start + lap - 1
    other = candidates(last, 2, position)[-1]
    after, _ = go_on(last.edit([*last.ids[: position + 1], other.id]), AFTER)
    larger = int((last.logits_at(position) > other.logit).sum())
    return Walk(steps, ends, lap, start, other, larger, after)


def find_lap(ids: Sequence[int]) -> int:
    """Return the length of the run that repeats at the end of the ids; 0 if there is none."""
    for lap in range(1, len(ids) // TIMES + 1):
        end = ids[-max(TIMES * lap, LEAST) :]
        if len(end) >= LEAST and end[lap:] == end[:-lap]:
            return lap
    return 0


def _begins(ids: Sequence[int], lap: int) -> int:
    """Return the index from which the ids have period `lap`, to the end."""
    return next((i + 1 for i in range(len(ids) - lap - 1, -1, -1) if ids[i] != ids[i + lap]), 0)


def seen_before(ids: Sequence[int]) -> int:
    """Return the length of the longest suffix that occurs earlier in the ids."""
    lengths = range(len(ids) - 1, 0, -1)
    return next((n for n in lengths if any(ids[i : i + n] == ids[-n:] for i in range(len(ids) - n))), 0)


def _run(ids: Sequence[int]) -> Number:
    return Number(seen_before(ids), "the longest end of the written ids that stands before it", form="")


def _greedy(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    found = walk(trace)
    return (
        Note(
            LocalizedText(
                "With top-k = 1 the likeliest token is taken every time, and a model can begin to run in circles: the "
                "run of tokens that it wrote before in the same order then grows with every step. Taking the second "
                "or third token now and then is the way out.",
                "top-k = 1 时每次都取概率最大的词元，模型可能就此兜起圈子：与前文相同的一串词元会一步比一步长。"
                "偶尔取第二或第三个词元，就能走出来。",
            )
        ),
        _laps(trace, found),
        Note(_outcome(trace, found)),
        *([_two_ways(trace, found, found.other)] if found.other else []),
    )


def _laps(trace: Trace, found: Walk) -> Table:
    """Tabulate the generated ids: a row for each lap of the circle, and for every `TOGETHER` tokens before it."""
    count = len(found.steps)
    before = found.start if found.lap else count
    cuts = [*range(0, before, TOGETHER), *range(before, count, found.lap or count), count]
    rows: list[Sequence[Entry]] = []
    for first, end in pairwise(cuts):
        steps = found.steps[first:end]
        mean = float(np.mean([step.chosen.probability for step in steps]))
        ids = f"{len(steps[0].ids)} to {len(steps[-1].ids)} ids"
        shown = tail(trace, found.written[first:end], TEXT)
        run = _run(found.written[:end])
        rows.append(
            (_span(first, end), shown, Number(mean, f"mean(softmax(logits({ids})[-1]).max())", form=".2%"), run)
        )
    headings = (
        LocalizedText("steps", "步"),
        LocalizedText("written", "写出"),
        LocalizedText("mean probability", "平均概率"),
        SEEN_BEFORE,
    )
    return Table(LocalizedText("the likeliest token, each time", "每次都取概率最大的词元"), headings, rows)


def _span(first: int, end: int) -> str:
    return f"{first + 1}–{end}" if end > first + 1 else str(end)


def _outcome(trace: Trace, found: Walk) -> LocalizedText:
    """Describe whether greedy decoding ran into a circle, and where."""
    count = len(found.steps)
    start = found.start
    lap = found.lap
    if not lap:
        steps = LocalizedText(plural(count, "step"), f"{count} 步")
        full = (
            LocalizedText(", which fill the context,", "（上下文已满）")
            if len(found.steps[-1].ids) == trace.config.n_ctx
            else LocalizedText("", "")
        )
        return LocalizedText(
            f"In {steps.en}{full.en} no run of tokens stands {TIMES} times in a row: there is no circle to leave here.",
            f"在这 {steps.zh}里{full.zh}，没有哪一串词元连续出现 {TIMES} 次：这里没有圈子可出。",
        )
    times = (count - start) // lap
    same = "the same token stands" if lap == 1 else f"the same {lap} tokens stand"
    turn = tail(trace, found.written[start : start + lap], TEXT)
    return LocalizedText(
        f"From step {start + 1} on {same} {times} times in a row: {turn}. The circle closes at step "
        f"{found.closed + 1}, the first that writes again what stands {lap} before it; there another choice is made.",
        f"从第 {start + 1} 步起，同样的 {lap} 个词元连续出现 {times} 次：{turn}。第 {found.closed + 1} 步第一次写出与 "
        f"{lap} 步之前相同的词元，圈子在此合拢；下面就在这一步改选另一个词元。",
    )


def _two_ways(trace: Trace, found: Walk, other: Candidate) -> Table:
    """Compare the most and the second most likely token where the circle closes, and what each leads to."""
    closing = found.steps[found.closed]
    then = slice(found.closed + 1, found.closed + 1 + AFTER)
    before = found.written[: found.closed]
    ways = [
        (LocalizedText("the likeliest", "概率最大"), closing.chosen, found.written[then]),
        (LocalizedText("the second likeliest", "概率第二大"), other, [step.chosen.id for step in found.after]),
    ]
    rows: list[Sequence[Entry]] = [
        (
            name,
            token_label(trace, each.id),
            likely(Step(closing.ids, 0, each)),
            tail(trace, ids, TEXT),
            _run([*before, each.id, *ids]),
        )
        for name, each, ids in ways
    ]
    title = LocalizedText(f"two choices at step {found.closed + 1}", f"第 {found.closed + 1} 步的两种选择")
    return Table(
        title, (LocalizedText("choice", "选择"), TOKEN, PROBABILITY, LocalizedText("then", "随后"), SEEN_BEFORE), rows
    )


def _check_greedy(trace: Trace, chosen: Selection) -> Check:
    found = walk(trace)
    best = sum(map(int.__eq__, found.written, found.largest))
    count = len(found.steps)
    greedy = f"greedy({count})"
    statement = Statement(
        "{best} of {count} greedy tokens have the largest logit; {led}",
        "贪心选出的 {count} 个词元中，{best} 个的 logit 最大；{led}",
        best=integer(best, f"sum(argmax(logits(concat(ids, {greedy}[:-1]))[len(ids) - 1:], -1) == {greedy})"),
        count=integer(count, f"len({greedy})"),
        led=_measured(found),
    )
    if found.other:
        turn = f"logits(concat(ids, {greedy}[:{found.closed}]))[-1]"
        statement = Statement(
            "{greedy}; {larger} of all logits there {verb} above that of the other choice",
            "{greedy}；改选的词元之上还有 {larger} 个更大的 logit",
            greedy=statement,
            larger=integer(found.larger, f"sum({turn} > {turn}[{found.other.id}])"),
            verb="is" if found.larger == 1 else "are",
        )
    return Check(best == count and found.larger <= 1, statement)


def _measured(found: Walk) -> Statement:
    greedy = f"greedy({len(found.steps)})"
    if not found.lap:
        longest = max(seen_before(found.written[:n]) for n in range(1, len(found.steps) + 1))
        return Statement(
            "no circle was found; the longest repeated run is {longest}",
            "没有陷入循环；最长的重复长度为 {longest}",
            longest=integer(longest, f"longest_repeat({greedy})"),
        )
    again = sum(map(int.__eq__, found.written[found.start :], found.written[found.closed :]))
    return Statement(
        "from step {step} on {again} of {count} are the token {lap} before",
        "从第 {step} 步起的 {count} 个中，{again} 个与 {lap} 步之前相同",
        step=integer(found.closed + 1, f"circle_start({greedy}) + circle_length({greedy}) + 1"),
        again=integer(again, f"sum({greedy}[{found.closed}:] == {greedy}[{found.start}:-{found.lap}])"),
        count=integer(len(found.steps) - found.closed, f"len({greedy}[{found.closed}:])"),
        lap=integer(found.lap, f"circle_length({greedy})"),
    )


FIGURES = (
    Figure(
        "T1",
        LocalizedText("Always the likeliest: running in circles", "每次取最可能的词元：陷入循环"),
        part=1,
        picture=None,
        tensors=("ids", "logits"),
        draw=_greedy,
        verify=_check_greedy,
    ),
)
