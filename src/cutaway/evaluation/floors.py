"""Floors: baseline targets that need no model, to compare a score with."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import UsageError
from cutaway.evaluation.rouge import rouge_words
from cutaway.tasks.records import TaskRecord
from cutaway.tasks.sentences import first_sentences
from cutaway.tasks.task import Task

_LEAD = "lead-"


def copied(records: Sequence[TaskRecord], task: Task) -> list[str]:
    """Return the source of each record unchanged.

    >>> from cutaway.tasks import open_task
    >>> copied([TaskRecord("", {"source": "a b", "target": "b a"})], open_task("reverse"))
    ['a b']
    """
    return [record.fields[task.truncation.field] for record in records]


def lead(records: Sequence[TaskRecord], task: Task, n_sentences: int) -> list[str]:
    """Return the first sentences of each record's source.

    >>> from cutaway.tasks import open_task
    >>> body = "One. Two! Three? Four."
    >>> lead([TaskRecord("", {"title": "", "body": body, "lead": ""})], open_task("wiki-lead"), 3)
    ['One. Two! Three?']
    """
    return [first_sentences(source, n_sentences) for source in copied(records, task)]


def random_targets(records: Sequence[TaskRecord], task: Task, seed: int) -> list[str]:
    """Return for each record the target of another record, if there is another.

    >>> from cutaway.tasks import open_task
    >>> pairs = [TaskRecord("", {"source": text, "target": text}) for text in "abc"]
    >>> random_targets(pairs, open_task("reverse"), seed=1)
    ['c', 'a', 'b']
    """
    return [records[other].fields[task.target] for other in other_records(len(records), seed)]


def other_records(n: int, seed: int) -> list[int]:
    """Return for each of n records the index of another record; each index occurs once.

    >>> other_records(4, seed=1)
    [3, 0, 1, 2]
    """
    order = np.random.default_rng(seed).permutation(n)
    others = np.empty(n, np.int64)
    others[order] = np.roll(order, 1)
    return [int(other) for other in others]


class NearestTargets:
    """Returns the target of the training record with the nearest source, by the cosine similarity of tf-idf vectors.

    >>> from cutaway.tasks import open_task
    >>> train = [TaskRecord("", {"source": a, "target": b}) for a, b in (("a cat", "1"), ("a dog", "2"))]
    >>> nearest = NearestTargets(train, open_task("reverse"))
    >>> nearest([TaskRecord("", {"source": "the dog", "target": ""})])
    ['2']
    """

    def __init__(self, train: Sequence[TaskRecord], task: Task) -> None:
        self._task = task
        self._train = train
        self._groups: dict[tuple[str, ...], _Index] = {}
        for key in {record.choices(task) for record in train}:
            numbers = [i for i, record in enumerate(train) if record.choices(task) == key]
            self._groups[key] = _Index([train[i].fields[task.truncation.field] for i in numbers], numbers)

    def __call__(self, records: Sequence[TaskRecord]) -> list[str]:
        """Return a target for each record: that of the first training record if none shares a word."""
        found = []
        for record in records:
            key = record.choices(self._task)
            if key not in self._groups:
                raise UsageError(f"{record.place}: no training record has {', '.join(key)}")
            number = self._groups[key].nearest(record.fields[self._task.truncation.field])
            found.append(self._train[number].fields[self._task.target])
        return found


class _Index:
    """An inverted index from words to texts, which are identified by numbers."""

    def __init__(self, texts: Sequence[str], numbers: Sequence[int]) -> None:
        self._numbers = numbers
        places: dict[str, list[int]] = {}
        counts: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            for word, count in Counter(rouge_words(text)).items():
                places.setdefault(word, []).append(place)
                counts.setdefault(word, []).append(count)
        self._postings = {word: (np.array(places[word]), np.array(counts[word], np.float64)) for word in places}
        self._rarity = {word: float(np.log(1 + len(texts) / len(found))) for word, found in places.items()}
        squares = np.zeros(len(texts))
        for word, (where, times) in self._postings.items():
            squares[where] += (times * self._rarity[word]) ** 2
        self._norms: NDArray[np.float64] = np.sqrt(np.maximum(squares, 1e-12))

    def nearest(self, text: str) -> int:
        """Return the number of the nearest text."""
        scores = np.zeros(len(self._norms))
        for word, times in Counter(rouge_words(text)).items():
            if word in self._postings:
                where, counts = self._postings[word]
                scores[where] += times * counts * self._rarity[word] ** 2
        return self._numbers[int(np.argmax(scores / self._norms))]


Floor = Callable[[Sequence[TaskRecord]], list[str]]


def make_floors(task: Task, train: Sequence[TaskRecord], seed: int) -> Mapping[str, Floor]:
    """Return the floors of a task by name; "nearest" only if there are training records.

    >>> from cutaway.tasks import open_task
    >>> list(make_floors(open_task("translation"), [], seed=1))
    ['copy']
    """
    known: dict[str, Floor] = {
        "copy": lambda records: copied(records, task),
        "random": lambda records: random_targets(records, task, seed),
    }
    for name in task.floors:
        if name.startswith(_LEAD):
            known[name] = partial(lead, task=task, n_sentences=int(name.removeprefix(_LEAD)))
    if train:
        known["nearest"] = NearestTargets(train, task)
    return {name: known[name] for name in task.floors if name in known}
