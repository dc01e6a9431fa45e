"""LAMBADA: predict the last word of a passage, which can only be guessed from the whole passage (Paperno et al. 2016).

File: `lambada_test.jsonl`, OpenAI's version, one `{"text"}` per line with case and punctuation; or
`lambada_test_plain_text.txt`, the authors' version, one tokenized passage in lower case per line, on which 124M gets
34 % instead of 46 % (openai/gpt-2#131). 5,153 passages in both.

Recipe, as in OpenAI's preprocessing there: curly double quotes become straight, the passage is stripped, and a newline
is prepended. The passage follows the start token. The last word with the space before it is scored.

- `perplexity`: exponential of the mean nats per last word. The paper has 35.13 for 124M; lm-evaluation-harness, 40.06.
- `accuracy`: each token of the word is the model's most likely one.
- `accuracy_without_stop_words`: the same with stop words excluded, "an approximation" to the knowledge that the word
  ends the passage (section 3.3). With it the paper's 1558M rises from 52.66 % to the 63.24 % of Table 3. OpenAI's list
  is not known; this one is the English function words below.
- `accuracy_of_last_token`: only the last token of the word, given the others; 46.67 to 46.89 % are reported for 124M.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.data.sources import decode_text
from cutaway.errors import UsageError
from cutaway.evaluation.cloze import continuation_logits
from cutaway.evaluation.corpus import json_lines, text_field
from cutaway.evaluation.paper_tasks.choices import accuracy
from cutaway.evaluation.paper_tasks.task import Metric, PaperTask, Result
from cutaway.evaluation.perplexity import exponential
from cutaway.evaluation.protocol import LanguageModel, Progress
from cutaway.evaluation.uncertainty import mean_error
from cutaway.numerics import FloatArray, negative_log_likelihood

STOP_WORDS = (
    "a about above after again against all am an and any are as at be because been before being below between both "
    "but by can could did do does doing down during each few for from further had has have having he her here hers "
    "herself him himself his how i if in into is it its itself just me more most must my myself no nor not now of off "
    "on once only or other our ours ourselves out over own same she should so some such than that the their theirs "
    "them themselves then there these they this those through to too under until up very was we were what when where "
    "which while who whom why will with would you your yours yourself yourselves"
)


@dataclass(frozen=True)
class Prediction:
    """Outcome of one passage."""

    nats: float
    correct: bool
    correct_without_stop_words: bool
    last_token_correct: bool


def read_passages(data: bytes, place: str) -> list[str]:
    """Read the passages of either file. Raises UsageError if a passage has fewer than two words.

    >>> read_passages(b'{"text": "He said: go"}\\n', "l.txt") == read_passages(b"He said: go\\n", "l.txt")
    True
    """
    if data.startswith(b"{"):
        passages = [(where, text_field(record, "text", where)) for where, record in json_lines(data, place)]
    else:
        lines = decode_text(data, place).removesuffix("\n").split("\n") if data else []
        passages = [(f"{place}:{number}", line) for number, line in enumerate(lines, start=1)]
    found = [(where, preprocess(text)) for where, text in passages]
    for where, text in found:
        if " " not in text:
            raise UsageError(f"{where}: a passage needs two words")
    if not found:
        raise UsageError(f"{place}: the file has no passages")
    return [text for _, text in found]


def preprocess(text: str) -> str:
    """Normalise a passage as OpenAI does.

    >>> preprocess(" “Go,” he said ")
    '\\n"Go," he said'
    """
    return "\n" + text.replace("“", '"').replace("”", '"').strip()


def stop_tokens(model: LanguageModel) -> list[int]:
    """Return the tokens that are a space and a stop word, in lower case or capitalised.

    >>> import cutaway
    >>> model = cutaway.load()
    >>> model.encode(" the")[0] in stop_tokens(model), model.encode(" robot")[0] in stop_tokens(model)
    (True, False)
    """
    words = [word for lower in STOP_WORDS.split() for word in (lower, lower.capitalize())]
    return sorted({ids[0] for ids in (model.encode(f" {word}") for word in words) if len(ids) == 1})


def judge(logits: FloatArray, word: Sequence[int], banned: Sequence[int]) -> Prediction:
    """Compare the logits that predict a word's tokens, (length, n_vocab), with the tokens.

    >>> judge(np.array([[3.0, 2.0, 1.0]]), word=[1], banned=[0]).correct_without_stop_words
    True
    """
    hits = logits.argmax(axis=-1) == np.asarray(word)
    first = logits[0].copy()
    first[list(banned)] = -np.inf
    return Prediction(
        nats=float(negative_log_likelihood(logits, np.asarray(word)).sum()),
        correct=bool(hits.all()),
        correct_without_stop_words=bool(first.argmax() == word[0] and hits[1:].all()),
        last_token_correct=bool(hits[-1]),
    )


def run(model: LanguageModel, data: bytes, place: str, stride: int | None, progress: Progress) -> Result:
    """Score a file of LAMBADA.

    >>> import cutaway
    >>> from cutaway.evaluation.protocol import no_progress
    >>> result = run(cutaway.load(), b"he said : go\\nthen they go\\n", "l.txt", None, no_progress)
    >>> result.metrics[0].name, result.counts
    ('perplexity', {'examples': 2})
    """
    passages = read_passages(data, place)
    banned = stop_tokens(model)
    predictions: list[Prediction] = []
    for text in passages:
        context, _, last = text.rpartition(" ")
        word = model.encode(f" {last}")
        [logits] = continuation_logits(model.engine, model.input_ids(context), [word])
        predictions.append(judge(logits, word, banned))
        progress(len(predictions), len(passages))
    return _result(predictions)


def _result(predictions: Sequence[Prediction]) -> Result:
    nats = [prediction.nats for prediction in predictions]
    perplexity = exponential(sum(nats) / len(nats))
    error = mean_error(nats)
    metrics = (
        Metric("perplexity", perplexity, None if error is None else perplexity * error),
        accuracy("accuracy", [p.correct for p in predictions]),
        accuracy("accuracy_without_stop_words", [p.correct_without_stop_words for p in predictions]),
        accuracy("accuracy_of_last_token", [p.last_token_correct for p in predictions]),
    )
    return Result(metrics, "examples", {"examples": len(predictions)})


TASK = PaperTask(
    "lambada",
    "LAMBADA",
    ("lambada_test.jsonl", "lambada_test_plain_text.txt"),
    run,
    "examples",
    (5153,),
    takes_stride=False,
)
