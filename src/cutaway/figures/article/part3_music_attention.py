"""Part 3 of the article: attention drawn on a piano roll."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.accuracy import within
from cutaway.figures.article.part3_music_events import CODEC, EVENTS
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import token_label
from cutaway.figures.panels import Cells, LocalizedText, Note, Number, Panel, Roll, computed, integer
from cutaway.figures.statement import Statement
from cutaway.layout import percent
from cutaway.music.codecs import music_codec
from cutaway.music.performance import Reading
from cutaway.music.roll import sum_on_notes
from cutaway.numerics import FloatArray
from cutaway.trace import Trace

MOST_NOTES = 48  # with arcs; the weight on other notes counts as elsewhere
THRESHOLD = 0.01  # smallest weight of a head on a note with arcs


def _attention_on_the_roll(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    codec = music_codec(trace.tokenizer)
    if codec is None:
        return _layout()
    reading = codec.read(trace.ids)
    label = token_label(trace, trace.ids[chosen.position])
    seconds = reading.times[chosen.position]
    layer = chosen.layer
    place = chosen.position
    cells, targets = note_cells(trace, chosen, reading)
    return (
        Note(
            LocalizedText(
                f"What the heads of layer {layer} look at from “{label}”, token {place} (from 0), at {seconds:.2f} s: "
                "an arc to each note, in the colour of its head and as wide as the weight on the note's tokens. A note "
                "is the more opaque the louder it is. What is on times, velocities and notes without an arc (less than "
                f"{percent(THRESHOLD, 0)} of every head) is the grey end of a head's strip, so that arcs and strip "
                "make 1.",
                f"层 {layer} 的各个头从“{label}”（第 {place} 个词元，从 0 数起，{seconds:.2f} 秒处）看向哪里："
                "每个音符一条弧线，颜色是头，宽度是落在这个音符各词元上的权重。音符越响越不透明。落在时间、力度和没有弧线的音符"
                f"（每个头都不到 {percent(THRESHOLD, 0)}）上的权重，是每条横带末端的灰色，所以弧线与横带合起来是 1。",
            )
        ),
        Roll(
            LocalizedText("attention on the piano roll", "钢琴卷帘上的注意力"),
            reading.notes,
            seconds,
            reading.owners[place],
            targets,
            cells,
        ),
    )


def _layout() -> Sequence[Panel]:
    return (
        Note(
            LocalizedText(
                "This model's ids are no music, so there are no arcs here: load a model of music (its directory has a "
                "codec.json). Below is the roll of the article's events, by the codec alone.",
                "这个模型的编号不是音乐，所以这里没有弧线：请载入音乐模型（其目录里有 codec.json）。"
                "下面只用编解码器画出文章例子的钢琴卷帘。",
            )
        ),
        Roll(LocalizedText("the piano roll", "钢琴卷帘"), CODEC.read(EVENTS).notes),
    )


def note_cells(trace: Trace, chosen: Selection, reading: Reading) -> tuple[Cells, list[int]]:
    """Return the weights (H, N + 1) of the heads on N notes and on everything else, and the indices of the notes."""
    weights = _row(trace, chosen)
    sums = sum_on_notes(reading, weights)
    largest = sums[:, :-1].max(axis=0, initial=0)
    order = np.argsort(-largest, kind="stable")[:MOST_NOTES]
    targets = sorted(int(note) for note in order if largest[note] >= THRESHOLD)
    shown = sums[:, targets]
    rest = sums.sum(axis=1) - shown.sum(axis=1)
    formula = f"attn.{chosen.layer}[:, {chosen.position}] @ notes"
    return computed(formula, np.column_stack([shown, rest])), targets


def _row(trace: Trace, chosen: Selection) -> FloatArray:
    """Return the attention weights (H, position + 1) of the selected token."""
    return trace[f"attn.{chosen.layer}"][:, chosen.position, : chosen.position + 1].astype(np.float64)


def _check_attention(trace: Trace, chosen: Selection) -> Check:
    row = f"attn.{chosen.layer}[:, {chosen.position}, :{chosen.position + 1}]"
    weights = _row(trace, chosen)
    off = float(np.abs(weights.sum(axis=1) - 1).max())
    near = within(off, f"max(abs(sum({row}, -1) - 1))")
    codec = music_codec(trace.tokenizer)
    if codec is None:
        return Check(
            off < 1e-5,
            Statement(
                "without music no arc is drawn; the weights of each head sum to 1 {near}",
                "没有音乐，就没有弧线；每个头的权重之和为 1，{near}",
                near=near,
            ),
        )
    reading = codec.read(trace.ids)
    cells, targets = note_cells(trace, chosen, reading)
    tokens = [place for place, owner in enumerate(reading.owners[: chosen.position + 1]) if owner in targets]
    arcs = cells.values[:, :-1].sum(axis=1)
    shown = float(arcs[chosen.head])
    most = float(arcs.max())
    apart = float(np.abs(arcs - weights[:, tokens].sum(axis=1)).max())
    return Check(
        off < 1e-5 and most <= 1 + 1e-5 and apart < 1e-5,
        Statement(
            "head {head} gives {shown} of its weight to {n:note} with arcs, no head more than {most}, and what is "
            "elsewhere makes it 1 {near}",
            "头 {head} 把 {shown} 的权重给了 {n} 个有弧线的音符，各头最多 {most}；加上别处的权重为 1，{near}",
            head=integer(chosen.head, "head"),
            shown=Number(shown, f"sum({row}[{chosen.head}, {tokens}])", form=".2%"),
            n=integer(len(targets), f"len({targets})"),
            most=Number(most, f"max(sum({row}[:, {tokens}], -1))", form=".2%"),
            near=near,
        ),
    )


FIGURES = (
    Figure(
        "F66",
        LocalizedText("Music: attention drawn on the piano roll", "音乐：画在钢琴卷帘上的注意力"),
        part=3,
        picture=64,
        tensors=("attn.L",),
        draw=_attention_on_the_roll,
        verify=_check_attention,
    ),
)
