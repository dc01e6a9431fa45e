"""The auto-regressive loop: seeds, batches, stops, streams and full contexts."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.engines.protocol import Cache
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import EngineError, UsageError
from cutaway.generation.batch import Completion, Limits, StopMatcher, collect, generate
from cutaway.generation.sampling import Sampling, log_probability
from cutaway.numerics import FloatArray
from cutaway.tokenizer.fast import Tokenizer
from tests.tiny import random_ids, tiny_weights

ENGINE = ReferenceEngine(tiny_weights(n_vocab=50257, n_ctx=32, n_embd=12))
GPT2 = Tokenizer.gpt2()


def write(
    prompts: list[list[int]],
    seeds: list[int],
    limits: Limits = Limits(12),
    sampling: Sampling = Sampling(),
    logprobs: bool = False,
) -> list[Completion]:
    return collect(generate(ENGINE, GPT2, prompts, sampling, limits, seeds, logprobs), seeds, "test")


def text_of(n_tokens: int, seed: int) -> Completion:
    """What an unstopped run says."""
    return write([[1, 2, 3]], [seed], Limits(n_tokens, stop_at_end=False))[0]


def test_a_seed_says_the_same_in_any_batch() -> None:
    prompts = [random_ids(ENGINE.config, length, seed=length) for length in (3, 11, 1, 7)]
    together = write(prompts, [5, 6, 7, 8])
    for i, prompt in enumerate(prompts):
        assert write([prompt], [5 + i]) == [together[i]]


def test_samples_of_one_prompt_equal_separate_runs() -> None:
    together = write([[1, 2], [3]], [10, 11, 12, 13])
    assert together == [write([p], [s])[0] for p, s in (([1, 2], 10), ([1, 2], 11), ([3], 12), ([3], 13))]
    assert len({completion.ids for completion in together}) == 4


def test_a_prompt_is_read_once_for_all_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    forward = ENGINE.forward

    def counted(sequences: list[list[int]], cache: Cache) -> FloatArray:
        read.append(sum(map(len, sequences)))
        return forward(sequences, cache)

    monkeypatch.setattr(ENGINE, "forward", counted)
    write([[1, 2, 3, 4, 5]], [1, 2, 3], Limits(2, stop_at_end=False))
    assert read == [5, 3]


def test_greedy_follows_the_largest_logit() -> None:
    ids = [4, 5, 6]
    for token in write([ids], [0], sampling=Sampling(temperature=0))[0].ids:
        assert token == ENGINE.forward([ids])[0].argmax()
        ids = [*ids, token]


def test_logprobs_are_of_the_chosen_tokens() -> None:
    completion = write([[9]], [3], logprobs=True)[0]
    ids = [9]
    for token, value in zip(completion.ids, completion.logprobs, strict=True):
        assert value == pytest.approx(log_probability(ENGINE.forward([ids])[0], token), abs=1e-4)
        ids.append(token)
    assert write([[9]], [3])[0].logprobs == ()


def test_length_is_a_stop_reason() -> None:
    completion = text_of(7, seed=1)
    assert (len(completion.ids), completion.stop_reason) == (7, "length")
    assert completion.text == GPT2.decode(completion.ids)


@pytest.mark.parametrize("stop_at_end", [True, False])
def test_end_of_text_ends_unless_told_otherwise(stop_at_end: bool) -> None:
    class Ending(ReferenceEngine):
        def forward(self, *args: object, **more: object) -> FloatArray:
            logits = super().forward(*args, **more)  # type: ignore[arg-type]
            logits[:, GPT2.end_of_text] = 1e9
            return logits

    events = generate(Ending(tiny_weights(n_vocab=50257)), GPT2, [[1]], Sampling(), Limits(3, (), stop_at_end), [0])
    completion = collect(events, [0], "test")[0]
    if stop_at_end:
        assert (completion.ids, completion.text, completion.stop_reason) == ((), "", "end_of_text")
    else:
        assert (completion.ids, completion.stop_reason) == ((GPT2.end_of_text,) * 3, "length")


@pytest.mark.parametrize("prompt_length", [1, 31, 32])
def test_a_full_context_ends_the_text(prompt_length: int) -> None:
    """One token more than the context holds is written: the last is chosen from a full one."""
    completion = write([random_ids(ENGINE.config, prompt_length)], [0], Limits(100, stop_at_end=False))[0]
    assert (len(completion.ids), completion.stop_reason) == (33 - prompt_length, "context")


def test_sliding_goes_on_from_the_last_half_of_the_context() -> None:
    prompt = random_ids(ENGINE.config, 30)
    greedy = Sampling(temperature=0)
    completion = write([prompt], [0], Limits(50, slide=True, stop_at_end=False), greedy)[0]
    assert (len(completion.ids), completion.stop_reason) == (50, "length")
    ids = [*prompt, *completion.ids]
    assert ids[33] == ENGINE.forward([ids[17:33]])[0].argmax()
    assert ids[34] == ENGINE.forward([ids[17:34]])[0].argmax()


def test_sliding_rows_do_not_disturb_their_neighbours() -> None:
    prompts = [random_ids(ENGINE.config, length) for length in (32, 2, 25)]
    limits = Limits(60, slide=True)
    assert write(prompts, [1, 2, 3], limits) == [
        write([p], [s], limits)[0] for p, s in zip(prompts, (1, 2, 3), strict=True)
    ]


def test_a_prompt_that_is_too_long_is_refused_or_slides() -> None:
    prompt = random_ids(ENGINE.config, 40)
    with pytest.raises(UsageError, match="prompt is 40 tokens long, the context holds 32"):
        write([prompt], [0])
    assert write([prompt], [0], Limits(1, slide=True)) == write([prompt[-32:]], [0], Limits(1))


def test_a_prompt_that_slid_is_penalised_for_what_was_cut_too() -> None:
    kept = random_ids(ENGINE.config, 32)
    penalised = Sampling(temperature=0, repetition_penalty=1000)
    (likeliest,) = write([kept], [0], Limits(1), penalised)[0].ids
    assert write([[likeliest, *kept]], [0], Limits(1, slide=True), penalised)[0].ids != (likeliest,)


def test_a_stop_string_ends_the_text_before_it() -> None:
    whole = text_of(25, seed=4).text
    stop = whole[20:24]
    completion = write([[1, 2, 3]], [4], Limits(25, (stop,), stop_at_end=False))[0]
    assert completion.stop_reason == "stop"
    assert completion.text == whole[: whole.index(stop)]


def test_streamed_pieces_never_show_a_stop_string_or_half_a_character() -> None:
    whole = text_of(25, seed=4).text
    limits = Limits(25, (whole[20:24],), stop_at_end=False)
    shown = ""
    for _, piece in generate(ENGINE, GPT2, [[1, 2, 3]], Sampling(), limits, [4]):
        shown += piece.text
        assert whole[20:24] not in shown
        assert whole.startswith(shown)
    assert shown == whole[: whole.index(whole[20:24])]


@settings(deadline=None)
@given(
    text=st.text("ab"),
    cuts=st.lists(st.integers(0, 20)),
    stop=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_stop_matching_does_not_depend_on_how_the_text_is_cut(text: str, cuts: list[int], stop: list[str]) -> None:
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    matcher, shown, stopped = StopMatcher(stop), "", False
    for start, end in pairwise(edges):
        part, stopped = matcher.push(text[start:end])
        shown += part
        if stopped:
            break
    met = any(s in text for s in stop)
    assert stopped == met
    if met:
        assert text.startswith(shown)
        assert any(text.startswith(shown + s) for s in stop)
        assert not any(s in shown for s in stop)
    else:
        assert shown + matcher.finish() == text


def test_ids_work_without_a_tokenizer() -> None:
    events = generate(ENGINE, None, [[1, 2]], Sampling(), Limits(5), [0])
    completion = collect(events, [0], "test")[0]
    assert (len(completion.ids), completion.text) == (5, "")


def test_the_penalty_counts_the_tokens_of_the_text() -> None:
    """The prompt's tokens and the new ones: with a large enough penalty none comes twice."""
    sampling = Sampling(temperature=0, repetition_penalty=1000)
    ids = write([[1, 2, 3]], [0], Limits(20, stop_at_end=False), sampling)[0].ids
    assert len({1, 2, 3, *ids}) == 23


def test_weights_that_give_no_numbers_are_an_error() -> None:
    broken = ReferenceEngine(tiny_weights())
    broken.weights["ln_f.weight"][:] = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        list(generate(broken, None, [[1]], Sampling(), Limits(3), [0]))


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"max_new_tokens": 2.5}, {"stop": ("",)}, {"stop": "END"}])
def test_limits_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Limits(**wrong)  # type: ignore[arg-type]


def test_ids_that_pad_a_vocabulary_are_never_written() -> None:
    """A head of 50,304 rows (a round number, as some trainers like) has 47 that are no token's."""
    padded = ReferenceEngine(tiny_weights(n_vocab=50304, n_ctx=32, n_embd=12))
    padded.weights["wte.weight"][50257:] *= 100
    events = generate(padded, GPT2, [[1, 2, 3]], Sampling(), Limits(30), [0])
    assert max(collect(events, [0], "test")[0].ids) < 50257
