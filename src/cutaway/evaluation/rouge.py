"""ROUGE-1, -2, -L and -Lsum (Lin 2004) for text in any script.

Words are runs of Unicode letters and digits, in lower case. In Chinese, Japanese and other scripts without spaces each
character is a word. On ASCII text scores equal those of the package rouge-score without its stemmer.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cutaway.errors import UsageError

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
COPIED = 4  # minimum words of a run that counts as copied

# Each of these characters is a word: kana, Han in all planes, Thai, Lao, Khmer. Hangul is written with spaces.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1780-\u17ff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])[^\W_])+")

Words = list[str]


@dataclass(frozen=True)
class Rouge:
    """Precision, recall and their harmonic mean, each from 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean; 0 if nothing matches."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def rouge_words(text: str) -> Words:
    """Split a text into words as ROUGE counts them.

    >>> rouge_words("Müller's 2 Häuser"), rouge_words("我爱猫 GPT-2")
    (['müller', 's', '2', 'häuser'], ['我', '爱', '猫', 'gpt', '2'])
    """
    return _WORD.findall(text.lower())


def rouge(prediction: str, reference: str) -> dict[str, Rouge]:
    """Score a prediction against a reference; for rougeLsum each line is a sentence.

    >>> scores = rouge("testing two", "testing one two")
    >>> scores["rouge1"].recall, scores["rougeL"].f1, scores["rouge2"].f1
    (0.6666666666666666, 0.8, 0.0)
    """
    ours = rouge_words(prediction)
    theirs = rouge_words(reference)
    return {
        "rouge1": _of_ngrams(ours, theirs, 1),
        "rouge2": _of_ngrams(ours, theirs, 2),
        "rougeL": _ratio(len(_common(theirs, ours)), len(ours), len(theirs)),
        "rougeLsum": _of_sentences(prediction, reference),
    }


def best_rouge(prediction: str, references: Sequence[str]) -> dict[str, float]:
    """Return for each kind the highest F1 over the references. Raises UsageError if there are none.

    >>> best_rouge("a cat", ["a dog", "the cat sat"])["rouge1"]
    0.5
    """
    if not references:
        raise UsageError("ROUGE needs a reference")
    scores = [rouge(prediction, reference) for reference in references]
    return {kind: max(each[kind].f1 for each in scores) for kind in KINDS}


def novel_bigrams(summary: str, source: str) -> float | None:
    """Return the share of a summary's bigrams that its source does not have; None if it has no bigrams.

    >>> novel_bigrams("the cat slept", "a dog and the cat")
    0.5
    """
    pairs = _ngrams(rouge_words(summary), 2)
    if not pairs:
        return None
    there = _ngrams(rouge_words(source), 2)
    return sum(count for pair, count in pairs.items() if pair not in there) / pairs.total()


def copy_rate(summary: str, source: str) -> float | None:
    """Return the share of a summary's words in runs of at least four words copied from its source; None if it is empty.

    >>> copy_rate("so the cat sat down here", "yesterday the cat sat down")
    0.6666666666666666
    """
    words = rouge_words(summary)
    there = _ngrams(rouge_words(source), COPIED)
    inside = {i + j for i in range(len(words)) if tuple(words[i : i + COPIED]) in there for j in range(COPIED)}
    return len(inside) / len(words) if words else None


def _of_ngrams(ours: Words, theirs: Words, n: int) -> Rouge:
    mine = _ngrams(ours, n)
    yours = _ngrams(theirs, n)
    return _ratio((mine & yours).total(), mine.total(), yours.total())


def _ngrams(words: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _ratio(hits: int, n_ours: int, n_theirs: int) -> Rouge:
    return Rouge(hits / max(1, n_ours), hits / max(1, n_theirs))


def _of_sentences(prediction: str, reference: str) -> Rouge:
    """Match each sentence of the reference with the whole prediction; each word of either counts once."""
    ours = [rouge_words(line) for line in prediction.split("\n")]
    theirs = [rouge_words(line) for line in reference.split("\n")]
    left = Counter(word for sentence in ours for word in sentence)
    hits = 0
    for sentence in theirs:
        matched = sorted({place for other in ours for place in _common(sentence, other)})
        for word in (sentence[place] for place in matched):
            if left[word]:
                left[word] -= 1
                hits += 1
    return _ratio(hits, sum(map(len, ours)), sum(map(len, theirs)))


def _common(a: Words, b: Words) -> list[int]:
    """Return the indices in `a` of a longest common subsequence with `b`."""
    lengths = [[0] * (len(b) + 1)]
    for word in a:
        above = lengths[-1]
        row = [0]
        for j, other in enumerate(b):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        lengths.append(row)
    places: list[int] = []
    i = len(a)
    j = len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i -= 1
            j -= 1
            places.append(i)
        elif lengths[i][j - 1] > lengths[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places[::-1]
