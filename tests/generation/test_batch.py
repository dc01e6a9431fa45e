"""The decoding batch: seeds, rows that join and leave, stops, streams and full contexts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.protocol import Engine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import EngineError, UsageError
from cutaway.generation.batch import DecodingBatch, generate
from cutaway.generation.config import GenerationConfig
from cutaway.generation.stream import Chunk, Completion, collect
from cutaway.numerics import FloatArray, log_softmax
from cutaway.tokenizer.fast import Tokenizer
from tests.tiny import random_ids, tiny_weights

ENGINE = ReferenceEngine(tiny_weights(n_vocab=50257, n_ctx=32, n_embd=12))
GPT2 = Tokenizer.gpt2()
SMALL = tiny_weights(n_ctx=16, n_layer=1, n_embd=8, n_head=2)
TWO_LAYERS = tiny_weights(n_ctx=16, n_layer=2, n_embd=8, n_head=2)  # in one, keys and values depend on no mask
ENGINES: dict[str, Engine] = {
    "reference": ReferenceEngine(SMALL),
    "pytorch": PyTorchEngine(SMALL, "float32"),
    "cpu float32": CpuEngine(SMALL, "float32", threads=2),
    "cpu int8": CpuEngine(SMALL, "int8", threads=1),
}

every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def write(prompts: list[list[int]], seeds: list[int], **overrides: object) -> list[Completion]:
    config = GenerationConfig(max_new_tokens=12).replace(**overrides)
    return collect(generate(ENGINE, GPT2, prompts, config, seeds), seeds, "test")


def text_of(n_tokens: int, seed: int) -> Completion:
    """An unstopped run."""
    return write([[1, 2, 3]], [seed], max_new_tokens=n_tokens, ignore_eos=True)[0]


def settings_of(row: int) -> GenerationConfig:
    """Settings that differ from row to row: some finish early, some shift their context."""
    return GenerationConfig(
        max_new_tokens=1 + 7 * row % 23,
        temperature=row % 3,
        context_shift=row % 2 == 0,
        logprobs=True,
        top_logprobs=row % 4,
        eos_token_id=[row, 60 - row],
    )


def alone(engine: Engine, row: int, prompt: list[int]) -> list[Chunk]:
    """The chunks of a row that has a batch to itself."""
    return [chunk for _, chunk in generate(engine, None, [prompt], settings_of(row), [row])]


@every_engine
@settings(max_examples=12)
@given(
    joins=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 16), st.booleans()), min_size=1, max_size=12),
    cancelled=st.sets(st.integers(0, 11)),
)
@pytest.mark.slow
def test_a_row_is_the_same_whatever_joins_and_leaves(
    engine: Engine, joins: list[tuple[int, int, bool]], cancelled: set[int]
) -> None:
    batch = DecodingBatch(engine, None)
    prompts: list[list[int]] = []
    found: dict[int, list[Chunk]] = {}

    def step() -> None:
        for row, chunk in batch.step():
            found[row].append(chunk)

    for row, (steps_before, length, same_prompt) in enumerate(joins):
        for _ in range(steps_before):
            step()
        prompts.append(prompts[-1] if same_prompt and prompts else random_ids(engine.config, length, seed=length))
        found[batch.add(prompts[row], settings_of(row), seed=row)] = []
        if row - 1 in cancelled and found[row - 1] and not found[row - 1][-1].finish_reason:
            batch.cancel(row - 1)
            found[row - 1].append(Chunk("cancelled"))
    while batch:
        step()
    for row, prompt in enumerate(prompts):
        expected = alone(engine, row, prompt)
        if found[row][-1] == Chunk("cancelled"):
            assert found[row][:-1] == expected[: len(found[row]) - 1]
        else:
            assert found[row] == expected


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@settings(max_examples=40)
@given(
    texts=st.lists(
        st.tuples(
            st.integers(0, 20),  # tokens of the text before that stay
            st.lists(st.integers(0, 60), min_size=1, max_size=3),  # tokens after them
            st.integers(0, 12),  # steps
            st.booleans(),  # the tokens of the prompt see each other
        ),
        min_size=2,
        max_size=8,
    )
)
def test_a_row_is_the_same_after_another_that_begins_alike(
    dtype: str, texts: list[tuple[int, list[int], int, bool]]
) -> None:
    engine = CpuEngine(TWO_LAYERS, dtype, threads=1)
    batch = DecodingBatch(engine, None, keeps_rows=True)
    text: list[int] = []
    for row, (n_kept, new, n_steps, has_prefix) in enumerate(texts):
        text = text[:n_kept] + new
        if has_prefix:
            text = text[-engine.config.n_ctx :]
        config = settings_of(row).replace(context_shift=not has_prefix)
        n_prefix = len(text) if has_prefix else 0
        expected = [chunk for _, chunk in generate(engine, None, [text], config, [row], [n_prefix])]
        added = batch.add(text, config, row, n_prefix)
        found: list[Chunk] = []
        while batch and len(found) < n_steps:
            [(_, chunk)] = batch.step()
            found.append(chunk)
        if batch:
            batch.cancel(added)
        assert found == expected[:n_steps]
        text = text + [token for chunk in found for token in chunk.ids]
    assert len(batch._cache.lengths) == 1


def test_a_row_that_stays_is_read_only_from_where_another_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ENGINES["cpu int8"]
    read: list[list[int]] = []
    forward: Callable[..., FloatArray] = engine.forward

    def recorded(sequences: list[list[int]], *args: object, **more: object) -> FloatArray:
        read.extend(map(list, sequences))
        return forward(sequences, *args, **more)

    monkeypatch.setattr(engine, "forward", recorded)
    for keeps_rows, second in ((True, [7, 5]), (False, [1, 2, 3, 7, 5])):
        batch = DecodingBatch(engine, None, keeps_rows=keeps_rows)
        read.clear()
        for prompt in ([1, 2, 3, 4], [1, 2, 3, 7, 5], [1, 2, 3, 7, 5]):
            batch.add(prompt, GenerationConfig(max_new_tokens=1, ignore_eos=True), seed=0)
            list(batch.run())
        assert read == [[1, 2, 3, 4], second, second[-1:] if keeps_rows else second]


def count_copies(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The rows that are copied from now on, as (source, target)."""
    copies: list[tuple[int, int]] = []
    kind: Any = type(engine.new_cache(1))
    copy_row = kind.copy_row

    def counted(cache: object, source: int, target: int) -> None:
        copies.append((source, target))
        copy_row(cache, source, target)

    monkeypatch.setattr(kind, "copy_row", counted)
    return copies


