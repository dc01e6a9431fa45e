"""Part 1 of the article: from the output of the last block to a score for every token."""

from collections.abc import Sequence

import numpy as np

from cutaway.figures.article.accuracy import TOLERANCE, relative_error, within
from cutaway.figures.article.decoding import candidate_table, candidates
from cutaway.figures.article.excerpts import part
from cutaway.figures.article.layer_norm import exact_norm, norm_error, norm_table
from cutaway.figures.figure import Check, Figure, Selection
from cutaway.figures.labels import ID, TOKEN, position_text, token_label
from cutaway.figures.panels import Bars, Cells, Grid, LocalizedText, Note, Number, Panel, Table, integer
from cutaway.figures.statement import Statement
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import distribution
from cutaway.numerics import FloatArray, softmax, top_k
from cutaway.trace import Trace

LIKELIEST = 10  # tokens that are named
FIRST_IDS = 12  # entries of the vocabulary shown in order of id


def read_out(trace: Trace, position: int) -> dict[str, FloatArray]:
    """Compute ln_f (d,), logits (V,) and probs (V,) of one position; all positions could take hundreds of megabytes."""
    last = trace[trace.final_residual]
    read = {name: array[0] for name, array in trace.read_out(last[position][None]).items()}
    return read | {"probs": softmax(read["logits"])}


def _row(trace: Trace, tensor: str, row: FloatArray, position: int) -> Cells:
    """Make the cells of one row of a tensor; the other rows were not computed."""
    return Cells(row[None], tensor, (len(trace), len(row)), position * len(row), (0, 1))


def falling(logits: FloatArray) -> list[int]:
    """Sort all ids by logit, largest first; ties are in order of id."""
    return [int(token) for token in top_k(logits, len(logits))]


def output_matrix(trace: Trace) -> str:
    """Return the name of the unembedding matrix: wte if the embeddings are tied."""
    return "wte.weight" if trace.config.tie_word_embeddings else "lm_head.weight"


def expected_logits(trace: Trace, position: int) -> FloatArray:
    """Compute the logits (V,) of a position from the output of the last block.

    The LayerNorm is computed in float64, the product in float32: a copy of the matrix in float64 would take hundreds of
    megabytes.
    """
    last = trace[trace.final_residual][position]
    logits: FloatArray = trace[output_matrix(trace)] @ exact_norm(trace, "ln_f", last)[2].astype(np.float32)
    return logits


