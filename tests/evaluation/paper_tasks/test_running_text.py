import math

import pytest

from cutaway.evaluation.evaluate import evaluate
from cutaway.evaluation.paper_tasks.running_text import bits_per_byte, word_perplexity
from cutaway.evaluation.protocol import no_progress
from cutaway.evaluation.uncertainty import ratio_error
from tests.evaluation.scored import MODEL, metric

TEXT = "A robot must obey the orders given it. " * 12


def test_the_loss_is_divided_by_the_corpus_own_count_before_exponentiation() -> None:
    result = word_perplexity(MODEL, [TEXT], [50], None, no_progress)
    evaluation = evaluate(MODEL, [TEXT], stride=64)
    assert result.stride == 64
    assert metric(result, "perplexity").value == pytest.approx(math.exp(evaluation.score.nats / 50))
    assert metric(result, "perplexity_per_model_token").value == evaluation.score.perplexity
    error = evaluation.nats_per_token_error
    assert error is not None
    per_word = error * evaluation.score.tokens / 50
    assert metric(result, "perplexity").error == pytest.approx(per_word * metric(result, "perplexity").value)
    assert (result.error_of, result.counts["windows"]) == ("windows", len(evaluation.windows))


def test_errors_of_several_documents_are_over_their_words() -> None:
    documents = ["A robot must", "obey.", "the orders given it"]
    result = word_perplexity(MODEL, documents, [4, 2, 5], None, no_progress)
    error = ratio_error([MODEL.score(text).nats for text in documents], [4, 2, 5])
    assert error is not None
    assert metric(result, "perplexity").error == pytest.approx(error * metric(result, "perplexity").value)
    assert (result.error_of, result.counts["words"]) == ("documents", 11)


def test_bits_per_byte_with_another_stride() -> None:
    evaluation = evaluate(MODEL, [TEXT], stride=16)
    result = bits_per_byte(MODEL, TEXT, "a.txt", 16, no_progress)
    assert result.metrics[0].value == evaluation.score.bits_per_byte
    assert result.metrics[0].error == evaluation.bits_per_byte_error
    assert result.stride == 16
