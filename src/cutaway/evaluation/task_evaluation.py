"""Evaluation of a task: a model's outputs, compared with floors and with its outputs for shuffled sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from cutaway.engines.protocol import Engine, check_finite
from cutaway.evaluation.bleu import corpus_bleu, score_statistics
from cutaway.evaluation.floors import make_floors, other_records
from cutaway.evaluation.protocol import Progress, no_progress
from cutaway.evaluation.rouge import KINDS, best_rouge, copy_rate, novel_bigrams, rouge_words
from cutaway.evaluation.uncertainty import mean_error, ratio_error
from cutaway.numerics import negative_log_likelihood
from cutaway.tasks.decoding import Output, decode_fields
from cutaway.tasks.encoder import TaskEncoder
from cutaway.tasks.records import TaskRecord
from cutaway.tasks.task import Decoding, Task

MODEL = "model"
SHUFFLED = "shuffled source"
NOVEL = "novel bigrams"
COPIED = "copy rate"
LENGTH = "length ratio"
BOOTSTRAP = 300  # bootstrap samples for the standard error of BLEU

Scores = Mapping[str, tuple[float, float | None]]
"""Values of metrics by name, in percent, each with its standard error."""


@dataclass(frozen=True)
class Likelihood:
    """The negative log-likelihood of targets: nats per target, and the total tokens and bytes."""

    each: Sequence[float]
    tokens: int
    bytes: int

    @property
    def nats(self) -> float:
        """Total nats of all targets."""
        return sum(self.each)

    @property
    def nats_per_token(self) -> float:
        """Nats per target token, including end tokens."""
        return self.nats / self.tokens

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of the targets; None if they are empty."""
        return self.nats / float(np.log(2)) / self.bytes if self.bytes else None


@dataclass(frozen=True)
class TaskEvaluation:
    """Results for records with the same choices, such as one direction of translation.

    `scores` are those of the model, of floors, and of the model with shuffled sources, in this order. `likelihoods` are
    of the targets, given the record's own source and a shuffled one. `outputs` are the model's, one per record.
    """

    choices: Mapping[str, str]
    records: Sequence[TaskRecord]
    outputs: Sequence[Output]
    scores: Mapping[str, Scores]
    likelihoods: Mapping[str, Likelihood]

    @property
    def saving(self) -> tuple[float, float | None]:
        """The share of the targets' bits that their own source saves over a shuffled one, and its standard error."""
        own = self.likelihoods[MODEL].each
        shuffled = self.likelihoods[SHUFFLED].each
        saved = [other - nats for nats, other in zip(own, shuffled, strict=True)]
        return sum(saved) / sum(shuffled), ratio_error(saved, shuffled)


def evaluate_task(
    engine: Engine,
    encoder: TaskEncoder,
    records: Sequence[TaskRecord],
    *,
    train: Sequence[TaskRecord] = (),
    decoding: Decoding | None = None,
    seed: int = 1,
    progress: Progress = no_progress,
) -> list[TaskEvaluation]:
    """Evaluate a model on the records of a task; return one result per combination of choices.

    `train` are the records for the nearest-source floor. As a control, each record is also decoded with the source of
    another record: a model that reads its source gets much worse. Raises UsageError, naming the record and before
    anything is decoded, if a record does not fit into the context with its own or the other source.

    >>> import cutaway
    >>> from cutaway.tasks import open_task
    >>> model = cutaway.load()
    >>> encoder = model.encoder(open_task("reverse"))
    >>> pairs = [TaskRecord("", {"source": a, "target": b}) for a, b in (("a b", "b a"), ("c d", "d c"))]
    >>> [found] = evaluate_task(model.engine, encoder, pairs, decoding=Decoding(max_new_extra=3))
    >>> list(found.scores), found.likelihoods["model"].tokens
    (['model', 'copy', 'shuffled source'], 6)
    """
    floors = make_floors(encoder.task, train, seed)
    groups = _by_choices(records, encoder.task)
    controls = {choices: shuffle_sources(chosen, encoder, seed) for choices, chosen in groups.items()}
    encoder.encode_all([*records, *chain.from_iterable(controls.values())])
    written = {choices: {name: floor(chosen) for name, floor in floors.items()} for choices, chosen in groups.items()}
    run = _Evaluation(engine, encoder, decoding, seed, progress, n_outputs=2 * len(records))
    return [run.evaluate(chosen, controls[choices], written[choices]) for choices, chosen in groups.items()]


@dataclass
class _Evaluation:
    """Decodes the records and their controls; `n_done` of `n_outputs` are done so far."""

    engine: Engine
    encoder: TaskEncoder
    decoding: Decoding | None
    seed: int
    progress: Progress
    n_outputs: int
    n_done: int = 0

    def evaluate(
        self, records: Sequence[TaskRecord], shuffled: Sequence[TaskRecord], floors: Mapping[str, Sequence[str]]
    ) -> TaskEvaluation:
        """Evaluate the model on records with the same choices, along with the floors and the shuffled sources."""
        outputs = self.decode(records)
        texts = {
            MODEL: [output.text for output in outputs],
            **floors,
            SHUFFLED: [output.text for output in self.decode(shuffled)],
        }
        scores = {name: score_texts(several, records, self.encoder) for name, several in texts.items()}
        likelihoods = {
            MODEL: likelihood(self.engine, self.encoder, records),
            SHUFFLED: likelihood(self.engine, self.encoder, shuffled),
        }
        choices = {name: records[0].fields[name] for name in self.encoder.task.choices}
        return TaskEvaluation(choices, records, outputs, scores, likelihoods)

    def decode(self, records: Sequence[TaskRecord]) -> list[Output]:
        """Return the best output for each record."""
        before = self.n_done
        self.n_done += len(records)
        found = decode_fields(
            self.engine,
            self.encoder,
            [record.fields for record in records],
            self.decoding,
            seed=self.seed,
            progress=lambda n: self.progress(before + n, self.n_outputs),
        )
        return [outputs[0] for outputs in found]