@every_engine
def test_rows_that_leave_or_join_copy_no_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = count_copies(engine, monkeypatch)
    batch = DecodingBatch(engine, None)
    for row in range(12):
        batch.add([row, 1], GenerationConfig(max_new_tokens=1 + row % 3), seed=row)
    batch.step()
    batch.cancel(11)
    batch.step()
    late = batch.add([5, 6], GenerationConfig(max_new_tokens=2), seed=0)
    assert [row for row, _ in batch.step()] == [2, 5, 8, late]
    list(batch.run())
    assert copies == []


def test_the_pytorch_engine_never_moves_keys_and_values() -> None:
    engine = ENGINES["pytorch"]
    batch = DecodingBatch(engine, None)
    for row in range(12):
        batch.add([row, 1], GenerationConfig(max_new_tokens=1 + row % 3), seed=row)
    cache: Any = batch._cache
    batch.step()
    held = [group.k.data_ptr() for group in cache.groups]
    list(batch.run())
    batch.add([1], GenerationConfig(max_new_tokens=1), seed=0)
    list(batch.run())
    assert [group.k.data_ptr() for group in cache.groups] == held


def test_a_new_row_takes_the_place_of_one_that_left() -> None:
    batch = DecodingBatch(ENGINE, None)
    for row in range(20):
        batch.add([row], GenerationConfig(max_new_tokens=2), seed=row)
        batch.step()
    assert len(batch._cache.lengths) == 2


