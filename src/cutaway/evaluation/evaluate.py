"""Evaluation on documents. Each is scored separately after the start token; standard errors are over documents."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cutaway.data.records import Record, Turn
from cutaway.errors import UsageError
from cutaway.evaluation.perplexity import Score, default_stride, total, window_losses
from cutaway.evaluation.protocol import LanguageModel, Progress, no_progress
from cutaway.evaluation.uncertainty import ratio_error


@dataclass(frozen=True)
class Evaluation:
    """Scores of documents and of the windows in which they were read.

    Standard errors are over documents if there are two or more, else over the windows of the single document. Windows
    of one text are not independent, so that error is too small. It is None for one window.
    """

    documents: tuple[Score, ...]  # those with at least one scored token
    windows: tuple[Score, ...]
    n_ctx: int
    stride: int

    @property
    def score(self) -> Score:
        """The total over all documents."""
        return total(self.documents)

    @property
    def units_are_documents(self) -> bool:
        """False if the standard errors are over windows."""
        return len(self.documents) > 1

    @property
    def units(self) -> tuple[Score, ...]:
        """Scores of the units that the standard errors are over."""
        return self.documents if self.units_are_documents else self.windows

    @property
    def nats_per_token_error(self) -> float | None:
        """Standard error of `score.nats_per_token`."""
        return ratio_error([u.nats for u in self.units], [u.tokens for u in self.units])

    @property
    def perplexity_error(self) -> float | None:
        """Standard error of `score.perplexity`: the error of its logarithm times the perplexity (delta method)."""
        error = self.nats_per_token_error
        return None if error is None else self.score.perplexity * error

    @property
    def bits_per_byte_error(self) -> float | None:
        """Standard error of `score.bits_per_byte`."""
        if not self.score.bytes:
            return None
        error = ratio_error([u.nats for u in self.units], [u.bytes for u in self.units])
        return None if error is None else error / math.log(2)


def evaluate(
    model: LanguageModel,
    documents: Sequence[str | Sequence[int] | Record],
    stride: int | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score documents independently.

    A text is scored after the start token, and token ids after the first id. For a record only the completions are
    scored, each after its prompt.

    `stride` applies to the windows of long documents (see `cutaway.evaluation.perplexity`). Empty documents are
    skipped. `progress` counts bytes of text. Raises UsageError if there is nothing to score.

    >>> import cutaway
    >>> evaluation = evaluate(cutaway.load(), ["A robot must obey.", "So must I.", ""])
    >>> len(evaluation.documents), evaluation.score.tokens, evaluation.score.bytes
    (2, 9, 28)
    """
    sizes = [_count_bytes(model, document) for document in documents]
    windows: list[Score] = []
    scores: list[Score] = []
    before = 0  # bytes of the documents before this one
    for document, size in zip(documents, sizes, strict=True):
        first = len(windows)
        done = before
        for ids, n_given in _token_ids(model, document):
            for window in score_windows(model, ids, stride, n_given):
                windows.append(window)
                done += window.bytes
                progress(min(done, before + size), sum(sizes))
        if len(windows) > first:
            scores.append(total(windows[first:]))
        before += size
    if not scores:
        raise UsageError("nothing to score: all documents are empty")
    n_ctx = model.engine.config.n_ctx
    return Evaluation(tuple(scores), tuple(windows), n_ctx, default_stride(n_ctx) if stride is None else stride)


def score_windows(
    model: LanguageModel, ids: Sequence[int], stride: int | None = None, n_given: int = 1
) -> Iterator[Score]:
    """Yield the score of each window of a text; the first `n_given` tokens are context only.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> [window.tokens for window in score_windows(model, model.input_ids("A robot " * 3), stride=4)]
    [7]
    """
    start = 1
    for losses in window_losses(model.engine, ids, stride):
        first = max(start, n_given)
        scored = ids[first : start + len(losses)]
        if scored:
            yield Score(float(losses[first - start :].sum()), len(scored), _count_bytes(model, scored))
        start += len(losses)


def _token_ids(model: LanguageModel, document: str | Sequence[int] | Record) -> Iterator[tuple[Sequence[int], int]]:
    """Yield the ids of each text of a document, and how many of them are context only."""
    if isinstance(document, str):
        document = Record("", (Turn("", document),))
    if not isinstance(document, Record):
        yield model.input_ids(document), 1
        return
    for turn in document.turns:
        completion = model.encode(turn.completion)  # encoded first: it fails for a model without a tokenizer
        prompt = model.encode(turn.prompt) if turn.prompt else model.input_ids("")
        yield [*prompt, *completion], max(1, len(prompt))


def _count_bytes(model: LanguageModel, document: str | Sequence[int] | Record) -> int:
    if isinstance(document, Record):
        return sum(_count_bytes(model, turn.completion) for turn in document.turns)
    if isinstance(document, str):
        return len(document.encode("utf-8", "surrogatepass"))
    return sum(len(model.token_bytes(token)) for token in document)