def _unembedding(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    p = chosen.position
    matrix = output_matrix(trace)
    read = read_out(trace, p)
    best = falling(read["logits"])
    label = token_label(trace, best[0])
    tied = LocalizedText(
        "The matrix is wte, the one that the tokens came in by.", "这个矩阵就是输入时用的 wte，两处是同一份数据。"
    )
    untied = LocalizedText("This model has a matrix of its own for it.", "这个模型的输出矩阵是单独的一份。")
    on_the_matrix = tied if trace.config.tie_word_embeddings else untied
    return (
        Note(
            LocalizedText(
                f"The vector that leaves the last block at {position_text(p).en} goes through a last LayerNorm, ln_f; "
                f"its dot product with each row of a matrix is that token's score, the logit. {on_the_matrix.en}",
                f"在{position_text(p).zh}，离开最后一个块的向量先经过最后一次层归一化 ln_f，再与矩阵的每一行做点积，"
                f"得到每个词元的分数，即 logit。{on_the_matrix.zh}",
            )
        ),
        norm_table(
            "ln_f", *(Number(float(read[f"ln_f.{kind}"][0]), f"ln_f.{kind}", (p, 0)) for kind in ("mean", "rstd"))
        ),
        Grid(f"ln_f[{p}]", _row(trace, "ln_f", read["ln_f"], p), "signed"),
        Grid(
            LocalizedText(f"{matrix}[{best[0]}], the row of “{label}”", f"{matrix}[{best[0]}]：“{label}”的那一行"),
            part(trace, matrix, best[0]),
            "signed",
        ),
        _products(trace, read, best[:5], p),
    )


def _products(trace: Trace, read: dict[str, FloatArray], best: Sequence[int], position: int) -> Table:
    """Tabulate the scores of a few tokens: the dot product, and the logit that the model computed."""
    name = output_matrix(trace)
    rows = [
        (
            token_label(trace, token),
            f"{token:,}",
            Number(float(read["ln_f"] @ trace[name][token]), f"ln_f[{position}] @ {name}[{token}]"),
            Number(float(read["logits"][token]), "logits", (position, token)),
        )
        for token in best
    ]
    return Table(
        LocalizedText("the highest scores", "分数最高的词元"),
        (TOKEN, ID, LocalizedText("dot product", "点积"), "logit"),
        rows,
    )


def _check_unembedding(trace: Trace, chosen: Selection) -> Check:
    """Compare the last LayerNorm with float64 and the logits with the whole product.

    If the head is tied, also compare the logits of the text's own tokens with the product with their input embeddings.
    """
    read = read_out(trace, chosen.position)
    name = output_matrix(trace)
    p = chosen.position
    last = trace.final_residual
    names = ("ln_f.mean", "ln_f.rstd", "ln_f")
    exact = exact_norm(trace, "ln_f", trace[last][p])
    norm = max(relative_error(read[each], expected) for each, expected in zip(names, exact, strict=True))
    off = relative_error(trace[name] @ read["ln_f"], read["logits"])
    made = Statement(
        "{normal}, with its mean and rstd, is the LayerNorm of {last} {norm}; {normal} @ {name}.T is {logits} {near}",
        "{normal} 及其 mean 和 rstd 是 {last} 的层归一化，{norm}；{normal} @ {name}.T 等于 {logits}，{near}",
        normal=f"ln_f[{p}]",
        last=f"{last}[{p}]",
        norm=within(norm, norm_error("ln_f", f"{last}[{p}]", "ln_f", f"[{p}]")),
        name=name,
        logits=f"logits[{p}]",
        near=within(off, f"error({name} @ ln_f[{p}], logits[{p}])"),
    )
    if not trace.config.tie_word_embeddings:
        return Check(max(norm, off) <= TOLERANCE, made)
    entered = relative_error(trace["tok_emb"] @ read["ln_f"], read["logits"][list(trace.ids)])
    return Check(
        max(norm, off, entered) <= TOLERANCE,
        Statement(
            "{made}; for {tokens:token} of text the vectors that came in give it too, {tied}",
            "{made}；对文本的 {tokens} 个词元，用它们输入时的向量计算也是如此，{tied}",
            made=made,
            tokens=integer(len(trace), "len(ids)"),
            tied=within(entered, f"error(tok_emb @ ln_f[{p}], logits[{p}, ids])"),
        ),
    )


def _scores(trace: Trace, chosen: Selection) -> Sequence[Panel]:
    p = chosen.position
    logits = trace.logits_at(chosen.position)
    size = len(logits)
    shown = min(FIRST_IDS, len(logits))
    return (
        Note(
            LocalizedText(
                f"A score for each of the {size:,} tokens of the vocabulary, after {position_text(p).en}. A logit is "
                "no probability: it may be negative, and the logits do not sum to 1. The softmax makes probabilities "
                "of them.",
                f"{position_text(p).zh}之后，词表中 {size:,} 个词元各有一个分数。"
                "logit 不是概率：它可以是负数，总和也不是 1。softmax 才把它们变成概率。",
            )
        ),
        candidate_table(trace, p, candidates(trace, LIKELIEST, p)),
        Bars(
            LocalizedText("the scores that come first in the vocabulary", "词表最前面几个词元的分数"),
            [token_label(trace, token) for token in range(shown)],
            Cells(logits[None, :shown], "logits", (len(trace), size), p * size, (0, 1)),
            "signed",
        ),
    )


def _check_scores(trace: Trace, chosen: Selection) -> Check:
    """Compare the probabilities with the softmax in float64 that sampling uses."""
    p = chosen.position
    read = read_out(trace, chosen.position)
    logits = read["logits"]
    total = float(read["probs"].sum(dtype=np.float64))
    off = relative_error(read["probs"], distribution(logits, GenerationConfig(top_k=0))[1])
    return Check(
        len(logits) == trace.config.n_vocab and off <= TOLERANCE and abs(total - 1) <= TOLERANCE,
        Statement(
            "{count} logits from {low} to {high} that sum to {summed}; their softmax sums to {total}, and is that of "
            "float64 {near}",
            "{count} 个 logit，从 {low} 到 {high}，总和为 {summed}；它们的 softmax 之和为 {total}，"
            "与 float64 的结果一致，{near}",
            count=integer(len(logits), "config.n_vocab"),
            low=Number(float(logits.min()), f"min(logits[{p}])", form=".2f"),
            high=Number(float(logits.max()), f"max(logits[{p}])", form=".2f"),
            summed=Number(float(logits.sum(dtype=np.float64)), f"sum(logits[{p}])", form=".4g"),
            total=Number(total, f"sum(probs[{p}])", form=".6f"),
            near=within(off, f"error(probs[{p}], softmax(logits[{p}]))"),
        ),
    )


FIGURES = (
    Figure(
        "F26",
        LocalizedText("The output vector times the embedding matrix", "输出向量乘以嵌入矩阵"),
        part=1,
        picture=24,
        tensors=("ln_f", "wte.weight", "logits"),
        draw=_unembedding,
        verify=_check_unembedding,
    ),
    Figure(
        "F27",
        LocalizedText("A score for every token of the vocabulary", "词表中每个词元的分数"),
        part=1,
        picture=25,
        tensors=("logits", "probs"),
        draw=_scores,
        verify=_check_scores,
    ),
)
