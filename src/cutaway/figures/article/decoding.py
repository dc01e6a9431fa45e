"""Greedy decoding from a trace: candidates for the next token, steps of the loop, and traces of prefixes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.figures.labels import ID, PROBABILITY, TOKEN, characters, short, token_label
from cutaway.figures.panels import Entry, LocalizedText, Number, Table
from cutaway.layout import width
from cutaway.numerics import FloatArray, softmax, top_k
from cutaway.trace import Trace
from cutaway.trace.interventions import fitting
from cutaway.trace.once import once_for_a_trace

ROUNDS = 4  # steps of the loop that figures show


@dataclass(frozen=True)
class Candidate:
    """A candidate for the next token, with its probability over the whole vocabulary."""

    id: int
    logit: float
    probability: float


@dataclass(frozen=True)
class Step:
    """One step of the loop: the input tokens, how many of their positions were computed, and the chosen token."""

    ids: tuple[int, ...]
    computed: int
    chosen: Candidate


def candidates(trace: Trace, count: int, position: int = -1) -> list[Candidate]:
    """Return the most likely next tokens after a position, most likely first; ties are in order of id."""
    logits = trace.logits_at(position)
    probabilities = softmax(logits.astype(np.float64))
    likeliest = top_k(probabilities, count)
    return [Candidate(int(i), float(logits[i]), float(probabilities[i])) for i in likeliest]


def candidate_table(trace: Trace, position: int, likely: Sequence[Candidate]) -> Table:
    """Tabulate the candidates after a position, with logits and probabilities."""
    rows: list[list[Entry]] = [
        [
            token_label(trace, each.id),
            f"{each.id:,}",
            Number(each.logit, "logits", (position, each.id)),
            Number(each.probability, "probs", (position, each.id), ".2%"),
        ]
        for each in likely
    ]
    return Table(
        LocalizedText("the likeliest next tokens", "概率最大的下一个词元"), [TOKEN, ID, "logit", PROBABILITY], rows
    )


def likely(step: Step) -> Number:
    """Return the probability of the token that a step chose."""
    return Number(step.chosen.probability, f"softmax(logits({len(step.ids)} ids)[-1])[{step.chosen.id}]", form=".2%")


def go_on(
    trace: Trace, most: int, enough: Callable[[list[int]], bool] = lambda written: False
) -> tuple[list[Step], Trace]:
    """Decode greedily for at most `most` steps, until `enough` is true of the generated ids; return the steps and the
    trace of the last step.

    The loop ends early if the context is full: the token that was chosen last then does not fit.
    """
    steps: list[Step] = []
    while True:
        steps.append(Step(trace.ids, trace.work.positions_computed, candidates(trace, 1)[0]))
        full = len(steps) == most or len(trace) == trace.config.n_ctx
        if full or enough([step.chosen.id for step in steps]):
            return steps, trace
        trace = trace.append(steps[-1].chosen.id)


@once_for_a_trace
def first_steps(trace: Trace) -> list[Step]:
    """Decode greedily for `ROUNDS` steps, or until the context is full."""
    return go_on(trace, ROUNDS)[0]


def beginning(trace: Trace, count: int, base: Trace | None = None) -> Trace:
    """Trace the first `count` tokens only, without interventions at later tokens; reuse `base` if it is given."""
    kept = fitting(trace.interventions, count)
    return Trace(
        trace.config,
        trace.weights,
        trace.tokenizer,
        trace.ids[:count],
        kept,
        base=base,
        progress=trace.on_progress,
        n_prefix=min(trace.n_prefix, count),
    )


def first_logits(trace: Trace, count: int) -> FloatArray:
    """Return the logits (count, V) after each of the first tokens."""
    return trace.read_out(trace[trace.final_residual][:count])["logits"]


def tail(trace: Trace, ids: Sequence[int], columns: int) -> str:
    """Return the end of a text, cut at a token boundary and marked with "…", in at most `columns` columns."""
    end = ""
    for tokens, whole in reversed([*characters(trace, ids)]):
        label = short(whole.replace(" ", "␣") or "".join(token_label(trace, token) for token in tokens))
        if width(label + end) >= columns:
            return f"…{end}"
        end = label + end
    return end
