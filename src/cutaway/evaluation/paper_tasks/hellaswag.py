"""HellaSwag: choose the correct ending of a description among four (Zellers et al. 2019). The GPT-2 paper is older.

File: `hellaswag_val.jsonl`: `ctx`, `endings` (four) and `label` (the index of the correct one).

Recipe of karpathy/llm.c and build-nanogpt: each ending follows the context and a space; no start token comes before the
context. `accuracy` compares sums of log-probabilities, `accuracy_norm` means per token. They report 28.59 % and 29.55 %
for 124M, and 38.42 % and 48.93 % for 1558M. lm-evaluation-harness cleans the texts and takes means per byte of the
ending; it gets 28.92 % and 31.14 %.
"""

from cutaway.errors import UsageError
from cutaway.evaluation.cloze import continuation_losses
from cutaway.evaluation.corpus import json_lines, text_field
from cutaway.evaluation.paper_tasks.choices import Choice, accuracy
from cutaway.evaluation.paper_tasks.task import PaperTask, Result
from cutaway.evaluation.protocol import LanguageModel, Progress


def choice(model: LanguageModel, record: dict[str, object], place: str) -> Choice:
    """Tokenize an example. Raises UsageError, naming the place, for an invalid one.

    >>> import cutaway
    >>> record = {"ctx": "The robot", "endings": ["stopped.", "sang."], "label": 1}
    >>> example = choice(cutaway.load(), record, "a.jsonl:1")
    >>> example.context, example.continuations, example.answer
    ([464, 9379], [[5025, 13], [25889, 13]], 1)
    """
    endings = record.get("endings")
    label = record.get("label")
    if not isinstance(endings, list) or len(endings) < 2 or not all(isinstance(text, str) for text in endings):
        raise UsageError(f'{place}: "endings" is missing or is not a list of texts')
    if not isinstance(label, int) or not 0 <= label < len(endings):
        raise UsageError(f'{place}: "label" is missing or is not the index of an ending')
    context = model.input_ids(text_field(record, "ctx", place), prepend_bos=False)
    return Choice(context, [model.encode(f" {ending}") for ending in endings], label)


def run(model: LanguageModel, data: bytes, place: str, stride: int | None, progress: Progress) -> Result:
    """Score a file of HellaSwag.

    >>> import cutaway
    >>> from cutaway.evaluation.protocol import no_progress
    >>> data = b'{"ctx": "The robot", "endings": ["stopped.", "sang."], "label": 1}'
    >>> result = run(cutaway.load(), data, "h.jsonl", None, no_progress)
    >>> [metric.name for metric in result.metrics], result.counts
    (['accuracy_norm', 'accuracy'], {'examples': 1})
    """
    records = list(json_lines(data, place))
    if not records:
        raise UsageError(f"{place}: the file has no examples")
    by_sum = []
    by_mean = []
    for where, record in records:
        example = choice(model, record, where)
        losses = continuation_losses(model.engine, example.context, example.continuations)
        sums = [float(each.sum()) for each in losses]
        means = [float(each.mean()) for each in losses]
        by_sum.append(sums.index(min(sums)) == example.answer)
        by_mean.append(means.index(min(means)) == example.answer)
        progress(len(by_sum), len(records))
    metrics = (accuracy("accuracy_norm", by_mean), accuracy("accuracy", by_sum))
    return Result(metrics, "examples", {"examples": len(by_sum)})


TASK = PaperTask("hellaswag", "HellaSwag", ("hellaswag_val.jsonl",), run, "examples", (10_042,), takes_stride=False)
