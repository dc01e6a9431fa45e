"""ROUGE against numbers that rouge-score's own tests hold, and in scripts that it does not read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import UsageError
from cutaway.evaluation.rouge import KINDS, best_rouge, novel_bigrams, rouge, rouge_words


@pytest.mark.parametrize(
    ("kind", "prediction", "reference", "precision", "recall", "f1"),
    [
        ("rouge1", "testing", "testing one two", 1, 1 / 3, 1 / 2),
        ("rouge1", "testing one", "testing one two", 1, 2 / 3, 4 / 5),
        ("rouge2", "testing one", "testing one two", 1, 1 / 2, 2 / 3),
        ("rougeL", "testing one", "testing one two", 1, 2 / 3, 4 / 5),
        ("rougeL", "testing two", "testing one two", 1, 2 / 3, 4 / 5),
        ("rougeLsum", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "w1 w2 w3 w4 w5", 0.4, 0.8, 8 / 15),
        ("rougeLsum", "a b\nb c", "c c b", 1 / 2, 2 / 3, 4 / 7),  # of two common subsequences that of the later "b c"
        ("rougeLsum", "/", "w1 w2 w3 w4 w5", 0, 0, 0),
        ("rougeLsum", "w1", "", 0, 0, 0),
        ("rougeL", "2 5 3 4", "1 2 3 4 5", 3 / 4, 3 / 5, 2 / 3),
    ],
)
def test_equals_rouge_score(
    kind: str, prediction: str, reference: str, precision: float, recall: float, f1: float
) -> None:
    score = rouge(prediction, reference)[kind]
    assert (score.precision, score.recall, score.f1) == pytest.approx((precision, recall, f1))


@pytest.mark.parametrize(
    "text", ["我爱北京天安门", "Müller fährt übers Gebirge", "ロボットは命令に従う", "Привет, мир"]
)
def test_a_text_equals_itself_in_every_script(text: str) -> None:
    assert best_rouge(text, [text]) == pytest.approx(dict.fromkeys(KINDS, 1.0))


def test_words_of_scripts_without_spaces_are_characters() -> None:
    assert rouge_words("北京2008年, Äpfel_und") == ["北", "京", "2008", "年", "äpfel", "und"]
    assert rouge("北京", "京北")["rouge1"].f1 == 1
    assert rouge("北京", "京北")["rougeL"].f1 == 0.5


@given(st.text("ab \n", max_size=20), st.text("ab \n", max_size=20))
def test_scores_are_shares_and_the_long_ones_are_below_the_words(prediction: str, reference: str) -> None:
    scores = rouge(prediction, reference)
    assert all(0 <= value <= 1 for score in scores.values() for value in (score.precision, score.recall, score.f1))
    assert scores["rougeL"].f1 <= scores["rouge1"].f1 + 1e-9
    assert scores["rougeLsum"].f1 <= scores["rouge1"].f1 + 1e-9
    swapped = rouge(reference, prediction)
    assert swapped["rougeL"].precision == pytest.approx(scores["rougeL"].recall)


def test_the_best_of_several_references_counts() -> None:
    assert best_rouge("a b", ["x y", "a b"])["rouge2"] == 1
    with pytest.raises(UsageError, match="needs a reference"):
        best_rouge("a", [])


def test_novel_bigrams() -> None:
    assert novel_bigrams("a b c", "a b d") == 0.5
    assert novel_bigrams("a", "a b") is None
