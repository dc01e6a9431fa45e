"""Corpus BLEU (Papineni et al. 2002) with sacrebleu's default settings, so that scores are comparable.

Cased, n-grams of up to four words, one or more references per hypothesis, the tokenization of mteval-v13a, and
exponential smoothing of zero precisions.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError

MAX_ORDER = 4

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_SPLITS = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),  # punctuation and symbols except . , - '
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),  # . and , unless between digits
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


@dataclass(frozen=True)
class Bleu:
    """A score from 0 to 100, its precisions in percent, the brevity penalty, and lengths in words.

    `statistics` (N, 10) has a row per sentence: matched and possible n-grams of each order, and both lengths.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    n_hypothesis: int
    n_reference: int
    statistics: NDArray[np.int64]


def bleu_signature(n_references: Sequence[int]) -> str:
    """Return sacrebleu's signature, without the version, given the number of references of each hypothesis.

    >>> bleu_signature([1, 1]), bleu_signature([1, 3])
    ('nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp', 'nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp')
    """
    counts = set(n_references)
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|case:mixed|eff:no|tok:13a|smooth:exp"


def tokenize_13a(line: str) -> list[str]:
    """Split a line into words and punctuation as mteval-v13a does.

    >>> tokenize_13a("It costs $1,000.50 (or so), doesn't it?")
    ['It', 'costs', '$', '1,000.50', '(', 'or', 'so', ')', ',', "doesn't", 'it', '?']
    """
    line = line.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        line = line.replace(entity, character)
    line = f" {line} "
    for pattern, replacement in _SPLITS:
        line = pattern.sub(replacement, line)
    return line.split()


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """Score hypotheses, each against its references. Raises UsageError if the numbers of both differ.

    >>> round(corpus_bleu(["The dog bit the man."], [["The dog had bit the man."]]).score, 2)
    51.15
    """
    if len(hypotheses) != len(references) or not hypotheses:
        raise UsageError(f"BLEU needs references for each hypothesis: {len(hypotheses)} and {len(references)}")
    rows = [_statistics(hypothesis, several) for hypothesis, several in zip(hypotheses, references, strict=True)]
    return score_statistics(np.array(rows, np.int64))


def score_statistics(statistics: NDArray[np.int64]) -> Bleu:
    """Compute BLEU from rows of `Bleu.statistics`, for example of a subset or a bootstrap sample of the sentences.

    >>> bleu = score_statistics(np.array([[9, 7, 5, 3, 10, 8, 6, 4, 11, 11]]))
    >>> round(bleu.score, 4)
    83.7592
    """
    total = statistics.sum(axis=0).tolist()
    matched = total[:MAX_ORDER]
    possible = total[MAX_ORDER : 2 * MAX_ORDER]
    n_hypothesis, n_reference = total[2 * MAX_ORDER :]
    precisions = _precisions(matched, possible)
    penalty = 1.0
    if n_hypothesis < n_reference:
        penalty = math.exp(1 - n_reference / n_hypothesis) if n_hypothesis else 0.0
    score = penalty * math.exp(sum(map(math.log, precisions)) / MAX_ORDER) if all(precisions) else 0.0
    return Bleu(score, precisions, penalty, n_hypothesis, n_reference, statistics)


def _precisions(matched: Sequence[int], possible: Sequence[int]) -> tuple[float, ...]:
    """Return the precision of each order in percent. Each order without matches halves the smoothed value."""
    precisions = [0.0] * MAX_ORDER
    if not any(matched):
        return tuple(precisions)
    smoothing = 1.0
    for n in range(MAX_ORDER):
        if possible[n] == 0:
            break
        if matched[n] == 0:
            smoothing *= 2
            precisions[n] = 100 / (smoothing * possible[n])
        else:
            precisions[n] = 100 * matched[n] / possible[n]
    return tuple(precisions)


def _statistics(hypothesis: str, references: Sequence[str]) -> list[int]:
    words = tokenize_13a(hypothesis)
    others = [tokenize_13a(reference) for reference in references]
    matched = [0] * MAX_ORDER
    for n in range(1, MAX_ORDER + 1):
        allowed: Counter[tuple[str, ...]] = Counter()
        for other in others:
            allowed |= _ngrams(other, n)
        matched[n - 1] = sum((_ngrams(words, n) & allowed).values())
    possible = [max(0, len(words) - n) for n in range(MAX_ORDER)]
    closest = min((abs(len(words) - len(other)), len(other)) for other in others)[1]
    return [*matched, *possible, len(words), closest]


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
