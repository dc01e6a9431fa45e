"""Children's Book Test: choose the missing word of a sentence among ten candidates (Hill et al. 2015).

Files: `cbtest_CN_valid_2000ex.txt` (common nouns) and `cbtest_NE_valid_2000ex.txt` (named entities): 20 numbered
sentences, then `21 sentence with XXXXX`, a tab, the answer, two tabs, and the candidates between `|`; then an empty
line. The paper reports the validation files, since a book of the test set is in its training text (section 3.2).

Recipe: "we compute the probability of each choice and the rest of the sentence conditioned on this choice according to
the LM, and predict the one with the highest probability". Each candidate is inserted, and the 21 sentences are
de-tokenized and joined by spaces, after the start token. The common beginning of all candidates' texts is read once.
The sum of the log-probabilities of the rest decides, which is the same comparison. A text longer than the context is
truncated on the left. The paper has 87.65 % and 83.4 % for 124M; transformers#13761 got 84.35 % and 73.65 %.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cutaway.data.sources import decode_text
from cutaway.errors import UsageError
from cutaway.evaluation.cloze import common_prefix, continuation_losses
from cutaway.evaluation.detokenize import Conventions, Detokenizer
from cutaway.evaluation.paper_tasks.choices import Choice, accuracy
from cutaway.evaluation.paper_tasks.task import PaperTask, Result
from cutaway.evaluation.protocol import LanguageModel, Progress

BLANK = "XXXXX"
CONVENTIONS = Conventions(
    closing=",.;:!?%'",
    opening="$£",
    clitics="n't|'(?:s|m|d|re|ve|ll)",
    opening_marks={"``": '"', "-LRB-": "("},
    closing_marks={"''": '"', "-RRB-": ")"},
)


@dataclass(frozen=True)
class Question:
    """Sentences, the last one with a blank; the candidates; and the correct candidate."""

    sentences: tuple[str, ...]
    candidates: tuple[str, ...]
    answer: str

    def query(self, candidate: str) -> str:
        """Return the last sentence with a candidate in the blank."""
        return self.sentences[-1].replace(BLANK, candidate)

    @property
    def tokens(self) -> set[str]:
        """All tokens of the sentences and of the candidates."""
        return {token for line in (*self.sentences, *self.candidates) for token in line.split(" ")}


def read_questions(text: str, place: str) -> Iterator[Question]:
    """Yield the questions of a file. Raises UsageError naming the malformed line.

    >>> [question] = read_questions("1 It was .\\n2 A XXXXX !\\tcow\\t\\tcow|hen\\n", "c.txt")
    >>> question.sentences[0], question.query(question.answer)
    ('It was .', 'A cow !')
    """
    sentences: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        sentence, *fields = line.split("\t")
        sentences.append(sentence.partition(" ")[2].strip())
        if fields:
            yield _question(sentences, fields, f"{place}:{number}")
            sentences = []
    if sentences:
        raise UsageError(f"{place}:{number}: the file ends without a question for its sentences")


def _question(sentences: list[str], fields: list[str], place: str) -> Question:
    answer = fields[0].strip()
    candidates = tuple(candidate.strip() for candidate in fields[-1].split("|") if candidate.strip())
    if answer not in candidates or len(candidates) < 2 or BLANK not in sentences[-1]:
        raise UsageError(f"{place}: a question needs {BLANK}, an answer, and candidates with the answer")
    return Question(tuple(sentences), candidates, answer)


def choice(model: LanguageModel, question: Question, detokenizer: Detokenizer) -> Choice:
    """Tokenize a question into the context that its texts share and the rest of each text.

    >>> import cutaway
    >>> [question] = read_questions("1 It was .\\n2 A XXXXX !\\tcow\\t\\tcow|hen\\n", "c.txt")
    >>> model = cutaway.load()
    >>> example = choice(model, question, Detokenizer(CONVENTIONS, question.tokens))
    >>> model.decode(example.context), [model.decode(ids) for ids in example.continuations], example.answer
    ('<|endoftext|>It was. A', [' cow!', ' hen!'], 0)
    """
    before = detokenizer.detokenize(" ".join(question.sentences[:-1]))
    queries = [detokenizer.detokenize(question.query(word)) for word in question.candidates]
    texts = [model.input_ids(f"{before} {query}") for query in queries]
    shared = common_prefix(texts)
    return Choice(texts[0][:shared], [ids[shared:] for ids in texts], question.candidates.index(question.answer))


def run(model: LanguageModel, data: bytes, place: str, stride: int | None, progress: Progress) -> Result:
    """Score a file of the Children's Book Test.

    >>> import cutaway
    >>> from cutaway.evaluation.protocol import no_progress
    >>> data = b"1 The cow says moo .\\n2 Moo , says the XXXXX .\\tcow\\t\\tcow|hen\\n"
    >>> run(cutaway.load(), data, "c.txt", None, no_progress).counts
    {'examples': 1}
    """
    questions = list(read_questions(decode_text(data, place), place))
    if not questions:
        raise UsageError(f"{place}: the file has no questions")
    detokenizer = Detokenizer(CONVENTIONS, {token for question in questions for token in question.tokens})
    correct = []
    for question in questions:
        example = choice(model, question, detokenizer)
        losses = continuation_losses(model.engine, example.context, example.continuations)
        nats = [float(each.sum()) for each in losses]
        correct.append(nats.index(min(nats)) == example.answer)
        progress(len(correct), len(questions))
    return Result((accuracy("accuracy", correct),), "examples", {"examples": len(correct)})


def _task(kind: str, title: str) -> PaperTask:
    name = f"cbt-{kind.lower()}"
    file = f"cbtest_{kind}_valid_2000ex.txt"
    return PaperTask(name, title, (file, f"CBTest/data/{file}"), run, "examples", (2000,), takes_stride=False)


COMMON_NOUNS = _task("CN", "Children's Book Test, common nouns")
NAMED_ENTITIES = _task("NE", "Children's Book Test, named entities")
