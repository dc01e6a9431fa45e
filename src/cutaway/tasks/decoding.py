"""Decoding: generate the target for the fields of an example, by beam search or sampling."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cutaway.checks import check_int
from cutaway.engines.protocol import Engine
from cutaway.errors import UsageError
from cutaway.generation.batch import DecodingBatch
from cutaway.generation.beam import BeamConfig, BeamPrompt, Hypothesis, beam_search
from cutaway.generation.config import GenerationConfig
from cutaway.generation.stream import Completion, collect
from cutaway.tasks.encoder import TaskEncoder
from cutaway.tasks.sentences import first_sentences
from cutaway.tasks.task import Decoding

GROUP = 16  # prompts of similar length per batch


@dataclass(frozen=True)
class Output:
    """A generated target, its log-probability in nats, and its beam search score.

    `is_finished` is False if the model did not generate the end token. `ids` are the tokens without the end token.
    """

    text: str
    logprob: float
    score: float
    is_finished: bool
    ids: tuple[int, ...] = ()


def decode_fields(
    engine: Engine,
    encoder: TaskEncoder,
    fields: Sequence[Mapping[str, str]],
    decoding: Decoding | None = None,
    *,
    n_best: int = 1,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    check: Callable[[], None] = lambda: None,
) -> list[list[Output]]:
    """Return up to `n_best` targets with different texts for each example, best first.

    `decoding` defaults to that of the task. With a temperature above 0 each target is a sample with its own seed, from
    `seed` on; otherwise targets come from beam search. `progress` is called with the number of finished examples.
    `check` is called before each step of a beam search and may raise to stop it. Raises UsageError as
    `TaskEncoder.prompt` does.

    >>> import cutaway
    >>> from cutaway.tasks import open_task
    >>> model = cutaway.load()
    >>> encoder = TaskEncoder(open_task("reverse"), model.tokenizer, model.config.n_ctx)
    >>> [[output]] = decode_fields(model.engine, encoder, [{"source": "a b"}], Decoding(max_new_extra=3))
    >>> output.logprob < 0
    True
    """
    decoding = encoder.task.decoding if decoding is None else decoding
    check_int("n_best", n_best, 1)
    prompts = [encoder.prompt(each) for each in fields]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: list[list[Output]] = [[] for _ in prompts]
    for start in range(0, len(order), GROUP):
        chosen = order[start : start + GROUP]
        parts = [prompts[i] for i in chosen]
        if decoding.temperature > 0:
            outputs = _sample(engine, encoder, parts, decoding, [seed + n_best * i for i in chosen], n_best)
        else:
            outputs = _search(engine, encoder, parts, decoding, n_best, check)
        for i, output in zip(chosen, outputs, strict=True):
            found[i] = _distinct([_shortened(each, decoding.sentences) for each in output])
        progress(start + len(chosen))
    return found


def _search(
    engine: Engine,
    encoder: TaskEncoder,
    prompts: Sequence[list[int]],
    decoding: Decoding,
    n_best: int,
    check: Callable[[], None],
) -> list[list[Output]]:
    config = BeamConfig(decoding.beams, decoding.alpha, n_best)
    wanted = [BeamPrompt(ids, decoding.max_new_tokens(len(ids)), encoder.n_prefix(ids)) for ids in prompts]
    found = beam_search(engine, wanted, config, _ends(encoder), check)
    return [[_output(encoder, each) for each in hypotheses] for hypotheses in found]


def _output(encoder: TaskEncoder, found: Hypothesis) -> Output:
    return Output(encoder.decode(found.ids), found.logprob, found.score, found.is_finished, tuple(found.ids))


def _sample(
    engine: Engine,
    encoder: TaskEncoder,
    prompts: Sequence[list[int]],
    decoding: Decoding,
    seeds: Sequence[int],
    n_samples: int,
) -> list[list[Output]]:
    batch = DecodingBatch(engine, None)
    own = [seed for first in seeds for seed in range(first, first + n_samples)]
    for ids, first in zip(prompts, seeds, strict=True):
        config = GenerationConfig(
            max_new_tokens=decoding.max_new_tokens(len(ids)),
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            eos_token_id=sorted(_ends(encoder)),
            logprobs=True,
        )
        for seed in range(first, first + n_samples):
            batch.add(ids, config, seed, encoder.n_prefix(ids))
    outputs = [_sampled(encoder, completion) for completion in collect(batch.run(), own, engine.name)]
    return [outputs[start : start + n_samples] for start in range(0, len(outputs), n_samples)]


def _sampled(encoder: TaskEncoder, completion: Completion) -> Output:
    logprob = sum(completion.logprobs)  # excludes the end token
    is_finished = completion.finish_reason == "eos"
    return Output(encoder.decode(completion.ids), logprob, logprob, is_finished, tuple(completion.ids))


def _ends(encoder: TaskEncoder) -> frozenset[int]:
    if encoder.codec.eos is None:
        raise UsageError("the tokenizer has no end token, at which a target ends")
    return frozenset({encoder.codec.eos})


def _shortened(output: Output, n_sentences: int) -> Output:
    """Keep the first `n_sentences` (0: all). An output with more counts as finished even without an end token."""
    if not n_sentences:
        return output
    text = first_sentences(output.text, n_sentences)
    return replace(output, text=text, is_finished=output.is_finished or text != output.text.strip())


def _distinct(outputs: Sequence[Output]) -> list[Output]:
    """Keep only the first of the outputs with the same text."""
    found: dict[str, Output] = {}
    for output in outputs:
        found.setdefault(output.text, output)
    return list(found.values())
