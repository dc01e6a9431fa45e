"""Part 1 of the article: from the vector that leaves the last block to the next token."""

from collections.abc import Sequence

import numpy as np

from cutaway.engine import Float32
from cutaway.figures.article.norms import exact_norm
from cutaway.figures.article.steps import candidate_table, candidates
from cutaway.figures.article.views import TOLERANCE, apart, part, within
from cutaway.figures.content import (
    Bars,
    Cells,
    Check,
    Entry,
    Grid,
    Note,
    Number,
    Panel,
    Selection,
    Table,
    Text,
    Words,
    computed,
)
from cutaway.figures.labels import ID, TOKEN, place, token_label
from cutaway.figures.registry import Figure
from cutaway.reference import softmax
from cutaway.sampling import Sampling, choose, distribution
from cutaway.trace import Trace

LIKELIEST = 10  # tokens that are named
FIRST_IDS = 12  # entries of the vocabulary that are shown in their order
SEED = 1


def _read_out(trace: Trace, position: int) -> dict[str, Float32]:
    """ln_f (d,), logits (V,) and probs (V,) of one position; those of all positions can be hundreds of megabytes."""
    last = trace[f"resid.post.{trace.config.n_layer - 1}"]
    read = {name: array[0] for name, array in trace.read_out(last[position][None]).items()}
    return read | {"probs": softmax(read["logits"])}


def _row(trace: Trace, tensor: str, row: Float32, position: int) -> Cells:
    """The cells of a tensor's row that was computed without the others."""
    return Cells(row[None], tensor, (len(trace), len(row)), position * len(row), (0, 1))


def _falling(logits: Float32) -> list[int]:
    """The ids of the likeliest tokens, the likeliest first."""
    return [int(token) for token in np.argsort(-logits, kind="stable")[:LIKELIEST]]


def _output_matrix(trace: Trace) -> str:
    return "wte.weight" if trace.config.tie_word_embeddings else "lm_head.weight"


