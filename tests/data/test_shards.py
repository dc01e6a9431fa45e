"""Token shards."""

from pathlib import Path

import numpy as np
import pytest

from cutaway.data.shards import open_shard, write_shard
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer


def test_a_shard_holds_each_document_after_an_end_of_text(tmp_path: Path) -> None:
    gpt2 = Tokenizer.gpt2()
    count = write_shard(tmp_path / "a.npy", ["A robot", "must obey"], gpt2)
    ids = open_shard(tmp_path / "a.npy").tolist()
    assert ids == [50256, *gpt2.encode("A robot"), 50256, *gpt2.encode("must obey")]
    assert count == len(ids)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_file_that_is_no_shard_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("not numbers")
    np.save(tmp_path / "floats.npy", np.zeros(3))
    for name in ("text.npy", "floats.npy", "missing.npy"):
        with pytest.raises(UsageError, match=name) as caught:
            open_shard(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_shard_of_no_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no documents"):
        write_shard(tmp_path / "none.npy", [], Tokenizer.gpt2())
    assert list(tmp_path.iterdir()) == []
