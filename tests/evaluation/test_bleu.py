"""BLEU against numbers that sacrebleu's own tests hold."""

import math

import numpy as np
import pytest

from cutaway.errors import UsageError
from cutaway.evaluation.bleu import corpus_bleu, score_statistics, tokenize_13a

REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]


def test_equals_sacrebleu() -> None:
    assert corpus_bleu(HYPOTHESES, REFERENCES).score == pytest.approx(48.530827, abs=1e-6)


def test_marks_of_skipped_text_and_of_the_ends_of_lines_are_removed() -> None:
    assert tokenize_13a("one<skipped> auto-\nmatic\nline") == ["one", "automatic", "line"]


def test_nothing_is_worth_nothing() -> None:
    assert corpus_bleu(["", "", ""], REFERENCES).score == 0
    assert corpus_bleu(["xyz"], [["abc"]]).score == 0


def test_the_same_is_worth_all() -> None:
    bleu = corpus_bleu(["Where is the station, please?"], [["Where is the station, please?"]])
    assert bleu.score == pytest.approx(100)
    assert bleu.brevity_penalty == 1
    assert corpus_bleu(["Hi."], [["Hi."]]).score == 0  # there are no three words: sacrebleu says so too


@pytest.mark.parametrize(
    ("matched", "possible", "lengths", "score"),
    [
        ([9, 7, 5, 3], [10, 8, 6, 4], (11, 11), 83.75922397),
        ([0, 0, 0, 0], [10, 11, 12, 0], (14, 10), 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], (0, 0), 0.0),
        ([6, 5, 4, 0], [6, 5, 4, 3], (6, 6), 100 * (1 / 6) ** 0.25),  # the last is smoothed to 1 of 6
        ([4, 2, 0, 0], [6, 5, 4, 3], (6, 8), None),
    ],
)
def test_statistics_give_scores(
    matched: list[int], possible: list[int], lengths: tuple[int, int], score: float | None
) -> None:
    bleu = score_statistics(np.array([[*matched, *possible, *lengths]]))
    if score is None:  # by hand: the third and fourth order are smoothed by 2 and 4, and it is too short
        score = 100 * math.exp(1 - 8 / 6) * (4 / 6 * 2 / 5 / (2 * 4) / (4 * 3)) ** 0.25
    assert bleu.score == pytest.approx(score, abs=1e-6)


def test_the_nearest_length_counts_and_ngrams_match_as_often_as_in_one_reference() -> None:
    bleu = corpus_bleu(["a a a a"], [["a a", "a a b b b b"]])
    assert bleu.n_reference == 2
    assert bleu.precisions[0] == pytest.approx(50)


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("3.14 and 1,000, ok.", ["3.14", "and", "1,000", ",", "ok", "."]),
        ("a-b 1-2", ["a-b", "1", "-", "2"]),
        ("don't &quot;go&quot; &amp; R&lt;D", ["don't", '"', "go", '"', "&", "R", "<", "D"]),
        ("Grüße – „ja“", ["Grüße", "–", "„ja“"]),
        ("  ", []),
    ],
)
def test_words_are_those_of_mteval(line: str, tokens: list[str]) -> None:
    assert tokenize_13a(line) == tokens


def test_a_reference_for_each_is_needed() -> None:
    with pytest.raises(UsageError, match="references for each hypothesis: 2 and 1"):
        corpus_bleu(["a", "b"], [["a"]])
    with pytest.raises(UsageError, match="0 and 0"):
        corpus_bleu([], [])
