"""Part 3 of the article: summaries by a decoder-only model - layout of the training data, and a generated summary."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.figures.article.decoding import beginning, candidates
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import HOW_MANY, ID, PROBABILITY, TOKEN, WHAT, plural, token_label
from cutaway.figures.panels import Entry, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import distribution
from cutaway.tasks import TaskEncoder, open_task
from cutaway.tasks.sentences import first_sentences
from cutaway.tokenizer.codec import Codec, TokenCodec
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.joining import decode_by
from cutaway.trace import Trace
from cutaway.trace.once import once_for_a_trace

EXAMPLE = {
    "title": "Marie Curie",
    "body": "She was born in Warsaw and studied in Paris. She won two Nobel Prizes.",
    "lead": "Marie Curie was a physicist and chemist.",
}
CONTEXT = 4096  # the paper's sequences have up to 4,000 tokens
BEFORE = 6  # tokens of the prompt listed before the label
MARK = "TL;DR:"
PROTOCOL = open_task("tldr").decoding  # the GPT-2 paper's
SEED = 1
MOST_READ = 3_000_000_000  # parameters times steps
MOST_LISTED = 24  # generated tokens with a row each
READ = LocalizedText("read", "只读")
LEARNED = LocalizedText("learned", "要学")


def _encoder(trace: Trace) -> TaskEncoder:
    """Return the encoder of summaries for the trace's tokenizer, or for GPT-2's if the trace has no text tokenizer."""
    own = trace.tokenizer
    codec = own if isinstance(own, Codec) and own.eos is not None else Tokenizer.gpt2()
    return TaskEncoder(open_task("wiki-lead"), codec, CONTEXT)


def _layout(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    encoder = _encoder(trace)
    example = encoder.encode(EXAMPLE)
    n_prompt = len(encoder.prompt(EXAMPLE))
    ids = example.ids.tolist()
    own = encoder.codec is trace.tokenizer
    whose = LocalizedText("", "") if own else LocalizedText(" The ids are GPT-2's own.", "编号是 GPT-2 自己的。")
    listed = range(max(0, n_prompt - BEFORE), len(ids))
    return (
        Note(
            LocalizedText(
                "An article without its beginning is read, and its beginning is the label: one text, joined by TL;DR:. "
                f"Only the tokens after that are learned.{whose.en}",
                f"读入去掉开头部分的文章，开头部分就是标签：合成一段文本，以 TL;DR: 相连。只学其后的词元。{whose.zh}",
            )
        ),
        Table(
            LocalizedText("the parts of an example, in their order", "一个样本的各部分，按顺序"),
            [WHAT, LocalizedText("text", "文本"), HOW_MANY, ""],
            [
                (
                    LocalizedText("article", "文章"),
                    _cut(EXAMPLE["title"] + " … " + EXAMPLE["body"]),
                    *_part(n_prompt, 0),
                ),
                (LocalizedText("label", "标签"), _cut(EXAMPLE["lead"]), *_part(len(ids) - n_prompt, 1)),
            ],
        ),
        Table(
            LocalizedText("where the label begins", "标签从哪里开始"),
            [TOKEN, ID, ""],
            [
                (
                    encoder.codec.label(ids[i]),
                    Number(ids[i], f"summary.example[{i}]", form=",d"),
                    LEARNED if example.learned[i] else READ,
                )
                for i in listed
            ],
        ),
    )


def _part(count: int, place: int) -> tuple[Entry, Entry]:
    formula = "len(summary.example) - len(summary.prompt)" if place else "len(summary.prompt)"
    return integer(count, formula), LEARNED if place else READ


def _cut(text: str) -> str:
    return text if len(text) <= 44 else f"{text[:43]}…"


def _check_layout(trace: Trace, chosen: Selection) -> Check:
    encoder = _encoder(trace)
    example = encoder.encode(EXAMPLE)
    prompt = encoder.prompt(EXAMPLE)
    ids = example.ids.tolist()
    same = sum(one == other for one, other in zip(prompt, ids, strict=False))
    learned = int(example.learned.sum())
    after = int(example.learned[len(prompt) :].sum())
    return Check(
        same == len(prompt) and learned == after == len(ids) - len(prompt) and ids[-1] == encoder.codec.eos,
        Statement(
            "of the example's {all:id} the first {same} are the {prompt} of the prompt; {learned} are learned, "
            "{after} of them after it, up to the end of the text",
            "样本的 {all} 个编号中，前 {same} 个就是提示的 {prompt} 个；要学的有 {learned} 个，"
            "其中 {after} 个在提示之后，直到文本结束",
            all=integer(len(ids), "len(summary.example)"),
            same=integer(same, "sum(summary.example[:len(summary.prompt)] == summary.prompt)"),
            prompt=integer(len(prompt), "len(summary.prompt)"),
            learned=integer(learned, "len(summary.example) - len(summary.prompt)"),
            after=integer(after, "len(summary.example[len(summary.prompt):])"),
        ),
    )


@dataclass(frozen=True)
class Written:
    """A generated summary: the ids of source and mark, how many belong to the source, and the generated ids.

    The first `MOST_LISTED` generated tokens have rows.
    """

    prompt: tuple[int, ...]
    n_source: int
    ids: tuple[int, ...]
    rows: tuple[tuple[Entry, ...], ...]
    ranks: tuple[int, ...]  # of each generated token, among the logits of one pass over all


@once_for_a_trace
def write_summary(trace: Trace) -> Written:
    """Generate a summary from a text and TL;DR:, by the protocol of the GPT-2 paper.

    >>> import cutaway
    >>> found = write_summary(cutaway.load(engine="reference").trace("A robot must obey."))
    >>> len(found.prompt) - found.n_source, max(found.ranks)  # " TL;DR:"; the second likeliest
    (4, 1)
    """
    source, mark = _source_and_mark(trace)
    now = beginning(trace, len(source), base=trace)
    for token in mark:
        now = now.append(token)
    rng = np.random.default_rng(SEED)
    settings = GenerationConfig(temperature=PROTOCOL.temperature, top_k=PROTOCOL.top_k)
    most = min(_most_steps(trace), trace.config.n_ctx + 1 - len(now))
    written: list[int] = []
    rows: list[tuple[Entry, ...]] = []
    while len(written) < most and not _is_finished(trace, written):
        if written:
            now = now.append(written[-1])
        ids, shares = distribution(now.logits_at(-1), settings)
        written.append(int(rng.choice(ids, p=shares / shares.sum())))
        if len(rows) < MOST_LISTED:
            rows.append(_written_row(now, written[-1]))
    logits = now.read_out(now[now.final_residual][len(source) + len(mark) - 1 :])["logits"]
    ranks = [int((row > row[token]).sum()) for row, token in zip(logits, written, strict=True)]
    return Written((*source, *mark), len(source), tuple(written), tuple(rows), tuple(ranks))


def _most_steps(trace: Trace) -> int:
    """Return the maximum number of tokens to generate: the protocol's, or fewer with a large model, to save time."""
    return min(PROTOCOL.max_new_extra, max(8, MOST_READ // trace.config.n_params))


def _is_finished(trace: Trace, written: Sequence[int]) -> bool:
    """Return True after the end-of-text token, or if a sentence begins after the last one that counts."""
    codec = trace.tokenizer
    if codec is None or not written:
        return False
    text = _text(codec, written) if isinstance(codec, Codec) else ""
    return written[-1] == codec.eos or first_sentences(text, PROTOCOL.sentences) != text.strip()


def _text(codec: Codec, ids: Sequence[int]) -> str:
    return decode_by(codec.stream(), (i for i in ids if i != codec.eos))  # ids without a token have no text


def _written_row(now: Trace, token: int) -> tuple[Entry, ...]:
    """Return the sampled token, its probability, and the most likely other token."""
    likeliest = candidates(now, min(2, now.config.n_vocab))
    other = next((each.id for each in likeliest if each.id != token), token)
    chance = next((each.probability for each in likeliest if each.id == token), 0.0)
    formula = f"softmax(logits(summary.ids[:{len(now)}])[-1])[{token}]"
    return token_label(now, token), Number(chance, formula, form=".2%"), token_label(now, other)


def _source_and_mark(trace: Trace) -> tuple[tuple[int, ...], list[int]]:
    """Return the ids of the source, truncated to leave room for the summary, and the ids of TL;DR:."""
    ids = trace.ids
    codec = trace.tokenizer
    if not isinstance(codec, Codec):
        return ids, []
    for mark in (codec.encode(f"\n\n{MARK}"), codec.encode(f" {MARK}")):
        for end in range(len(mark) + 1, len(ids) + 1):
            if list(ids[end - len(mark) : end]) == mark:  # the text has the mark: what follows it is generated again
                return ids[: end - len(mark)], mark
    mark = codec.encode(f" {MARK}")
    room = trace.config.n_ctx - len(mark) - min(PROTOCOL.max_new_extra, trace.config.n_ctx // 4)
    if room < 1 or max(mark) >= trace.config.n_vocab:
        return ids, []
    return ids[:room], mark


def _summary(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    found = write_summary(trace)
    count = len(found.ids)
    listed = (
        LocalizedText(f", the first {MOST_LISTED} of {count}", f"，{count} 个中的前 {MOST_LISTED} 个")
        if count > MOST_LISTED
        else LocalizedText("", "")
    )
    return (
        Note(_protocol(trace, found)),
        Note(_said(trace.tokenizer, found)),
        Table(
            LocalizedText(
                f"what was drawn, and what else could have been{listed.en}", f"采样到的词元，以及另一个候选{listed.zh}"
            ),
            [TOKEN, PROBABILITY, LocalizedText("the other of the two", "两个中的另一个")],
            found.rows,
        ),
    )


def _protocol(trace: Trace, found: Written) -> LocalizedText:
    """Describe the input, and how the continuation is sampled."""
    cut = len(trace.ids) - found.n_source
    less = (
        LocalizedText(f" (the last {cut:,} are left out)", f"（略去最后 {cut:,} 个）") if cut else LocalizedText("", "")
    )
    most = _most_steps(trace)
    fewer = (
        LocalizedText(
            f" (the paper's {PROTOCOL.max_new_extra} take long here)",
            f"（论文是 {PROTOCOL.max_new_extra} 个，在这里太慢）",
        )
        if most < PROTOCOL.max_new_extra
        else LocalizedText("", "")
    )
    return LocalizedText(
        f"The source is the {plural(found.n_source, 'token')} of this text{less.en}, then TL;DR:. As in GPT-2's "
        f"paper each token is drawn from the two likeliest (top-k {PROTOCOL.top_k}, seed {SEED}), at most "
        f"{most}{fewer.en}, and the first {PROTOCOL.sentences} sentences are kept. A model that has not "
        "learned to summarize writes on, and this shows how well that goes. One that has is sampled in the "
        "same way here; cutaway summarize decodes as its task says.",
        f"原文是这段文本的 {found.n_source} 个词元{less.zh}，接着是 TL;DR:。按 GPT-2 论文的做法，"
        f"每个词元都从概率最大的两个中采样（top-k {PROTOCOL.top_k}，种子 {SEED}），最多 {most} 个{fewer.zh}，"
        f"保留前 {PROTOCOL.sentences} 句。没有学过写摘要的模型只是接着写，这里可以看到效果如何。"
        "学过的模型在这里也这样采样；cutaway summarize 则按其任务的设定解码。",
    )


def _said(codec: TokenCodec | None, found: Written) -> LocalizedText:
    """Quote the summary, if the ids are text."""
    if not isinstance(codec, Codec):
        return LocalizedText(
            "This model's ids are no text: what follows them is shown, without TL;DR:.",
            "这个模型的编号不是文字：下面是接在其后的编号，没有 TL;DR:。",
        )
    text = " ".join(first_sentences(_text(codec, found.ids), PROTOCOL.sentences).split())
    return LocalizedText(f"It writes: {text}", f"它写出：{text}")


def _check_summary(trace: Trace, chosen: Selection) -> Check:
    found = write_summary(trace)
    among = sum(rank < PROTOCOL.top_k for rank in found.ranks)
    count = len(found.ids)
    rows = f"logits(summary.ids[:-1])[{len(found.prompt) - 1}:]"
    return Check(
        among == count,
        Statement(
            "{among} of {count:token} written are among the two likeliest when the whole text is read at once, after "
            "{source} of the source",
            "整段文本一次读入时，写出的 {count} 个词元中有 {among} 个属于概率最大的两个，原文有 {source} 个词元",
            among=integer(among, f"sum(2 > ranks({rows}, summary.ids[{len(found.prompt)}:]))"),
            count=integer(count, f"len(summary.ids[{len(found.prompt)}:])"),
            source=integer(found.n_source, f"len(summary.ids[:{found.n_source}])"),
        ),
    )


FIGURES = (
    Figure(
        "F61",
        LocalizedText("Summaries: the layout of the training data", "摘要：训练数据的排列"),
        part=3,
        picture=59,
        tensors=("ids",),
        draw=_layout,
        verify=_check_layout,
    ),
    Figure(
        "F62",
        LocalizedText("Summaries: what the model writes", "摘要：模型写出的文字"),
        part=3,
        picture=60,
        tensors=("ids", "logits"),
        draw=_summary,
        verify=_check_summary,
    ),
)