def _unembedding(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    p, name = chosen.position, _output_matrix(trace)
    read = _read_out(trace, p)
    best = _falling(read["logits"])
    label = token_label(trace, best[0])
    tied = Words(
        "The matrix is wte, the one that the tokens came in by.", "这个矩阵就是输入时用的 wte，两处是同一份数据。"
    )
    untied = Words("This model has a matrix of its own for it.", "这个模型的输出矩阵是单独的一份。")
    on_the_matrix = tied if trace.config.tie_word_embeddings else untied
    return (
        Note(
            Words(
                f"The vector that leaves the last block at {place(p).en} goes through a last LayerNorm, ln_f; its dot "
                f"product with each row of a matrix is that token's score, the logit. {on_the_matrix.en}",
                f"在{place(p).zh}，离开最后一个块的向量先经过最后一次层归一化 ln_f，再与矩阵的每一行做点积，"
                f"得到每个词元的分数，即 logit。{on_the_matrix.zh}",
            )
        ),
        Grid(f"ln_f[{p}]", _row(trace, "ln_f", read["ln_f"], p), "signed"),
        Grid(
            Words(f"{name}[{best[0]}], the row of {label}", f"{name}[{best[0]}]：{label} 的那一行"),
            part(trace, name, best[0]),
            "signed",
        ),
        _products(trace, read, best[:5], p),
    )


def _products(trace: Trace, read: dict[str, Float32], best: Sequence[int], position: int) -> Table:
    """The scores of a few tokens: each its dot product, and what the model computed."""
    name = _output_matrix(trace)
    rows = [
        (
            token_label(trace, token),
            str(token),
            Number(float(read["ln_f"] @ trace[name][token]), f"ln_f[{position}] @ {name}[{token}]"),
            Number(float(read["logits"][token]), "logits", (position, token)),
        )
        for token in best
    ]
    return Table(
        Words("the highest scores", "分数最高的词元"),
        (TOKEN, ID, Words("dot product", "点积"), "logit"),
        rows,
    )


def _check_unembedding(trace: Trace, chosen: Selection) -> Check:
    """The last LayerNorm by its formula, and the whole product; where the head is tied also the text's own tokens, from
    the vectors that they came in with.
    """
    read, name, p = _read_out(trace, chosen.position), _output_matrix(trace), chosen.position
    last = f"resid.post.{trace.config.n_layer - 1}"
    norm = apart(read["ln_f"], exact_norm(trace, "ln_f", trace[last][p])[2])
    off = apart(trace[name] @ read["ln_f"], read["logits"])
    near, normal = within(off), within(norm)
    made = Words(
        f"ln_f[{p}] is the LayerNorm of {last}[{p}] {normal.en}; ln_f[{p}] @ {name}.T is logits[{p}] {near.en}",
        f"ln_f[{p}] 是 {last}[{p}] 的层归一化，{normal.zh}；ln_f[{p}] @ {name}.T 等于 logits[{p}]，{near.zh}",
    )
    if not trace.config.tie_word_embeddings:
        return Check(max(norm, off) <= TOLERANCE, made)
    entered = apart(trace["tok_emb"] @ read["ln_f"], read["logits"][list(trace.ids)])
    tied = within(entered)
    return Check(
        max(norm, off, entered) <= TOLERANCE,
        Words(
            f"{made.en}; for the {len(trace)} tokens of the text the vectors that they came in by give it too, "
            f"{tied.en}",
            f"{made.zh}；对文本的 {len(trace)} 个词元，用它们输入时的向量计算也是如此，{tied.zh}",
        ),
    )


def _scores(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    p, logits = chosen.position, trace.logits_at(chosen.position)
    size, shown = len(logits), min(FIRST_IDS, len(logits))
    return (
        Note(
            Words(
                f"A score for each of the {size:,} tokens of the vocabulary, after {place(p).en}. A logit is no "
                "probability: it may be negative, and the logits do not sum to 1. The softmax makes probabilities of "
                "them.",
                f"{place(p).zh}之后，词表中 {size:,} 个词元各有一个分数。logit 不是概率：它可以是负数，总和也不是 1。"
                "softmax 才把它们变成概率。",
            )
        ),
        candidate_table(trace, p, candidates(trace, LIKELIEST, p)),
        Bars(
            Words("the scores that come first in the vocabulary", "词表最前面几个词元的分数"),
            [token_label(trace, token) for token in range(shown)],
            Cells(logits[None, :shown], "logits", (len(trace), size), p * size, (0, 1)),
            "signed",
        ),
    )


def _check_scores(trace: Trace, chosen: Selection) -> Check:
    """The probabilities against a softmax in float64, which is the one that tokens are drawn from."""
    read = _read_out(trace, chosen.position)
    logits, total = read["logits"], float(read["probs"].sum(dtype=np.float64))
    off = apart(read["probs"], distribution(logits, Sampling(top_k=0))[1])
    count, low, high, summed = f"{len(logits):,}", f"{logits.min():.2f}", f"{logits.max():.2f}", f"{logits.sum():.4g}"
    near = within(off)
    return Check(
        len(logits) == trace.config.n_vocab and off <= TOLERANCE and abs(total - 1) <= TOLERANCE,
        Words(
            f"{count} logits from {low} to {high} that sum to {summed}; their softmax sums to {total:.6f}, and is that "
            f"of float64 {near.en}",
            f"{count} 个 logit，从 {low} 到 {high}，总和为 {summed}；它们的 softmax 之和为 {total:.6f}，"
            f"与 float64 的结果一致，{near.zh}",
        ),
    )


def _cut(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    p = chosen.position
    logits = _read_out(trace, p)["logits"]
    best = _falling(logits)
    likely = _probabilities(logits, 40)[best]
    return (
        Note(
            Words(
                "The next token is drawn by chance, each with its probability. top-k first leaves only the k highest "
                "scores, and what is left is made to sum to 1 again: k = 1 is always the likeliest token, 40 is the "
                "article's advice and the default here, and 0 in the settings means no cut.",
                "下一个词元按概率随机抽取。top-k 先只留下分数最高的 k 个，再让留下的概率之和重新为 1："
                "k = 1 永远选最可能的词元，40 是文章的建议，也是这里的默认值；设置里的 0 表示不截断。",
            )
        ),
        _choices(trace, logits, best, p),
        Bars(
            Words("the likeliest tokens at k = 40", "k = 40 时最可能的词元"),
            [token_label(trace, token) for token in best],
            computed(f"distribution(logits[{p}], top_k=40) of the {len(best)} likeliest", likely),
            marked=(0,),
        ),
    )


def _probabilities(logits: Float32, k: int) -> Float32:
    """What each token (V,) can be drawn with after the cut; 0 for those that are cut off."""
    probabilities = np.zeros(len(logits), np.float32)
    ids, kept = distribution(logits, Sampling(top_k=k))
    probabilities[ids] = kept
    return probabilities


def _choices(trace: Trace, logits: Float32, best: Sequence[int], position: int) -> Table:
    """The likeliest tokens before and after each cut, how many are left, and what one draw gives."""
    cuts: dict[int, Text] = {0: Words("all", "全部"), 40: "k = 40", 1: "k = 1"}
    shares = {k: _probabilities(logits, k) for k in cuts}
    formula = {k: f"distribution(logits[{position}], top_k={k})" for k in cuts}

    def share(k: int, token: int) -> Entry:
        value = float(shares[k][token])
        return Number(value, f"{formula[k]}[{token}]", form=".2%") if value else Words("cut", "截去")

    rows: list[Sequence[Entry]] = [
        (token_label(trace, token), str(token), *(share(k, token) for k in cuts)) for token in best
    ]
    left = [Number(len(distribution(logits, Sampling(top_k=k))[0]), f"len({formula[k]})", form=",") for k in cuts]
    rng = {k: np.random.default_rng(SEED) for k in cuts}
    drawn = [token_label(trace, choose(logits, Sampling(top_k=k), rng[k])) for k in cuts]
    rows.append((Words("tokens that are left", "剩下的词元数"), "", *left))
    rows.append((Words(f"drawn with seed {SEED}", f"种子 {SEED} 抽到的词元"), "", *drawn))
    return Table(Words("probability of each", "各词元的概率"), (TOKEN, ID, *cuts.values()), rows)


def _check_cut(trace: Trace, chosen: Selection) -> Check:
    """Each cut against the sorted scores and the softmax of them all."""
    read = _read_out(trace, chosen.position)
    logits, kept, as_sorted, off = read["logits"], {}, True, 0.0
    for k in (1, 40):
        ids, share = distribution(logits, Sampling(top_k=k))
        kept[k] = len(ids)
        border = np.sort(logits)[-min(k, len(logits))]
        as_sorted &= np.array_equal(ids, np.flatnonzero(logits >= border))
        off = max(off, apart(share, read["probs"][ids] / read["probs"][ids].sum()))
    size, near = f"{len(logits):,}", within(off)
    return Check(
        as_sorted and off <= TOLERANCE,
        Words(
            f"of {size} tokens k = 1 leaves {kept[1]} and k = 40 leaves {kept[40]}, "
            f"{'the' if as_sorted else 'not the'} highest scores; their probabilities are those of all, scaled to sum "
            f"to 1, {near.en}",
            f"{size} 个词元中，k = 1 留下 {kept[1]} 个，k = 40 留下 {kept[40]} 个，"
            f"{'正是' if as_sorted else '并非'}分数最高的；它们的概率是把原概率按比例放大到和为 1，{near.zh}",
        ),
    )


FIGURES = (
    Figure(
        "F26",
        Words("The output vector times the embedding matrix", "输出向量乘以嵌入矩阵"),
        part=1,
        picture=24,
        tensors=("ln_f", "wte.weight", "logits"),
        draw=_unembedding,
        verify=_check_unembedding,
    ),
    Figure(
        "F27",
        Words("A score for every token of the vocabulary", "词表中每个词元的分数"),
        part=1,
        picture=25,
        tensors=("logits", "probs"),
        draw=_scores,
        verify=_check_scores,
    ),
    Figure(
        "F28",
        Words("Choosing the next token: top-k", "选出下一个词元：top-k"),
        part=1,
        picture=26,
        tensors=("logits",),
        draw=_cut,
        verify=_check_cut,
    ),
)
