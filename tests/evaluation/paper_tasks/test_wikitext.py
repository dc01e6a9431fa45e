import math
from pathlib import Path

import pytest

from cutaway.evaluation.detokenize import Detokenizer
from cutaway.evaluation.paper_tasks import TASKS
from cutaway.evaluation.paper_tasks.wikitext import CONVENTIONS, clean
from tests.evaluation.scored import MODEL, evaluate, metric

# In the form of wiki.test.tokens: a space at both ends of a line, headings, <unk>.
FILE = (
    " \n"
    " = Robert <unk> = \n"
    " \n"
    ' Robert <unk> is an English film , television and theatre actor . He had a guest @-@ starring role on " The Bill "'
    " in 2000 , seen by 1 @,@ 500 ( 2 @.@ 5 % ) of St. Mary 's . \n"
    " \n"
    " = = Career = = \n"
    " \n"
    " He didn 't say : U.S. @-@ based <unk> ; £ 5 – 6 ? The writers ' hut . \n"
)
TEXT = (
    "\n= Robert <unk> =\n\n"
    'Robert <unk> is an English film, television and theatre actor. He had a guest-starring role on "The Bill"'
    " in 2000, seen by 1,500 (2.5%) of St. Mary's.\n"
    "\n== Career ==\n\n"
    "He didn't say: U.S.-based <unk>; £5 – 6? The writers' hut.\n"
)


def test_the_marks_of_tokenization_go() -> None:
    assert clean(FILE, "a.txt") == TEXT


def test_every_line_is_recovered() -> None:
    lines = [line.strip(" ") for line in FILE.split("\n")]
    detokenizer = Detokenizer(CONVENTIONS, (token for line in lines for token in line.split(" ")))
    assert [detokenizer.retokenize(detokenizer.detokenize(line)) for line in lines] == lines


@pytest.mark.parametrize("name", ["wikitext-2", "wikitext-103"])
def test_perplexity_is_per_word_and_end_of_line(name: str, tmp_path: Path) -> None:
    result = evaluate(TASKS[name], tmp_path / "wiki.test.tokens", FILE, stride=32)
    words = len(FILE.split()) + FILE.count("\n")
    nats = MODEL.score(TEXT).nats  # windows that overlap by half: a stride of 32
    assert result.counts["words"] == words
    assert metric(result, "perplexity").value == pytest.approx(math.exp(nats / words))
    assert result.counts["bytes"] == len(TEXT.encode())
