from pathlib import Path

import numpy as np
import pytest

from cutaway.errors import UsageError
from cutaway.evaluation.detokenize import Detokenizer
from cutaway.evaluation.paper_tasks import TASKS
from cutaway.evaluation.paper_tasks.cbt import CONVENTIONS, choice, read_questions
from tests.evaluation.scored import MODEL, evaluate, ids, peer_losses

# In the form of cbtest_CN_valid_2000ex.txt, with fewer sentences and candidates.
FILE = (
    "1 `` Do n't you think so , -LRB- dear -RRB- ? ''\n"
    "2 The king 's coach came .\n"
    "3 She took the XXXXX , and `` Run ! '' said the hen .\thand\t\tbaby|hand|king|coach\n"
    "\n"
    "1 It was cold .\n"
    "2 The XXXXX barked .\tdog\t\tcow|dog\n"
    "\n"
)


def test_reads_the_authors_format() -> None:
    first, second = read_questions(FILE, "c.txt")
    assert first.sentences[1] == "The king 's coach came ."
    assert first.candidates == ("baby", "hand", "king", "coach")
    assert (first.answer, second.answer) == ("hand", "dog")
    assert second.query("cow") == "The cow barked ."


def test_the_marks_of_tokenization_go_and_come_back() -> None:
    first, _ = read_questions(FILE, "c.txt")
    detokenizer = Detokenizer(CONVENTIONS, first.tokens)
    line = " ".join([*first.sentences[:-1], first.query("hand")])
    text = detokenizer.detokenize(line)
    assert text == '"Don\'t you think so, (dear)?" The king\'s coach came. She took the hand, and "Run!" said the hen.'
    assert detokenizer.retokenize(text) == line


def test_the_context_is_what_all_candidates_share() -> None:
    _, second = read_questions(FILE, "c.txt")
    example = choice(MODEL, second, Detokenizer(CONVENTIONS, second.tokens))
    assert example.context == [50256, *ids("It was cold. The")]
    assert example.continuations == [ids(" cow barked."), ids(" dog barked.")]
    assert example.answer == 1


def test_the_most_likely_text_decides(tmp_path: Path) -> None:
    before = "\"Don't you think so, (dear)?\" The king's coach came. She took the "
    after = ', and "Run!" said the hen.'
    nats = [sum(peer_losses([50256, *ids(f"{before}{word}{after}")])) for word in ("baby", "hand", "king", "coach")]
    best = ("baby", "hand", "king", "coach")[int(np.argmin(nats))]
    question = FILE.split("\n\n", maxsplit=1)[0]
    for answer in ("baby", "hand", "king", "coach"):
        data = question.replace("\thand\t", f"\t{answer}\t")
        result = evaluate(TASKS["cbt-cn"], tmp_path / "cbt", data)
        assert result.metrics[0].value == float(answer == best)


def test_accuracy_is_over_all_questions(tmp_path: Path) -> None:
    result = evaluate(TASKS["cbt-ne"], tmp_path / "cbt", FILE)
    assert result.counts == {"examples": 2}
    assert result.metrics[0].value in (0.0, 0.5, 1.0)
    assert result.metrics[0].error is not None


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ("1 a .\n2 The XXXXX .\tdog\t\tcow|hen\n", "c.txt:2: a question needs XXXXX"),
        ("1 a .\n2 The dog .\tdog\t\tcow|dog\n", "c.txt:2: a question needs XXXXX"),
        ("1 The XXXXX .\tdog\t\tdog\n", "c.txt:1: a question needs XXXXX"),
        ("1 a .\n2 b .\n", "c.txt:3: the file ends without a question for its sentences"),
    ],
)
def test_refuses_another_format(data: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        list(read_questions(data, "c.txt"))
