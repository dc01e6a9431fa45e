"""Batches: addressed, complete in every epoch, cut anew."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.data.batches import Batch, LengthBuckets, Rows, Windows, allot, evaluation_windows, padded_batches
from cutaway.data.dataset import Joined, Split
from cutaway.errors import UsageError


@dataclass(frozen=True)
class Example:
    ids: list[int]
    learned: list[bool]
    n_prefix: int = 0


def numbered(lengths: list[int], shards: int = 1) -> Split:
    """A split in which every token but the start tokens is another: 1, 2, 3, ..."""
    documents = [[0] * length for length in lengths]
    token = 0
    for document in documents:
        for place in range(1, len(document)):
            token += 1
            document[place] = token
    split = Split.from_documents(documents)
    ids = split.ids[:]
    return Split("train", Joined(np.array_split(ids, shards)), split.begins, None, 0)


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=12).filter(lambda lengths: sum(lengths) > 24)


def as_lists(batch: Batch) -> tuple[object, object, object]:
    learned = None if batch.learned is None else batch.learned.tolist()
    return batch.inputs.tolist(), batch.targets.tolist(), learned


@settings(max_examples=50)
@given(lengths=LENGTHS, shards=st.integers(1, 4), n_ctx=st.integers(1, 8), seed=st.integers(0, 9))
def test_an_epoch_reads_every_token_once_except_the_cut_ends(
    lengths: list[int], shards: int, n_ctx: int, seed: int
) -> None:
    split = numbered(lengths, shards)
    windows = Windows([split], [1], seed)
    count = (split.n_tokens - n_ctx - 1) // n_ctx
    rows = [windows.batch(k, 1, n_ctx).targets[0].tolist() for k in range(count)]
    seen = Counter(token for row in rows for token in row if token)
    assert not seen or max(seen.values()) == 1
    assert sum(map(len, rows)) == count * n_ctx > split.n_tokens - 2 * n_ctx - 1


@settings(max_examples=50)
@given(lengths=LENGTHS, shards=st.integers(1, 4), k=st.integers(0, 50), n_rows=st.integers(1, 4))
def test_a_batch_is_a_function_of_seed_and_number(lengths: list[int], shards: int, k: int, n_rows: int) -> None:
    fresh = as_lists(Windows([numbered(lengths)], [1], 3).batch(k, n_rows, 5))
    used = Windows([numbered(lengths, shards)], [1], 3)
    for other in (k + 3, 0, k):
        batch = used.batch(other, n_rows, 5)
    assert as_lists(batch) == fresh


def test_windows_are_those_of_shuffled_documents_joined_and_cut() -> None:
    """The definition, written out with all of an epoch in memory."""
    split = numbered([5, 9, 3, 12, 7, 6])
    ids = split.ids[:]
    for epoch in range(3):
        rng = np.random.default_rng([11, 0, 8, epoch])
        order = rng.permutation(6)
        stream = np.concatenate([ids[split.document(int(i))] for i in order])
        count = (len(ids) - 9) // 8
        starts = rng.integers(0, 8) + 8 * rng.permutation(count)
        windows = Windows([split], [1.0], 11)
        for index, start in enumerate(starts):
            batch = windows.batch(epoch * count + index, 1, 8)
            assert batch.inputs[0].tolist() == stream[start : start + 8].tolist()
            assert batch.targets[0].tolist() == stream[start + 1 : start + 9].tolist()


def test_epochs_and_seeds_differ() -> None:
    split = numbered([10] * 20)
    count = (200 - 9) // 8
    orders = {str(Windows([split], [1], seed).batch(0, count, 8).inputs.tolist()) for seed in range(3)}
    assert len(orders) == 3
    epochs = [Windows([split], [1], 1).batch(k, count, 8).inputs for k in range(6)]
    assert len({str(sorted(epoch.tolist())) for epoch in epochs}) == 6


def test_no_two_batches_of_an_epoch_share_a_row() -> None:
    split = numbered([10] * 20)
    windows = Windows([split, split], [3, 1], 1)
    first = [windows.batch(k, 4, 8).targets[:3] for k in range(7)]  # 21 of the 23 windows of an epoch
    seen = [token for rows in first for token in rows.flatten().tolist() if token]
    assert len(seen) == len(set(seen)) > 7 * 3 * 6


def test_equal_splits_are_shuffled_differently() -> None:
    split = numbered([10] * 20)
    batch = Windows([split, split], [1, 1], 1).batch(0, 8, 8)
    assert batch.inputs[:4].tolist() != batch.inputs[4:].tolist()


def test_rows_are_allotted_by_weight_and_read_on() -> None:
    splits = [Split.from_documents([[token] * 40]) for token in (7, 8)]
    windows = Windows(splits, [15, 5], 1)
    assert windows.tokens_per_epoch == 80
    for k in range(9):
        assert windows.batch(k, 4, 4).inputs[:, 0].tolist() == [7, 7, 7, 8]


@given(weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=6), extra=st.integers(0, 500))
def test_allotted_rows_are_within_one_of_the_share(weights: list[float], extra: int) -> None:
    n_rows = 600 + extra
    rows = allot(weights, n_rows)
    assert sum(rows) == n_rows
    assert all(abs(row - weight / sum(weights) * n_rows) < 1 for row, weight in zip(rows, weights, strict=True))


def test_masks_follow_the_tokens() -> None:
    documents = [[0, 1, 2, 3, 4, 5], [0, 6, 7, 8, 9, 10]]
    masked = Split.from_documents(documents, learned=[[token % 2 == 0 for token in part] for part in documents])
    batch = Windows([masked, numbered([20])], [1, 1], 1).batch(0, 2, 4)
    assert batch.learned is not None
    assert batch.learned[0].tolist() == [token % 2 == 0 for token in batch.targets[0]]
    assert batch.learned[1].all()
    assert Windows([numbered([20])], [1], 1).batch(0, 2, 4).learned is None


@pytest.mark.parametrize(
    ("weights", "n_rows", "n_ctx", "part"),
    [
        ([1], 1, 4, "2 datasets, 1 weights"),
        ([1, 0], 1, 4, "weights must be positive, not 1, 0"),
        ([1, float("nan")], 1, 4, "weights must be positive"),
        ([1, 100], 4, 4, "the weight 1 gives no row of a batch of 4"),
        ([1, 1], 4, 99, "train: 40 tokens are too few for windows of 99; 199 are needed"),
        ([1, 1], 0, 4, "n_rows must be at least 1"),
        ([1, 1], 2, 0, "n_ctx must be at least 1"),
    ],
)
def test_invalid_mixtures_are_refused(weights: list[float], n_rows: int, n_ctx: int, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        Windows([numbered([20, 20])] * 2, weights, 1).batch(0, n_rows, n_ctx)


def test_no_dataset_is_refused() -> None:
    with pytest.raises(UsageError, match="each dataset needs one weight: 0 datasets"):
        Windows([], [], 1)


def test_a_split_of_one_token_less_than_a_window_needs_is_refused() -> None:
    split = numbered([21, 20])
    assert Windows([split], [1.0], 1).batch(0, 1, 20).inputs.shape == (1, 20)
    with pytest.raises(UsageError, match="41 tokens are too few for windows of 21; 43 are needed"):
        Windows([split], [1.0], 1).batch(0, 1, 21)
    with pytest.raises(UsageError, match="40 tokens are too few for windows of 20; 41 are needed"):
        Windows([numbered([20, 20])], [1.0], 1).batch(0, 1, 20)


EXAMPLES = [Example(list(range(10 * i, 10 * i + i)), [False] + [True] * (i - 1)) for i in range(2, 7)]


def test_rows_are_padded_to_the_longest_and_never_learned_there() -> None:
    batch = Rows(EXAMPLES, 1, pad=99).batch(0, 5, 8)
    assert batch.inputs.shape == batch.targets.shape == (5, 5)
    assert batch.learned is not None
    for row in range(5):
        length = int(batch.inputs[row, 0]) // 10
        ids = [int(batch.inputs[row, 0]), *batch.targets[row].tolist()]
        assert ids == [*range(10 * length, 11 * length), *[99] * (6 - length)]
        assert batch.learned[row].tolist() == [True] * (length - 1) + [False] * (6 - length)


@given(k=st.integers(0, 40), n_rows=st.integers(1, 7))
def test_a_batch_of_examples_is_a_function_of_seed_and_number(k: int, n_rows: int) -> None:
    expected = as_lists(Rows(EXAMPLES, 2, pad=0).batch(k, n_rows, 8))
    for before in ((k + 1, n_rows), (k, n_rows + 1)):
        used = Rows(EXAMPLES, 2, pad=0)
        used.batch(*before, 8)
        assert as_lists(used.batch(k, n_rows, 8)) == expected


def test_an_epoch_has_every_example_once_in_another_order() -> None:
    source = Rows(EXAMPLES, 1, pad=0)
    assert source.tokens_per_epoch == 2 + 3 + 4 + 5 + 6
    epochs = [[int(source.batch(5 * e + k, 1, 8).inputs[0, 0]) for k in range(5)] for e in range(4)]
    assert all(sorted(epoch) == [20, 30, 40, 50, 60] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


@given(n_examples=st.integers(1, 40), n_rows=st.integers(1, 9), epochs=st.integers(1, 4))
def test_every_epoch_has_each_example_once_whatever_the_batch(n_examples: int, n_rows: int, epochs: int) -> None:
    source = Rows([Example([i, 0], [False, True]) for i in range(n_examples)], 3, pad=0)
    n_batches = -(-epochs * n_examples // n_rows)
    seen = np.concatenate([source.batch(k, n_rows, 8).inputs[:, 0] for k in range(n_batches)])
    for epoch in range(epochs):
        assert sorted(seen[epoch * n_examples : (epoch + 1) * n_examples].tolist()) == list(range(n_examples))


@pytest.mark.parametrize("n_rows", [4, 7])
def test_examples_of_a_batch_are_of_like_length_in_every_epoch(n_rows: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 300, 1000)
    examples = [Example([0] * n, [False] + [True] * (n - 1)) for n in lengths]
    source = Rows(examples, 1, pad=0)
    batches = [source.batch(k, n_rows, 300) for k in range(3 * 1000 // n_rows)]
    read = sum(batch.inputs.size for batch in batches)
    learned = sum(int(batch.learned.sum()) for batch in batches if batch.learned is not None)
    assert read < 1.1 * learned
    widths = np.array([batch.inputs.shape[1] for batch in batches])
    assert abs(np.corrcoef(widths[1:], widths[:-1])[0, 1]) < 0.2  # no order of lengths among the batches


def test_examples_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="from 2 to 5 tokens, not 6"):
        Rows(EXAMPLES, 1, pad=0).batch(0, 5, 4)
    with pytest.raises(UsageError, match="from 2 to 9 tokens, not 1"):
        Rows([Example([1], [False])], 1, pad=0).batch(0, 1, 8)
    with pytest.raises(UsageError, match="no examples"):
        Rows([], 1, pad=0)


@given(length=st.integers(2, 100), n_ctx=st.integers(1, 20), n_tokens=st.integers(1, 150))
def test_evaluation_windows_do_not_overlap_and_cover_what_is_asked(length: int, n_ctx: int, n_tokens: int) -> None:
    batches = evaluation_windows(numbered([length]), n_ctx, n_tokens)
    targets = [token for batch in batches for row in batch.targets.tolist() for token in row]
    assert len(targets) == len(set(targets))
    assert sorted(targets) == targets
    there = (length - 1) // min(n_ctx, length - 1)
    assert len(targets) == max(1, min(there, n_tokens // min(n_ctx, length - 1))) * min(n_ctx, length - 1)


def test_evaluation_windows_are_spread_over_the_split() -> None:
    [batch] = evaluation_windows(numbered([401]), 10, 40)
    assert batch.inputs[:, 0].tolist() == [0, 100, 200, 300]


def test_evaluation_windows_keep_the_mask() -> None:
    split = Split.from_documents([[1, 2, 3, 4, 5]], learned=[[False, True, False, True, True]])
    [batch] = evaluation_windows(split, 2, 100)
    assert batch.learned is not None
    assert batch.learned.tolist() == [[True, False], [True, True]]


def test_a_split_of_one_token_cannot_be_evaluated() -> None:
    with pytest.raises(UsageError, match="too few to evaluate"):
        evaluation_windows(numbered([1]), 2, 4)


def bucketed(lengths: list[int], seed: int = 1) -> LengthBuckets:
    """Examples of these lengths, each with tokens of its own number."""
    examples = [Example([i] * n, [False] + [True] * (n - 1)) for i, n in enumerate(lengths)]
    return LengthBuckets(examples, seed, pad=99)


@given(lengths=st.lists(st.integers(2, 9), min_size=1, max_size=40), n_rows=st.integers(1, 4), seed=st.integers(0, 5))
def test_buckets_have_every_example_once_an_epoch_and_keep_to_their_tokens(
    lengths: list[int], n_rows: int, seed: int
) -> None:
    source = bucketed(lengths, seed)
    count = source.batches_per_epoch(n_rows * 8)
    assert source.tokens_per_epoch == sum(lengths)
    for epoch in range(2):
        batches = [source.batch(epoch * count + k, n_rows, 8) for k in range(count)]
        assert all(batch.inputs.size <= n_rows * 8 for batch in batches)
        assert sorted(int(row[0]) for batch in batches for row in batch.inputs) == list(range(len(lengths)))
    fresh = bucketed(lengths, seed)
    assert as_lists(fresh.batch(count, n_rows, 8)) == as_lists(source.batch(count, n_rows, 8))


def test_buckets_of_another_size_are_those_of_a_fresh_source() -> None:
    source = bucketed([5, 3, 5, 4, 5, 3, 9, 2] * 5)
    for n_rows in (4, 2, 3, 2):
        assert as_lists(source.batch(1, n_rows, 8)) == as_lists(
            bucketed([5, 3, 5, 4, 5, 3, 9, 2] * 5).batch(1, n_rows, 8)
        )


def test_buckets_come_in_no_order_of_length() -> None:
    source = bucketed([*range(2, 10)] * 8)
    widths = [source.batch(k, 2, 8).inputs.shape[1] for k in range(source.batches_per_epoch(16))]
    assert widths != sorted(widths)


@pytest.mark.parametrize("length", [1, 10])
def test_an_example_that_fits_no_bucket_is_refused(length: int) -> None:
    with pytest.raises(UsageError, match="an example must have from 2 to 9 tokens"):
        bucketed([5, length]).batch(0, 2, 8)


def test_examples_of_one_length_meet_others_in_another_epoch() -> None:
    source = bucketed([5] * 30)
    count = source.batches_per_epoch(32)
    met = [{frozenset(source.batch(epoch * count + k, 4, 8).inputs[:, 0]) for k in range(count)} for epoch in range(2)]
    assert not met[0] & met[1]


def test_buckets_of_another_epoch_are_others() -> None:
    source = bucketed([5] * 30)
    count = source.batches_per_epoch(32)
    epochs = [[as_lists(source.batch(epoch * count + k, 4, 8)) for k in range(count)] for epoch in range(2)]
    assert epochs[0] != epochs[1]


def test_prefixes_are_of_the_batch_and_of_its_rows() -> None:
    examples = [Example([1, 2, 3], [False, False, True], n_prefix=n) for n in (2, 1)]
    [batch] = padded_batches(examples, 10)
    assert batch.n_prefix is not None
    assert batch.n_prefix.tolist() == [2, 1]
    last = batch.rows(1, 2).n_prefix
    assert last is not None
    assert last.tolist() == [1]
    [causal] = padded_batches([Example([1, 2], [False, True])], 10)
    assert causal.n_prefix is None


@pytest.mark.parametrize(("n_tokens", "count"), [(0, 1), (1, 1), (2, 1), (3, 2), (5, 2), (6, 3), (99, 5)])
def test_evaluation_reads_so_many_learned_tokens_of_the_first_examples(n_tokens: int, count: int) -> None:
    batches = padded_batches(EXAMPLES, n_tokens)  # with 1, 2, 3, 4 and 5 learned tokens
    assert sorted(int(row[0]) for batch in batches for row in batch.inputs) == [20, 30, 40, 50, 60][:count]


def test_too_long_an_example_for_the_context_is_refused() -> None:
    with pytest.raises(UsageError, match="from 2 to 5 tokens, not 9"):
        bucketed([3, 9]).batch(0, 2, 4)
