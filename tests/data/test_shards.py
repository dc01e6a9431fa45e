"""Token shards and the batches drawn from them."""

from pathlib import Path

import numpy as np
import pytest

from cutaway.data.shards import Corpus, open_shard, write_shard
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer


def numbered(path: Path, first: int, count: int) -> Path:
    np.save(path, np.arange(first, first + count, dtype=np.uint16))
    return path


def test_a_shard_holds_each_document_after_an_end_of_text(tmp_path: Path) -> None:
    gpt2 = Tokenizer.gpt2()
    count = write_shard(tmp_path / "a.npy", ["A robot", "must obey"], gpt2)
    ids = open_shard(tmp_path / "a.npy").tolist()
    assert ids == [50256, *gpt2.encode("A robot"), 50256, *gpt2.encode("must obey")]
    assert count == len(ids)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_batch_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    corpus = Corpus([numbered(tmp_path / "a.npy", 0, 100)])
    first, again, other = (corpus.batch(1, step, 4, 8) for step in (5, 5, 6))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


def test_targets_are_the_inputs_moved_by_one_and_windows_stay_in_one_shard(tmp_path: Path) -> None:
    corpus = Corpus([numbered(tmp_path / "a.npy", 0, 40), numbered(tmp_path / "b.npy", 1000, 60)])
    assert len(corpus) == 100
    ids, targets = corpus.batch(0, 0, 200, 16)
    np.testing.assert_array_equal(ids + 1, targets)  # the shards count upwards
    assert {int(row[0]) // 1000 for row in ids} == {0, 1}


def test_a_file_that_is_no_shard_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("not numbers")
    np.save(tmp_path / "floats.npy", np.zeros(3))
    for name in ("text.npy", "floats.npy", "missing.npy"):
        with pytest.raises(UsageError, match=name) as caught:
            open_shard(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_shard_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    corpus = Corpus([numbered(tmp_path / "a.npy", 0, 1000), numbered(tmp_path / "b.npy", 0, 8)])
    assert corpus.batch(0, 0, 1, 7)
    with pytest.raises(UsageError, match="a shard of 8 tokens is shorter than one window of 9"):
        corpus.batch(0, 0, 1, 8)
    with pytest.raises(UsageError, match="no documents"):
        write_shard(tmp_path / "none.npy", [], Tokenizer.gpt2())
