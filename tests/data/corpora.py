"""Prepared corpora of a few tokens, written by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cutaway.data.manifest import Manifest, ShardEntry, SplitEntry, TokenizerEntry
from cutaway.tokenizer.fast import Tokenizer

Document = Sequence[int]


def write_corpus(
    directory: Path, splits: Mapping[str, Sequence[Sequence[Document]]], *, dtype: str = "uint16", masked: bool = False
) -> Path:
    """Write documents, given by split and shard, with GPT-2's tokenizer; in a masked corpus odd ids are learned."""
    gpt2 = Tokenizer.gpt2()
    gpt2.save(directory / "tokenizer")
    entries = {}
    for name, shards in splits.items():
        listed = []
        for number, documents in enumerate(shards):
            stem = directory / f"{name}-{number:05d}"
            ids = np.concatenate([np.array(document, dtype) for document in documents])
            lengths = [len(document) for document in documents]
            np.save(f"{stem}.tokens.npy", ids)
            np.save(f"{stem}.documents.npy", np.cumsum([0, *lengths[:-1]], dtype=np.int64))
            if masked:
                np.save(f"{stem}.learned.npy", ids % 2 == 1)
            listed.append(ShardEntry(f"{stem.name}.tokens.npy", len(ids), len(documents), ""))
        tokens = sum(shard.tokens for shard in listed)
        entries[name] = SplitEntry(tokens, sum(shard.documents for shard in listed), 5 * tokens, tokens, tuple(listed))
    tokenizer = TokenizerEntry("gpt2", gpt2.n_vocab, gpt2.bos, gpt2.eos, "")
    Manifest(tokenizer, dtype, entries, (), 0, masked).write(directory)
    return directory
