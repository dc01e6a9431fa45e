"""What figures do with a trace besides reading it: ask for the next token, go on, and read the beginning alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.figures.labels import ID, PROBABILITY, TOKEN, token_label
from cutaway.figures.panels import Entry, LocalizedText, Number, Table
from cutaway.figures.render.text import short
from cutaway.layout import width
from cutaway.numerics import FloatArray, softmax, top_k
from cutaway.trace import Trace
from cutaway.trace.interventions import fitting


@dataclass(frozen=True)
class Candidate:
    """A token that may come next; its probability is over the whole vocabulary."""

    id: int
    logit: float
    probability: float


@dataclass(frozen=True)
class Step:
    """One round of the loop: the tokens that were read, how many of them had to be computed, and what was chosen."""

    ids: tuple[int, ...]
    computed: int
    chosen: Candidate


def candidates(trace: Trace, count: int, position: int = -1) -> list[Candidate]:
    """The likeliest tokens after a position, or the last, likeliest first; of equals the lowest id."""
    logits = trace.logits_at(position)
    probabilities = softmax(logits.astype(np.float64))
    likeliest = top_k(probabilities, count)
    return [Candidate(int(i), float(logits[i]), float(probabilities[i])) for i in likeliest]


def candidate_table(trace: Trace, position: int, likely: Sequence[Candidate]) -> Table:
    """What may come after that position, with logits and probabilities."""
    rows: list[list[Entry]] = [
        [
            token_label(trace, each.id),
            str(each.id),
            Number(each.logit, "logits", (position, each.id)),
            Number(each.probability, "probs", (position, each.id), ".2%"),
        ]
        for each in likely
    ]
    return Table(
        LocalizedText("the likeliest next tokens", "概率最大的下一个词元"), [TOKEN, ID, "logit", PROBABILITY], rows
    )


def likely(step: Step) -> Number:
    """The probability of what a step chose; its text may be longer than the figure's."""
    return Number(step.chosen.probability, f"softmax(logits({len(step.ids)} ids)[-1])[{step.chosen.id}]", form=".2%")


def go_on(
    trace: Trace, most: int, enough: Callable[[list[int]], bool] = lambda written: False
) -> tuple[list[Step], Trace]:
    """At most `most` rounds of the loop with the likeliest token each time, until the ids written are `enough`, and the
    trace of the last round.

    The loop ends early where the context is full: the token chosen last then has no place to be read.
    """
    steps: list[Step] = []
    while True:
        steps.append(Step(trace.ids, trace.work.positions_computed, candidates(trace, 1)[0]))
        full = len(steps) == most or len(trace) == trace.config.n_ctx
        if full or enough([step.chosen.id for step in steps]):
            return steps, trace
        trace = trace.append(steps[-1].chosen.id)


def beginning(trace: Trace, count: int, base: Trace | None = None) -> Trace:
    """The first tokens as a text of their own, read anew or after `base`; a change to a token beyond falls away."""
    kept = fitting(trace.interventions, count)
    return Trace(
        trace.config, trace.weights, trace.tokenizer, trace.ids[:count], kept, base=base, progress=trace.on_progress
    )


def first_logits(trace: Trace, count: int) -> FloatArray:
    """The logits (count, V) after each of the first tokens."""
    return trace.read_out(trace[trace.final_residual][:count])["logits"]


def tail(trace: Trace, ids: Sequence[int], columns: int) -> str:
    """The end of a text from a whole token on, in at most so many columns; "…" stands for what is before it."""
    end = ""
    for token in reversed(ids):
        label = short(token_label(trace, token))
        if width(label + end) >= columns:
            return f"…{end}"
        end = label + end
    return end