def test_samples_read_their_prompt_once_and_are_copied_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = count_copies(ENGINE, monkeypatch)
    read: list[int] = []
    forward: Callable[..., FloatArray] = ENGINE.forward

    def counted(sequences: list[list[int]], *args: object, **more: object) -> FloatArray:
        read.append(sum(map(len, sequences)))
        return forward(sequences, *args, **more)

    monkeypatch.setattr(ENGINE, "forward", counted)
    write([[1, 2, 3, 4, 5], [6]], [1, 2, 3, 4], max_new_tokens=2, ignore_eos=True)
    assert read == [6, 4]
    assert len(copies) == 2


def test_an_unknown_row_cannot_be_cancelled() -> None:
    batch = DecodingBatch(ENGINE, None)
    row = batch.add([1], GenerationConfig(max_new_tokens=1), seed=0)
    assert batch.step()[0][1].finish_reason == "length"
    for gone in (row, 7):
        with pytest.raises(UsageError, match=f"row {gone} is not in the batch"):
            batch.cancel(gone)
    assert (len(batch), batch.step()) == (0, [])


def test_a_row_can_be_cancelled_before_its_first_step() -> None:
    batch = DecodingBatch(ENGINE, None)
    first = batch.add([1], GenerationConfig(max_new_tokens=1), seed=0)
    batch.cancel(first)
    second = batch.add([2], GenerationConfig(max_new_tokens=1), seed=0)
    assert [row for row, _ in batch.run()] == [second]


def test_a_seed_gives_the_same_text_in_any_batch() -> None:
    prompts = [random_ids(ENGINE.config, length, seed=length) for length in (3, 11, 1, 7)]
    together = write(prompts, [5, 6, 7, 8])
    for i, prompt in enumerate(prompts):
        assert write([prompt], [5 + i]) == [together[i]]


def test_samples_of_one_prompt_equal_separate_runs() -> None:
    together = write([[1, 2], [3]], [10, 11, 12, 13])
    assert together == [write([p], [s])[0] for p, s in (([1, 2], 10), ([1, 2], 11), ([3], 12), ([3], 13))]
    assert len({completion.ids for completion in together}) == 4


def test_greedy_follows_the_largest_logit() -> None:
    ids = [4, 5, 6]
    for token in write([ids], [0], temperature=0)[0].ids:
        assert token == ENGINE.forward([ids])[0].argmax()
        ids = [*ids, token]


def test_logprobs_are_of_the_chosen_and_of_the_most_likely_tokens() -> None:
    completion = write([[9]], [3], logprobs=True, top_logprobs=3)[0]
    ids = [9]
    for token, value, top in zip(completion.ids, completion.logprobs, completion.top_logprobs, strict=True):
        nats = log_softmax(ENGINE.forward([ids])[0].astype(np.float64))
        assert value == pytest.approx(nats[token], abs=1e-4)
        assert [each.id for each in top] == np.argsort(-nats)[:3].tolist()
        assert [each.logprob for each in top] == pytest.approx(np.sort(nats)[::-1][:3].tolist(), abs=1e-4)
        ids.append(token)
    plain = write([[9]], [3])[0]
    assert (plain.logprobs, plain.top_logprobs) == ((), ())
    assert (plain.ids, plain.text) == (completion.ids, completion.text)


def test_length_is_a_finish_reason() -> None:
    completion = text_of(7, seed=1)
    assert (len(completion.ids), completion.finish_reason) == (7, "length")
    assert completion.text == GPT2.decode(completion.ids)


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_the_end_token_ends_a_text_unless_it_is_ignored(ignore_eos: bool) -> None:
    class Ending(ReferenceEngine):
        def forward(self, *args: object, **more: object) -> FloatArray:
            logits = super().forward(*args, **more)  # type: ignore[arg-type]
            logits[:, GPT2.eos] = 1e9
            return logits

    config = GenerationConfig(max_new_tokens=3, ignore_eos=ignore_eos)
    events = generate(Ending(tiny_weights(n_vocab=50257)), GPT2, [[1]], config, [0])
    completion = collect(events, [0], "test")[0]
    if ignore_eos:
        assert (completion.ids, completion.finish_reason) == ((GPT2.eos,) * 3, "length")
    else:
        assert (completion.ids, completion.text, completion.finish_reason) == ((), "", "eos")


