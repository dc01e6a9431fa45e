"""Batches of a mixture: addressed, complete in every epoch, cut anew."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cutaway.data.mixture import Mixture, Part
from cutaway.errors import UsageError


def shard(path: Path, documents: list[list[int]]) -> Path:
    np.save(path, np.array([token for document in documents for token in [0, *document]], np.uint16))
    return path


@pytest.fixture
def part(tmp_path: Path) -> Part:
    documents = [list(range(100 * i, 100 * i + 7 + i)) for i in range(1, 9)]
    return Part([shard(tmp_path / "a.npy", documents[:5]), shard(tmp_path / "b.npy", documents[5:])], 0, 0)


def test_a_window_is_a_function_of_seed_length_and_number(part: Part) -> None:
    first = [part.window(1, 8, k).tolist() for k in range(40)]
    again = [part.window(1, 8, k).tolist() for k in reversed(range(40))][::-1]
    assert first == again
    assert first != [part.window(2, 8, k).tolist() for k in range(40)]
    assert len({len(window) for window in first}) == 1


def test_an_epoch_reads_every_window_once(part: Part) -> None:
    count = part.windows_per_epoch(8)
    tokens = Counter(token for k in range(count) for token in part.window(3, 8, k)[:-1].tolist() if token)
    assert max(tokens.values()) == 1
    assert len(tokens) >= len(part.ids) - len(part.begins) - 3 * 8


def test_epochs_are_shuffled_and_cut_anew(part: Part) -> None:
    count = part.windows_per_epoch(8)
    epochs = [[part.window(3, 8, epoch * count + k).tolist() for k in range(count)] for epoch in range(3)]
    assert len({str(sorted(epoch)) for epoch in epochs}) == 3


def test_every_epoch_starts_at_another_offset(part: Part) -> None:
    offsets = [int(part._shuffled(3, 8, epoch)[1].min()) for epoch in range(12)]
    assert len(set(offsets)) > 3
    assert all(0 <= offset < 8 for offset in offsets)


def test_parts_of_the_same_documents_are_shuffled_differently(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.npy", [list(range(100 * i, 100 * i + 9)) for i in range(1, 9)])
    first, second = (Part([path], number, 0) for number in (0, 1))
    assert [first.window(1, 8, k).tolist() for k in range(8)] != [second.window(1, 8, k).tolist() for k in range(8)]


def test_documents_stay_whole(part: Part) -> None:
    stream, _ = part._shuffled(5, 8, 0)
    begins = np.flatnonzero(stream == 0)
    found = sorted(tuple(chunk.tolist()) for chunk in np.split(stream, begins[1:]))
    assert found == sorted(tuple(c.tolist()) for c in np.split(part.ids, part.begins[1:]))


def test_a_batch_has_its_rows_from_each_part(tmp_path: Path) -> None:
    parts = {
        name: Part([shard(tmp_path / f"{name}.npy", [[token] * 9] * 6)], number, 0)
        for number, (name, token) in enumerate({"stories": 7, "books": 8}.items())
    }
    ids, targets = Mixture(parts, {"stories": 3, "books": 1}).batch(1, 2, 4)
    assert ids.shape == targets.shape == (4, 4)
    assert [max(row) for row in ids.tolist()] == [7, 7, 7, 8]
    np.testing.assert_array_equal(ids[:, 1:], targets[:, :-1])
    assert Mixture(parts, {"stories": 3, "books": 1}).counts(10).tolist() == [24, 0, 0, 0, 0, 0, 0, 162, 54, 0]


def test_a_shard_that_begins_inside_a_document_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([5, 0, 5], np.uint16))
    with pytest.raises(UsageError, match="the first document must begin with token 0"):
        Part([tmp_path / "x.npy"], 0, 0)
