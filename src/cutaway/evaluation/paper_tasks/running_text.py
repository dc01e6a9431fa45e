"""Running text: perplexity per token of the corpus, bits per byte or per character.

The total loss is divided by the number of units that the corpus counts (words and line ends, or bytes), and then
exponentiated (openai/gpt-2#78). The paper does not say how it placed windows. Others who came close to its numbers used
disjoint windows (transformers#13761, karpathy/llm.c#276), so that is the default of these tasks.
"""

from collections.abc import Callable, Sequence

from cutaway.data.sources import decode_text
from cutaway.errors import UsageError
from cutaway.evaluation.detokenize import Conventions, Detokenizer
from cutaway.evaluation.evaluate import Evaluation, evaluate
from cutaway.evaluation.paper_tasks.task import Metric, Result
from cutaway.evaluation.perplexity import exponential
from cutaway.evaluation.protocol import LanguageModel, Progress
from cutaway.evaluation.uncertainty import ratio_error


def word_perplexity(
    model: LanguageModel, documents: Sequence[str], words: Sequence[int], stride: int | None, progress: Progress
) -> Result:
    """Score documents; document i has `words[i]` words as the corpus counts them.

    >>> import cutaway
    >>> word_perplexity(cutaway.load(), ["It isn't.\\n"], [5], None, lambda done, total: None).counts
    {'documents': 1, 'windows': 1, 'words': 5, 'tokens': 5, 'bytes': 10}
    """
    evaluation = _evaluate(model, documents, stride, progress)
    per_word = _ratio(evaluation, words)
    score = evaluation.score
    perplexity = exponential(per_word.value)
    metrics = (
        Metric("perplexity", perplexity, None if per_word.error is None else perplexity * per_word.error),
        Metric("perplexity_per_model_token", score.perplexity, evaluation.perplexity_error),
    )
    return _result(evaluation, metrics, {"words": sum(words), "tokens": score.tokens, "bytes": score.bytes})


def document_perplexity(
    model: LanguageModel,
    data: bytes,
    place: str,
    stride: int | None,
    progress: Progress,
    *,
    clean: Callable[[str, str], str],
) -> Result:
    """Score a tokenized corpus as one document, which `clean` makes from its text and place.

    >>> import cutaway
    >>> data = b"It is n't .\\n"
    >>> clean = lambda text, place: text.replace(" n't .", "n't.").strip()
    >>> result = document_perplexity(cutaway.load(), data, "a.txt", None, lambda done, total: None, clean=clean)
    >>> result.counts["words"], result.counts["bytes"]
    (5, 9)
    """
    text = decode_text(data, place)
    words = sum(map(count_words, split_lines(text, place)))
    return word_perplexity(model, [clean(text, place)], [words], stride, progress)


def bits_per_byte(model: LanguageModel, text: str, place: str, stride: int | None, progress: Progress) -> Result:
    """Score one text in bits per byte. Raises UsageError, naming its place, if it is empty.

    >>> import cutaway
    >>> bits_per_byte(cutaway.load(), "one nine zero five", "text8", None, lambda done, total: None).counts["bytes"]
    18
    """
    if not text:
        raise UsageError(f"{place}: nothing to score: the file is empty")
    evaluation = _evaluate(model, [text], stride, progress)
    score = evaluation.score
    if score.bits_per_byte is None:
        raise UsageError(f"{place}: bits per byte are undefined: the tokens of this text decode to no bytes")
    metrics = (Metric("bits_per_byte", score.bits_per_byte, evaluation.bits_per_byte_error),)
    return _result(evaluation, metrics, {"tokens": score.tokens, "bytes": score.bytes})


def count_words(line: str) -> int:
    """Count the tokens of a line of a tokenized corpus, plus one for its end.

    >>> count_words(" no it was n't black monday ")
    7
    """
    return len(line.split()) + 1


def split_lines(text: str, place: str) -> list[str]:
    """Split a corpus into lines at "\\n" only. Raises UsageError, naming its place, if it is empty.

    >>> split_lines(" a b \\n c \\n", "a.txt")
    [' a b ', ' c ']
    """
    if not text.strip():
        raise UsageError(f"{place}: nothing to score: the file is empty")
    return text.removesuffix("\n").split("\n")


def detokenize_lines(lines: Sequence[str], conventions: Conventions) -> list[str]:
    """De-tokenize the lines of a corpus, whose tokens are the vocabulary, and append a newline to each.

    >>> detokenize_lines(["a b , c"], Conventions(closing=","))
    ['a b, c\\n']
    """
    detokenizer = Detokenizer(conventions, (token for line in lines for token in line.split(" ")))
    return [f"{detokenizer.detokenize(line)}\n" for line in lines]


def _evaluate(model: LanguageModel, documents: Sequence[str], stride: int | None, progress: Progress) -> Evaluation:
    return evaluate(model, documents, model.engine.config.n_ctx if stride is None else stride, progress)


def _ratio(evaluation: Evaluation, words: Sequence[int]) -> Metric:
    """Compute the mean nats per word. The words of a window are estimated from its share of the tokens."""
    score = evaluation.score
    if evaluation.units_are_documents:
        error = ratio_error([document.nats for document in evaluation.documents], words)
    else:
        per_token = evaluation.nats_per_token_error
        error = None if per_token is None else per_token * score.tokens / sum(words)
    return Metric("nats_per_word", score.nats / sum(words), error)


def _result(evaluation: Evaluation, metrics: tuple[Metric, ...], counts: dict[str, int]) -> Result:
    units = "documents" if evaluation.units_are_documents else "windows"
    counts = {"documents": len(evaluation.documents), "windows": len(evaluation.windows), **counts}
    return Result(metrics, units, counts, evaluation.stride)
