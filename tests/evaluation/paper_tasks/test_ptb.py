import math
from pathlib import Path

import pytest

from cutaway.evaluation.detokenize import Detokenizer
from cutaway.evaluation.paper_tasks import TASKS
from cutaway.evaluation.paper_tasks.ptb import CONVENTIONS, clean
from tests.evaluation.scored import MODEL, evaluate, metric

# In the form of ptb.test.txt: lower case, no punctuation, N, <unk>, a space at both ends of a line.
FILE = (
    " no it was n't black monday \n"
    " but while the new york stock exchange did n't fall apart friday as the dow jones industrial average plunged N "
    "points most of it in the final hour it barely managed to stay this side of chaos \n"
    " mr. <unk> 's u.s. unit paid $ N a share or N N % of traders ' <unk> & co. \n"
)
TEXT = (
    "no it wasn't black monday\n"
    "but while the new york stock exchange didn't fall apart friday as the dow jones industrial average plunged N "
    "points most of it in the final hour it barely managed to stay this side of chaos\n"
    "mr. <unk>'s u.s. unit paid $N a share or N N% of traders' <unk> & co.\n"
)


def test_the_marks_of_tokenization_go_and_come_back() -> None:
    assert clean(FILE, "a.txt") == TEXT
    lines = [line.strip(" ") for line in FILE.split("\n")]
    detokenizer = Detokenizer(CONVENTIONS, (token for line in lines for token in line.split(" ")))
    assert [detokenizer.retokenize(line) for line in TEXT.split("\n")] == lines


def test_perplexity_is_per_word_and_end_of_line(tmp_path: Path) -> None:
    result = evaluate(TASKS["ptb"], tmp_path / "ptb.test.txt", FILE, stride=32)
    words = len(FILE.split()) + 3
    assert result.counts["words"] == words
    assert metric(result, "perplexity").value == pytest.approx(math.exp(MODEL.score(TEXT).nats / words))