def _by_choices(records: Sequence[TaskRecord], task: Task) -> dict[tuple[str, ...], list[TaskRecord]]:
    """Group records by their values of the task's choices."""
    groups: dict[tuple[str, ...], list[TaskRecord]] = {}
    for record in records:
        groups.setdefault(record.choices(task), []).append(record)
    return groups


def shuffle_sources(records: Sequence[TaskRecord], encoder: TaskEncoder, seed: int) -> list[TaskRecord]:
    """Return records with their own targets and the sources of others.

    >>> from cutaway.tasks import open_task
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> encoder = TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), 64)
    >>> pairs = [TaskRecord("", {"source": text, "target": text}) for text in "ab"]
    >>> [dict(record.fields) for record in shuffle_sources(pairs, encoder, seed=1)]
    [{'source': 'b', 'target': 'a'}, {'source': 'a', 'target': 'b'}]
    """
    sources = encoder.task.sources
    others = [records[other].fields for other in other_records(len(records), seed)]
    return [
        replace(record, fields={**record.fields, **{name: other[name] for name in sources}})
        for record, other in zip(records, others, strict=True)
    ]


def score_texts(texts: Sequence[str], records: Sequence[TaskRecord], encoder: TaskEncoder) -> Scores:
    """Score texts against the references of records with the metrics of a task.

    With several references the best one counts, as in SciTLDR: for each kind of ROUGE the highest F1.

    >>> from cutaway.tasks import open_task
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> encoder = TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), 64)
    >>> pairs = [TaskRecord("", {"source": text, "target": text}) for text in "ab"]
    >>> score_texts(["a", "x"], pairs, encoder)
    {'exact': (50.0, 50.0)}
    """
    references = [record.references or (record.fields[encoder.task.target],) for record in records]
    scores: dict[str, tuple[float, float | None]] = {}
    for metric in encoder.task.metrics:
        if metric == "bleu":
            bleu = corpus_bleu(texts, references)
            scores["bleu"] = (bleu.score, _bleu_error(bleu.statistics))
        elif metric == "exact":
            hits = [100.0 * (text in several) for text, several in zip(texts, references, strict=True)]
            scores["exact"] = (float(np.mean(hits)), mean_error(hits))
        else:
            scores |= _rouge_scores(texts, references, [record.fields for record in records], encoder)
    return scores


def _bleu_error(statistics: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float | None:
    """Estimate the standard error of BLEU by bootstrap over sentences."""
    n = len(statistics)
    if n < 2:
        return None
    rng = np.random.default_rng(0)
    drawn = [score_statistics(statistics[rng.integers(0, n, n)]).score for _ in range(BOOTSTRAP)]
    return float(np.std(drawn, ddof=1))


def _rouge_scores(
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    fields: Sequence[Mapping[str, str]],
    encoder: TaskEncoder,
) -> Scores:
    each = [best_rouge(text, several) for text, several in zip(texts, references, strict=True)]
    values = {kind: [100 * scores[kind] for scores in each] for kind in KINDS}
    name = encoder.task.truncation.field
    sources = [field[name] for field in fields]
    for kind, measure in ((NOVEL, novel_bigrams), (COPIED, copy_rate)):
        shares = [measure(text, source) for text, source in zip(texts, sources, strict=True)]
        values[kind] = [100 * share for share in shares if share is not None]
    scores = {kind: (float(np.mean(found)), mean_error(found)) for kind, found in values.items() if found}
    return {**scores, **_length_ratio(texts, references)}


def _length_ratio(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Return the ratio of the words of texts to the words of their references, averaged over several references."""
    ours = [100.0 * len(rouge_words(text)) for text in texts]
    theirs = [float(np.mean([len(rouge_words(each)) for each in several])) for several in references]
    return {LENGTH: (sum(ours) / sum(theirs), ratio_error(ours, theirs))} if sum(theirs) else {}


def likelihood(engine: Engine, encoder: TaskEncoder, records: Sequence[TaskRecord]) -> Likelihood:
    """Measure the negative log-likelihood of the targets of records, each after its prompt.

    >>> import cutaway
    >>> from cutaway.tasks import open_task
    >>> model = cutaway.load()
    >>> pair = TaskRecord("", {"source": "a b", "target": "b a"})
    >>> found = likelihood(model.engine, model.encoder(open_task("reverse")), [pair])
    >>> found.tokens, found.bytes
    (3, 3)
    """
    each = []
    tokens = 0
    n_bytes = 0
    for record in records:
        prompt = encoder.prompt(record.fields)
        target = encoder.encode(record.fields).ids[len(prompt) :]
        cache = engine.new_cache(1)
        first = engine.forward([prompt], cache, n_prefix=[encoder.n_prefix(prompt)], exact=True)
        rest = engine.forward([target[:-1].tolist()], cache, logits="all", exact=True) if len(target) > 1 else first[:0]
        each.append(float(negative_log_likelihood(check_finite(np.concatenate([first, rest])), target).sum()))
        tokens += len(target)
        n_bytes += len(record.fields[encoder.task.target].encode(errors="replace"))
    return Likelihood(each, tokens, n_bytes)
