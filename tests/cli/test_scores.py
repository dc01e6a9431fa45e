import json
import math

import pytest

from cutaway.cli.scores import evaluation_lines, paper_document, paper_lines, task_document, task_lines
from cutaway.evaluation.corpus import data_file
from cutaway.evaluation.evaluate import Evaluation
from cutaway.evaluation.paper_tasks import Metric, Result
from cutaway.evaluation.perplexity import Score

FILE = data_file("cbt", b"")
RESULT = Result((Metric("accuracy", 0.8765, 0.0073),), "examples", {"examples": 2000})
INFINITE = Result((Metric("perplexity", math.inf, math.inf),), "windows", {"windows": 1}, stride=8)


def test_an_accuracy_is_a_share_in_json_and_percent_to_read() -> None:
    assert task_document(FILE, RESULT)["metrics"] == {"accuracy": {"value": 0.8765, "standard_error": 0.0073}}
    lines = task_lines("cbt-cn", FILE, RESULT, 1024)
    assert lines[0] == "Children's Book Test, common nouns: 2,000 examples"
    assert lines[1:3] == ["accuracy  87.65 ± 0.73 %", "±: one standard error, over 2,000 examples"]
    assert lines[-1] == "paper, CBT-CN acc: 87.65 (124M), 92.35 (355M), 93.45 (774M), 93.30 (1558M)"


def test_the_papers_units_are_used_in_its_table() -> None:
    row = next(line for line in paper_lines("mine", {"cbt-cn": (FILE, RESULT)}, {}) if line.startswith("CBT-CN"))
    assert row.split() == ["CBT-CN", "acc", "87.65", "92.35", "93.45", "93.30", "87.65"]
    assert max(map(len, paper_lines("builtin", {}, {})[:12])) <= 80


def test_infinity_is_null_in_json() -> None:
    document = json.loads(json.dumps(paper_document({"ptb": (FILE, INFINITE)}, {}), allow_nan=False))
    assert document["tasks"]["ptb"]["metrics"]["perplexity"] == {"value": None, "standard_error": None}


@pytest.mark.parametrize(("stride", "part"), [(8, "disjoint (stride 8)"), (3, "overlapping by 5 (stride 3)")])
def test_windows_are_stated(stride: int, part: str) -> None:
    score = (Score(4.0, 2, 8),)
    assert f"windows of 8 tokens, {part}" in evaluation_lines(Evaluation(score, score, 8, stride), [])
