import json
import math
from pathlib import Path

import numpy as np
import pytest

from cutaway.errors import UsageError
from cutaway.evaluation.paper_tasks import TASKS
from cutaway.evaluation.paper_tasks.lambada import STOP_WORDS, judge, read_passages, stop_tokens
from tests.evaluation.scored import MODEL, evaluate, ids, metric, peer_losses

PASSAGES = [
    "In my palm is a clear stone, and inside it is a small ivory statuette. “Give me the figurine,” he said to Fritz",
    "He shook his head, took a step back and held his hands up as he tried to smile without losing a cigarette",
]
JSONL = "".join(json.dumps({"text": text}) + "\n" for text in PASSAGES)


def test_passages_are_normalised_as_openais() -> None:
    first, second = read_passages(JSONL.encode(), "l.txt")
    assert first.startswith("\nIn my palm")
    assert '"Give me the figurine," he' in first
    assert second == f"\n{PASSAGES[1]}"
    assert read_passages("\n".join(PASSAGES).encode(), "l.txt") == [first, second]


def test_the_last_word_is_scored_with_the_space_before_it(tmp_path: Path) -> None:
    nats = []
    for passage in read_passages(JSONL.encode(), "l.txt"):
        context, _, word = passage.rpartition(" ")
        tokens = [50256, *ids(context)]
        nats.append(sum(peer_losses([*tokens, *ids(f" {word}")])[len(tokens) - 1 :]))
    result = evaluate(TASKS["lambada"], tmp_path / "lambada_test.jsonl", JSONL)
    perplexity = metric(result, "perplexity")
    assert perplexity.value == pytest.approx(math.exp(sum(nats) / 2), rel=1e-4)
    assert perplexity.error == pytest.approx(perplexity.value * np.std(nats, ddof=1) / math.sqrt(2), rel=1e-3)
    assert (result.counts, result.error_of) == ({"examples": 2}, "examples")


def test_the_models_own_word_is_correct(tmp_path: Path) -> None:
    """A passage that ends in what the model would write, where that is a word of its own."""
    context = "\nHe said: go"
    logits = MODEL.logits(context)[-1]
    order = [int(i) for i in np.argsort(-logits)]
    best = next(i for i in order if MODEL.decode([i]).startswith(" ") and MODEL.decode([i])[1:].isalpha())
    word = MODEL.decode([best])
    result = evaluate(TASKS["lambada"], tmp_path / "l.txt", f"He said: go{word}\n")
    assert metric(result, "accuracy").value == float(order[0] == best)


@pytest.mark.parametrize(
    ("logits", "banned", "expected"),
    [
        ([[3.0, 1, 2], [0, 1, 0]], [], (False, False, True)),  # token 0 is preferred to the word's first
        ([[3.0, 1, 2], [0, 1, 0]], [0], (False, True, True)),  # unless it is a stop word
        ([[0.0, 1, 2], [0, 1, 0]], [0], (True, True, True)),
        ([[0.0, 1, 2], [1, 0, 0]], [0], (False, False, False)),  # a stop word may be a later part of a word
    ],
)
def test_three_kinds_of_accuracy(
    logits: list[list[float]], banned: list[int], expected: tuple[bool, bool, bool]
) -> None:
    found = judge(np.array(logits, np.float32), word=[2, 1], banned=banned)
    assert (found.correct, found.correct_without_stop_words, found.last_token_correct) == expected


def test_stop_words_are_tokens_with_a_space() -> None:
    tokens = stop_tokens(MODEL)
    assert {ids(" the")[0], ids(" The")[0], ids(" him")[0]} <= set(tokens)
    assert len(STOP_WORDS.split()) == len(set(STOP_WORDS.split()))
    assert ids(" man")[0] not in tokens


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ("one two\nthree\n", "l.txt:2: a passage needs two words"),
        ('{"text": "one"}\n', "l.txt:1: a passage needs two words"),
        ('{"txt": "one two"}\n', 'l.txt:1: "text" is missing'),
    ],
)
def test_refuses_another_format(data: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        read_passages(data.encode(), "l.txt")