def test_several_end_tokens_end_a_text_and_replace_the_tokenizers_own() -> None:
    ids = text_of(12, seed=1).ids
    ended = write([[1, 2, 3]], [1], eos_token_id=[GPT2.eos, ids[5], ids[8]])[0]
    first = min(ids.index(ids[5]), ids.index(ids[8]))
    assert (ended.ids, ended.finish_reason) == (ids[:first], "eos")


@pytest.mark.parametrize("prompt_length", [1, 31, 32])
def test_a_full_context_ends_the_text(prompt_length: int) -> None:
    """One token more than the context holds is written: the last is chosen from a full one."""
    completion = write([random_ids(ENGINE.config, prompt_length)], [0], max_new_tokens=100, ignore_eos=True)[0]
    assert (len(completion.ids), completion.finish_reason) == (33 - prompt_length, "context")


def test_a_shifted_context_continues_from_its_last_half() -> None:
    prompt = random_ids(ENGINE.config, 30)
    completion = write([prompt], [0], max_new_tokens=50, temperature=0, context_shift=True, ignore_eos=True)[0]
    assert (len(completion.ids), completion.finish_reason) == (50, "length")
    ids = [*prompt, *completion.ids]
    assert ids[33] == ENGINE.forward([ids[17:33]])[0].argmax()
    assert ids[34] == ENGINE.forward([ids[17:34]])[0].argmax()


@pytest.mark.slow
def test_rows_that_shift_do_not_disturb_their_neighbours() -> None:
    prompts = [random_ids(ENGINE.config, length) for length in (32, 2, 25)]
    together = write(prompts, [1, 2, 3], max_new_tokens=60, context_shift=True)
    for seed, prompt in enumerate(prompts, 1):
        assert write([prompt], [seed], max_new_tokens=60, context_shift=True) == [together[seed - 1]]


def test_a_prompt_that_is_too_long_is_rejected_or_truncated() -> None:
    prompt = random_ids(ENGINE.config, 40)
    with pytest.raises(UsageError, match="prompt is 40 tokens long, the context holds 32"):
        write([prompt], [0])
    shifted = write([prompt], [0], max_new_tokens=1, context_shift=True)
    assert shifted == write([prompt[-32:]], [0], max_new_tokens=1)
    with pytest.raises(UsageError, match="the prompt is empty"):
        write([[]], [0])


def test_the_repetition_penalty_counts_a_truncated_prompt_whole() -> None:
    kept = random_ids(ENGINE.config, 32)
    penalised = {"max_new_tokens": 1, "temperature": 0, "repetition_penalty": 1000}
    (likeliest,) = write([kept], [0], **penalised)[0].ids
    assert write([[likeliest, *kept]], [0], context_shift=True, **penalised)[0].ids != (likeliest,)


def test_a_stop_string_ends_the_text_before_it() -> None:
    whole = text_of(25, seed=4).text
    stop = whole[20:24]
    completion = write([[1, 2, 3]], [4], max_new_tokens=25, stop=stop, ignore_eos=True)[0]
    assert completion.finish_reason == "stop"
    assert completion.text == whole[: whole.index(stop)]


def test_streamed_chunks_never_show_a_stop_string_or_half_a_character() -> None:
    whole = text_of(25, seed=4).text
    config = GenerationConfig(max_new_tokens=25, stop=whole[20:24], ignore_eos=True)
    shown = ""
    for _, chunk in generate(ENGINE, GPT2, [[1, 2, 3]], config, [4]):
        shown += chunk.text
        assert whole[20:24] not in shown
        assert whole.startswith(shown)
    assert shown == whole[: whole.index(whole[20:24])]


def test_ids_work_without_a_tokenizer() -> None:
    events = generate(ENGINE, None, [[1, 2]], GenerationConfig(max_new_tokens=5), [0])
    completion = collect(events, [0], "test")[0]
    assert (len(completion.ids), completion.text) == (5, "")


