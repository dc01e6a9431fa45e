"""Accuracy on multiple-choice examples: the model's answer is its most likely candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

from cutaway.evaluation.paper_tasks.task import Metric
from cutaway.evaluation.uncertainty import mean_error


@dataclass(frozen=True)
class Choice:
    """Token ids of an example: the context, the candidate continuations, and the index of the correct one."""

    context: list[int]
    continuations: list[list[int]]
    answer: int


def accuracy(name: str, correct: Sequence[bool]) -> Metric:
    """Compute the share of correct examples with its standard error.

    >>> accuracy("accuracy", [True, True, False, True]).value
    0.75
    """
    return Metric(name, sum(correct) / len(correct), mean_error(correct))
