"""Part 3 of the article: a vocabulary of musical events, a sequence of events, and one-hot vectors."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import HOW_MANY, WHAT
from cutaway.figures.panels import (
    Box,
    Cells,
    Drawing,
    Entry,
    Grid,
    Label,
    LocalizedText,
    Note,
    Number,
    Panel,
    Roll,
    Table,
    computed,
    integer,
)
from cutaway.figures.statement import Statement
from cutaway.music import perf388
from cutaway.music.perf388 import NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY, PerformanceCodec
from cutaway.music.pitches import pitch_name
from cutaway.trace import Trace

N_EVENTS = perf388.END  # as in the article: without END, which the article does not have
EVENTS = perf388.EXAMPLE
CODEC = PerformanceCodec()

KINDS = (  # first id, its name in perf388, colour
    (NOTE_ON, "NOTE_ON", "query", LocalizedText("a key goes down", "按下琴键")),
    (NOTE_OFF, "NOTE_OFF", "key", LocalizedText("a key goes up", "松开琴键")),
    (TIME_SHIFT, "TIME_SHIFT", "value", LocalizedText("time passes", "时间流逝")),
    (VELOCITY, "VELOCITY", "mlp", LocalizedText("how hard keys are struck", "击键力度")),
)
ENDS = [*(first for first, *_ in KINDS[1:]), N_EVENTS]  # the first id after each kind
IN_THE_ARTICLE = LocalizedText("in the article, from 1", "文章里（从 1 数起）")
EVENT = LocalizedText("event", "事件")
ID = LocalizedText("id", "编号")
COLUMNS = 72  # of the ruler


def _ruler(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    return (
        Note(
            LocalizedText(
                "The vocabulary of music is 388 events instead of 50,257 pieces of words: each key of MIDI goes down "
                "or up, time passes in steps of 10 ms, and a velocity holds for the notes after it. The article counts "
                "the events from 1; ids here count from 0, as those of words do, so the article's number is one more. "
                "A 389th, ours, ends a piece. No model is needed for this: the codec alone says it.",
                "音乐的词表不是 50,257 个词片段，而是 388 个事件：MIDI 的每个键按下或松开，时间以 10 毫秒为一步流逝，"
                "力度对其后的音符有效。文章从 1 数事件；这里的编号与词元一样从 0 数起，所以文章的号码总大 1。"
                "第 389 个是我们加的，表示一首结束。这里不需要模型，只要编解码器。",
            )
        ),
        _ruler_drawing(),
        Table(
            LocalizedText("kinds of events", "事件的种类"),
            [
                WHAT,
                HOW_MANY,
                ID,
                "…",
                IN_THE_ARTICLE,
                "…",
                LocalizedText("first", "第一个"),
                LocalizedText("last", "末一个"),
            ],
            [_kind_row(kind) for kind in range(len(KINDS))],
        ),
    )


def _ruler_drawing() -> Drawing:
    """Draw the ids as a ruler; the length of a kind is its number of events."""
    shapes: list[Box | Label] = []
    for (first, name, colour, _), end in zip(KINDS, ENDS, strict=True):
        x = round(COLUMNS * first / N_EVENTS)
        width = round(COLUMNS * end / N_EVENTS) - x
        shapes.append(Box(x, 0, width, 3, "VEL" if name == "VELOCITY" else name, colour))
        shapes.append(Label(x, 3, str(first)))
    shapes.append(Label(COLUMNS + 1, 1, str(N_EVENTS - 1)))
    return Drawing(LocalizedText("the ids, to scale", "编号，按比例"), shapes)


def _kind_row(kind: int) -> list[Entry]:
    first, name, _, words = KINDS[kind]
    last = ENDS[kind] - 1
    after = f"perf388.{KINDS[kind + 1][1]}" if kind + 1 < len(KINDS) else "perf388.END"
    start = f"perf388.{name}"
    return [
        words,
        integer(last + 1 - first, f"{after} - {start}"),
        integer(first, f"{start} + 0"),
        integer(last, f"{after} - 1"),
        integer(first + 1, f"{start} + 1"),
        integer(last + 1, f"{after} - 1 + 1"),
        CODEC.label(first),
        CODEC.label(last),
    ]


def _does(index: int) -> str:
    """Find the kind of an id, from the notes and times that the codec decodes."""
    if CODEC.seconds(index) > 0:
        return "TIME_SHIFT"
    if CODEC.read([index]).notes:
        return "NOTE_ON"
    pressed = list(range(NOTE_ON, NOTE_OFF))
    if CODEC.read([*pressed, index]).owners[-1] >= 0:
        return "NOTE_OFF"
    loudness = {CODEC.read([index, 60]).notes[0].velocity, CODEC.read([VELOCITY, index, 60]).notes[0].velocity}
    return "VELOCITY" if len(loudness) == 1 else "END"


def _check_ruler(trace: Trace, chosen: Selection) -> Check:
    found = Counter(map(_does, range(CODEC.n_vocab)))
    kinds = [name for _, name, *_ in KINDS]
    total = sum(found[kind] for kind in kinds)
    expected = [end - first for (first, *_), end in zip(KINDS, ENDS, strict=True)]
    names = {kind: integer(found[kind], f"count_events('{kind}')") for kind in kinds}
    return Check(
        [found[kind] for kind in kinds] == expected and found["END"] == 1,
        Statement(
            "of the codec's {all:id}, {on} strike a key, {off} release one, {shift} let time pass and {velocity} set a "
            "velocity: {total} events, and {end} more ends a piece",
            "编解码器的 {all} 个编号中，{on} 个按下琴键，{off} 个松开琴键，{shift} 个让时间流逝，"
            "{velocity} 个设定力度：共 {total} 个事件，另有 {end} 个表示一首结束",
            all=integer(CODEC.n_vocab, "perf388.N_VOCAB"),
            on=names["NOTE_ON"],
            off=names["NOTE_OFF"],
            shift=names["TIME_SHIFT"],
            velocity=names["VELOCITY"],
            total=integer(total, "perf388.END + 0"),
            end=integer(found["END"], "count_events('END')"),
        ),
    )


def _sequence(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    reading = CODEC.read(EVENTS)
    return (
        Note(
            LocalizedText(
                "The article's example: fifteen events in their order, and the notes that the codec reads from them. A "
                "velocity is one of 32 steps of 4: step 80 holds 80 to 83, and sounds as its middle, 82.",
                "文章的例子：按顺序排列的十五个事件，以及编解码器从中读出的音符。力度分 32 档，每档 4："
                "80 档包括 80 至 83，以中间的 82 发声。",
            )
        ),
        Table(
            LocalizedText("the events", "事件"),
            ["", EVENT, ID, IN_THE_ARTICLE, LocalizedText("time after it, s", "其后的时间（秒）")],
            [_event_row(i, reading.times[i]) for i in range(len(EVENTS))],
        ),
        Roll(LocalizedText("the piano roll", "钢琴卷帘"), reading.notes),
        Table(
            LocalizedText("the notes", "音符"),
            [
                LocalizedText("note", "音符"),
                LocalizedText("pitch", "音高"),
                LocalizedText("from, s", "起（秒）"),
                LocalizedText("to, s", "止（秒）"),
                LocalizedText("velocity", "力度"),
            ],
            [_note_row(i) for i in range(len(reading.notes))],
        ),
    )


def _event_row(i: int, seconds: float) -> list[Entry]:
    return [
        str(i),
        CODEC.label(EVENTS[i]),
        integer(EVENTS[i], f"article.events[{i}]"),
        integer(EVENTS[i] + 1, f"article.events[{i}] + 1"),
        Number(seconds, f"perf388.times(article.events)[{i}]", form=".2f"),
    ]


def _note_row(i: int) -> list[Entry]:
    note = CODEC.read(EVENTS).notes[i]
    source = f"perf388.notes(article.events)[{i}, "
    return [
        pitch_name(note.pitch),
        integer(note.pitch, f"{source}2]"),
        Number(note.onset, f"{source}0]", form=".2f"),
        Number(note.offset, f"{source}1]", form=".2f"),
        integer(note.velocity, f"{source}3]"),
    ]


def _check_sequence(trace: Trace, chosen: Selection) -> Check:
    performance = CODEC.decode(EVENTS)
    again = CODEC.encode(performance)
    same = sum(one == other for one, other in zip(again, EVENTS, strict=False))
    return Check(
        again == list(EVENTS),
        Statement(
            "the {n:event} are decoded to {notes:note} that last {seconds} s, and encoded again {same} of them are the "
            "same",
            "{n} 个事件解码为 {notes} 个音符，历时 {seconds} 秒；再编码后有 {same} 个与原来相同",
            n=integer(len(EVENTS), "len(article.events)"),
            notes=integer(len(performance.notes), "len(perf388.notes(article.events))"),
            seconds=Number(performance.seconds, "max(perf388.notes(article.events)[:, 1])", form="g"),
            same=integer(same, "sum(perf388.encode(perf388.notes(article.events)) == article.events)"),
        ),
    )


def _vectors() -> Cells:
    """Return the events as one-hot vectors (15, 388)."""
    matrix = np.zeros((len(EVENTS), N_EVENTS), np.float32)
    matrix[range(len(EVENTS)), list(EVENTS)] = 1
    return computed("one_hot(article.events, 388)", matrix)


def _one_hot(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    return (
        Note(
            LocalizedText(
                "Each event is a vector of 388 numbers, a row here and a column in the article: a 1 at its id, and 0 "
                "everywhere else. A model never multiplies by it: a one-hot vector times the embedding matrix is a row "
                "of that matrix.",
                "每个事件是 388 个数的向量，这里是一行，文章里是一列：在其编号处为 1，其余全为 0。"
                "模型并不真的拿它去乘：独热向量乘以嵌入矩阵，就是那个矩阵的一行。",
            )
        ),
        Grid(
            LocalizedText("the article's events, one-hot", "文章的事件，独热向量"),
            _vectors(),
            "size",
            [CODEC.label(index) for index in EVENTS],
            [CODEC.label(index) for index in range(N_EVENTS)],
            LocalizedText("row: the event", "行：事件"),
            LocalizedText("column: the id", "列：编号"),
        ),
        Table(
            LocalizedText("the column of each 1", "每个 1 所在的列"),
            [EVENT, LocalizedText("column, from 0", "列（从 0 数起）"), IN_THE_ARTICLE],
            [
                [
                    CODEC.label(index),
                    integer(index, f"argmax(one_hot(article.events, 388)[{i}])"),
                    integer(index + 1, f"argmax(one_hot(article.events, 388)[{i}]) + 1"),
                ]
                for i, index in enumerate(EVENTS)
            ],
        ),
    )


def _check_one_hot(trace: Trace, chosen: Selection) -> Check:
    matrix = _vectors().values
    ones = int((matrix == 1).sum())
    zeros = int((matrix == 0).sum())
    rows = int(((matrix == 1).sum(1) == 1).sum())
    size = matrix.shape[0] * matrix.shape[1]
    return Check(
        rows == len(EVENTS) and ones + zeros == size and matrix.argmax(1).tolist() == list(EVENTS),
        Statement(
            "{rows} of {n:vector} have exactly one 1; of {size} numbers {zeros} are 0 and {ones} are 1",
            "{n} 个向量中有 {rows} 个恰有一个 1；{size} 个数里 {zeros} 个为 0，{ones} 个为 1",
            rows=integer(rows, "sum(sum(one_hot(article.events, 388), 1) == 1)"),
            n=integer(len(EVENTS), "len(article.events)"),
            size=integer(size, "388 * len(article.events)"),
            zeros=integer(zeros, "sum(one_hot(article.events, 388) == 0)"),
            ones=integer(ones, "sum(one_hot(article.events, 388) == 1)"),
        ),
    )


FIGURES = (
    Figure(
        "F63",
        LocalizedText("Music: a vocabulary of events", "音乐：事件词表"),
        part=3,
        picture=61,
        draw=_ruler,
        verify=_check_ruler,
    ),
    Figure(
        "F64",
        LocalizedText("Music: a sequence of events and its piano roll", "音乐：事件序列与钢琴卷帘"),
        part=3,
        picture=62,
        draw=_sequence,
        verify=_check_sequence,
    ),
    Figure(
        "F65",
        LocalizedText("Music: events as one-hot vectors", "音乐：事件的独热向量"),
        part=3,
        picture=63,
        draw=_one_hot,
        verify=_check_one_hot,
    ),
)