def test_the_repetition_penalty_counts_the_tokens_of_the_text() -> None:
    """The prompt's tokens and the new ones: with a large enough penalty none comes twice."""
    ids = write([[1, 2, 3]], [0], max_new_tokens=20, temperature=0, repetition_penalty=1000, ignore_eos=True)[0].ids
    assert len({1, 2, 3, *ids}) == 23


def test_weights_that_give_nan_are_an_error() -> None:
    broken = ReferenceEngine(tiny_weights())
    broken.weights["ln_f.weight"][:] = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        list(generate(broken, None, [[1]], GenerationConfig(max_new_tokens=3), [0]))


def test_padding_ids_of_a_vocabulary_have_no_text_and_count_in_probabilities() -> None:
    """A head of 50,304 rows (a round number, as some trainers like) has 47 that are no token's; as for transformers
    they can be generated, and the log-probabilities are those over all rows.
    """
    padded = ReferenceEngine(tiny_weights(n_vocab=50304, n_ctx=32, n_embd=12))
    padded.weights["wte.weight"][50257:] *= 100
    config = GenerationConfig(max_new_tokens=20, logprobs=True, repetition_penalty=1.1)
    [completion] = collect(generate(padded, GPT2, [[1, 50300]], config, [0]), [0], "test")
    assert max(completion.ids) >= 50257
    assert completion.text == GPT2.decode(token for token in completion.ids if token < 50257)
    logits = padded.forward([[1, 50300]])[0].astype(np.float64)
    expected = logits[completion.ids[0]] - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    assert completion.logprobs[0] == pytest.approx(expected, abs=1e-6)


@every_engine
def test_prefixes_in_a_batch_equal_one_by_one(engine: Engine) -> None:
    greedy = GenerationConfig(max_new_tokens=4, temperature=0, ignore_eos=True)
    prompts = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [9, 8, 7]]
    prefixes = [5, 0, 2]

    def ids_of(prompt: list[int], n_prefix: int) -> tuple[int, ...]:
        return collect(generate(engine, None, [prompt], greedy, [0], [n_prefix]), [0], "test")[0].ids

    together = collect(generate(engine, None, prompts, greedy, [0, 1, 2], prefixes), [0, 1, 2], "test")
    alone = [ids_of(prompt, count) for prompt, count in zip(prompts, prefixes, strict=True)]
    assert [completion.ids for completion in together] == alone
    first = engine.forward([prompts[0]], n_prefix=[5])[0].argmax()
    assert together[0].ids[0] == first


def test_a_prefix_cannot_be_shifted_out() -> None:
    batch = DecodingBatch(ENGINE, GPT2)
    with pytest.raises(UsageError, match="a prefix is read whole and stays"):
        batch.add([1, 2], GenerationConfig(context_shift=True), 1, n_prefix=2)
    with pytest.raises(UsageError, match="n_prefix must be from 0 to 2, not 3"):
        batch.add([1, 2], GenerationConfig(), 1, n_prefix=3)


def test_a_mask_is_asked_before_each_token_with_all_ids() -> None:
    asked: list[list[int]] = []

    def even(ids: Sequence[int]) -> NDArray[np.bool_]:
        asked.append(list(ids))
        allowed: NDArray[np.bool_] = np.arange(ENGINE.config.n_vocab) % 2 == len(ids) % 2
        return allowed

    batch = DecodingBatch(ENGINE, None)
    batch.add([5, 6], GenerationConfig(max_new_tokens=4, top_k=0), seed=1, mask=even)
    free = batch.add([5, 6], GenerationConfig(max_new_tokens=4, top_k=0), seed=1)
    chunks = list(batch.run())
    masked = [token for row, chunk in chunks for token in chunk.ids if row != free]
    assert [token % 2 for token in masked] == [0, 1, 0, 1]
    assert asked == [[5, 6, *masked[:n]] for n in range(4)]
    unmasked = [token for row, chunk in chunks for token in chunk.ids if row == free]
    assert unmasked == [*generate_ids([5, 6], 1, 4)]


def generate_ids(prompt: list[int], seed: int, count: int) -> list[int]:
    chunks = generate(ENGINE, None, [prompt], GenerationConfig(max_new_tokens=count, top_k=0), [seed])
    return [token for _, chunk in chunks for token in chunk.ids]
