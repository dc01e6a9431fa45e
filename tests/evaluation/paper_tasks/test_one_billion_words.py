import math
from pathlib import Path

import pytest

from cutaway.evaluation.detokenize import Detokenizer
from cutaway.evaluation.paper_tasks import TASKS
from cutaway.evaluation.paper_tasks.one_billion_words import CONVENTIONS, clean
from tests.evaluation.scored import MODEL, evaluate, metric

# In the form of a shard: a tokenized sentence a line.
FILE = (
    "Having a little flexibility on that issue would go a long way to putting together a final package .\n"
    '" It doesn \'t matter , " said the U.S. envoy ( who asked not to be named ) ; " they \'ve £ 5 each . "\n'
)
SENTENCES = [
    "Having a little flexibility on that issue would go a long way to putting together a final package.\n",
    '"It doesn\'t matter," said the U.S. envoy (who asked not to be named); "they\'ve £5 each."\n',
]


def test_the_marks_of_tokenization_go_and_come_back() -> None:
    assert clean(FILE, "a.txt") == SENTENCES
    detokenizer = Detokenizer(CONVENTIONS, FILE.replace("\n", " ").split(" "))
    assert "".join(f"{detokenizer.retokenize(line[:-1])}\n" for line in SENTENCES) == FILE


def test_sentences_are_scored_apart_per_word_and_end_of_sentence(tmp_path: Path) -> None:
    result = evaluate(TASKS["1bw"], tmp_path / "shard", FILE)
    words = len(FILE.split()) + 2
    nats = sum(MODEL.score(sentence).nats for sentence in SENTENCES)
    assert (result.counts["documents"], result.counts["words"]) == (2, words)
    assert metric(result, "perplexity").value == pytest.approx(math.exp(nats / words))
    assert metric(result, "perplexity").error is not None
