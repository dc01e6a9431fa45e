"""Opening prepared corpora."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.data.batches import Windows, evaluation_windows
from cutaway.data.dataset import Joined, Split, open_dataset, shard_files
from cutaway.data.manifest import ShardEntry
from cutaway.errors import CutawayError, UsageError
from tests.data.corpora import write_corpus

DOCUMENTS = [[50256, 1, 2, 3], [50256, 4], [50256, 5, 6]]


@given(parts=st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=6), data=st.data())
def test_joined_arrays_are_sliced_like_one(parts: list[list[int]], data: st.DataObject) -> None:
    joined = Joined([np.array(part, np.int64) for part in parts])
    flat = [value for part in parts for value in part]
    bounds = st.none() | st.integers(-len(flat) - 2, len(flat) + 2)
    piece = slice(data.draw(bounds), data.draw(bounds))
    assert joined[piece].tolist() == flat[piece]
    assert np.asarray(joined).tolist() == flat
    assert len(joined) == len(flat)


def test_a_step_is_refused() -> None:
    with pytest.raises(UsageError, match="step"):
        Joined([np.arange(5)])[::2]


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_a_split_joins_its_shards(tmp_path: Path, dtype: str) -> None:
    dataset = open_dataset(write_corpus(tmp_path, {"train": [DOCUMENTS[:2], DOCUMENTS[2:]]}, dtype=dtype))
    split = dataset.split("train")
    assert np.asarray(split.ids).tolist() == [token for document in DOCUMENTS for token in document]
    assert split.ids.dtype == dtype
    assert split.begins.tolist() == [0, 4, 6]
    assert [split.ids[split.document(i)].tolist() for i in range(3)] == DOCUMENTS
    assert (split.n_tokens, split.n_documents, split.n_bytes, split.learned) == (9, 3, 45, None)
    assert dataset.codec.eos == 50256


def test_documents_of_every_shard_begin_after_those_before(tmp_path: Path) -> None:
    dataset = open_dataset(write_corpus(tmp_path, {"train": [[document] for document in DOCUMENTS]}))
    assert dataset.split("train").begins.tolist() == [0, 4, 6]


def test_a_corpus_in_the_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_corpus(tmp_path, {"train": [DOCUMENTS]})
    assert open_dataset("~").directory == tmp_path


def test_the_files_of_a_masked_shard_are_hashed_in_the_order_of_corpora_that_there_are() -> None:
    shard = ShardEntry("train-00000.tokens.npy", tokens=5, documents=1, sha256="")
    names = [path.name.split(".")[1] for path in shard_files(Path("corpus"), shard, masked=True)]
    assert names == ["tokens", "documents", "learned"]


def test_shards_are_memory_mapped(tmp_path: Path) -> None:
    split = open_dataset(write_corpus(tmp_path, {"train": [DOCUMENTS]})).split("train")
    assert isinstance(split.ids[1:3].base, np.memmap)


def test_a_masked_corpus_says_which_targets_are_learned(tmp_path: Path) -> None:
    split = open_dataset(write_corpus(tmp_path, {"train": [DOCUMENTS[:1], DOCUMENTS[1:]]}, masked=True)).split("train")
    assert split.learned is not None
    assert np.asarray(split.learned).tolist() == [token % 2 == 1 for document in DOCUMENTS for token in document]


def test_tokens_are_counted() -> None:
    split = Split.from_documents(DOCUMENTS)
    assert split.token_counts(50257)[[1, 50256]].tolist() == [1, 3]
    assert split.token_counts(50257, most=4).sum() == 4
    assert split.token_counts(50257, most=99).sum() == 9


def test_more_tokens_are_counted_than_are_read_at_a_time() -> None:
    n_tokens = (1 << 22) + 5
    split = Split.from_documents([np.arange(n_tokens, dtype=np.uint32) % 3])  # type: ignore[list-item]
    assert split.token_counts(4).tolist() == [1398103, 1398103, 1398103, 0]


def test_documents_in_memory_make_a_split() -> None:
    learned = [[token > 2 for token in document] for document in DOCUMENTS]
    split = Split.from_documents(DOCUMENTS, name="valid", learned=learned)
    assert split.learned is not None
    assert [split.learned[split.document(i)].tolist() for i in range(3)] == learned


def refusal(directory: Path, split: str = "train") -> str:
    """The one line with which a corpus, or a split of it, is refused."""
    with pytest.raises(CutawayError) as caught:
        open_dataset(directory).split(split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_corpus_or_split_is_refused(tmp_path: Path) -> None:
    assert "not a prepared corpus" in refusal(tmp_path)
    write_corpus(tmp_path, {"train": [DOCUMENTS], "valid": []})
    assert "no split 'test', only train, valid" in refusal(tmp_path, "test")
    assert "the split valid has no documents" in refusal(tmp_path, "valid")


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("format", "other/1", "format must be 'cutaway-tokens/1'"),
        ("dtype", "int8", "dtype must be uint16 or uint32"),
        ("splits", {"valid": {}}, "splits must be train and perhaps valid"),
        ("splits", {"train": 1}, "train must be a JSON object"),
        ("splits", {"train": {"shards": 1}}, "shards must be a JSON list"),
        ("sources", [1], "an entry of sources must be a JSON object"),
        ("masked", None, "masked must be true or false, not None"),
        ("masked", 1, "masked must be true or false, not 1"),
        ("has_conversations", 1, "has_conversations must be true or false, not 1"),
        ("control_literals", -1, "control_literals must be at least 0"),
        ("tokenizer", {"name": 1}, "name must be text"),
        ("tokenizer", {"name": "x", "n_vocab": 5, "sha256": ""}, "has 50257 tokens, the manifest says 5"),
    ],
)
def test_an_invalid_manifest_is_refused(tmp_path: Path, key: str, value: object, part: str) -> None:
    path = write_corpus(tmp_path, {"train": [DOCUMENTS]}) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert part in refusal(tmp_path)


def test_a_manifest_from_before_conversations_were_recorded_has_none(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, {"train": [DOCUMENTS]}) / "manifest.json"
    document = json.loads(path.read_text())
    del document["has_conversations"]
    path.write_text(json.dumps(document))
    assert not open_dataset(tmp_path).manifest.has_conversations


@pytest.mark.parametrize("name", ["../train-00000.tokens.npy", "train.npy", "/etc/passwd"])
def test_a_shard_outside_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    path = write_corpus(tmp_path, {"train": [DOCUMENTS]}) / "manifest.json"
    path.write_text(path.read_text().replace("train-00000.tokens.npy", name))
    assert "a shard must be a file NAME.tokens.npy" in refusal(tmp_path)


def test_counts_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, {"train": [DOCUMENTS]}) / "manifest.json"
    path.write_text(path.read_text().replace('"documents": 3', '"documents": 4', 1))
    assert "must be those of its shards" in refusal(tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    write_corpus(tmp_path, {"train": [DOCUMENTS]})
    path = tmp_path / "train-00000.tokens.npy"
    np.save(path, np.zeros(9))
    assert "must hold 9 of uint16, not float64 of shape (9,)" in refusal(tmp_path)
    gigabytes = b"\x93NUMPY\x03\x00" + (1 << 30).to_bytes(4, "little")  # of a header, in a later format
    for data in (b"", b"text", path.read_bytes()[:100], gigabytes):
        path.write_bytes(data)
        assert "train-00000.tokens.npy: missing or damaged" in refusal(tmp_path)
    path.unlink()
    assert "train-00000.tokens.npy: missing or damaged (No such file or directory); prepare" in refusal(tmp_path)


@pytest.mark.parametrize("descr", ["'<u2'", "'<,2'", "'<u2", "((((("])
@pytest.mark.parametrize("shape", ["(8,)", "(True,)", "(3, 3)", f"({1 << 70},)", "(9,"])
def test_a_header_of_anything_else_is_refused(tmp_path: Path, descr: str, shape: str) -> None:
    write_corpus(tmp_path, {"train": [DOCUMENTS]})
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(18)
    (tmp_path / "train-00000.tokens.npy").write_bytes(data)
    assert re.search(r"train-00000\.tokens\.npy: (missing or damaged|must hold 9 of uint16)", refusal(tmp_path))


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    """Its header may be as long as the file, and NumPy would read it before anything else."""
    write_corpus(tmp_path, {"train": [DOCUMENTS]})
    path = tmp_path / "train-00000.tokens.npy"
    ids = np.load(path)
    with path.open("wb") as file:
        np.lib.format.write_array(file, ids, version=(2, 0))
    assert "format 1.0" in refusal(tmp_path)


def test_an_id_that_is_no_tokens_is_refused_with_the_corpus(tmp_path: Path) -> None:
    write_corpus(tmp_path, {"train": [DOCUMENTS]})
    np.save(tmp_path / "train-00000.tokens.npy", np.array([50256, 1, 2, 3, 50256, 4, 50256, 5, 50257], np.uint16))
    split = open_dataset(tmp_path).split("train")
    for read in (
        lambda: Windows([split], [1.0], 1).batch(0, 3, 2),
        lambda: evaluation_windows(split, 4, 99),
        lambda: split.token_counts(50257),
    ):
        with pytest.raises(UsageError, match=rf"^{tmp_path}: train has the token 50257 of a vocabulary of 50257: a sh"):
            read()
    assert split.read([slice(0, 8)]).tolist() == [50256, 1, 2, 3, 50256, 4, 50256, 5]


@pytest.mark.parametrize("offsets", [[1, 4, 6], [0, 6, 4], [0, 4, 4], [0, 4, 9]])
def test_offsets_that_do_not_rise_are_refused(tmp_path: Path, offsets: list[int]) -> None:
    write_corpus(tmp_path, {"train": [DOCUMENTS]})
    np.save(tmp_path / "train-00000.documents.npy", np.array(offsets, np.int64))
    assert "rising offsets" in refusal(tmp_path)


def test_a_shard_without_documents_is_refused(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, {"train": [DOCUMENTS]}) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"documents": 3', '"documents": 0'))
    np.save(tmp_path / "train-00000.documents.npy", np.array([], np.int64))
    assert "rising offsets" in refusal(tmp_path)
