"""Compare a music model with n-gram baselines on held-out pieces, in nats per token.

python -m recipes.music.evaluate --model recipes/out/piano/run/model --data recipes/out/piano/shards --copies 8

A piece is scored from its first token on, after the END before it, in the overlapping windows of `cutaway eval`. The
baselines are n-grams of the first version of each training piece, scored in the same way.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import cutaway
from cutaway.cli.arguments import write_json
from cutaway.data.dataset import Split, open_dataset
from cutaway.errors import UsageError
from cutaway.model import Model
from cutaway.music import satb16
from cutaway.music.codecs import MusicCodec, music_codec
from cutaway.music.grammar import grammar_of
from cutaway.music.ngram import NGram, voice_loss
from cutaway.numerics import softmax

ORDERS = {"unigram": 1, "bigram": 2, "trigram": 3}


def documents(split: Split, step: int = 1) -> list[list[int]]:
    """Return every `step`-th document of a split, each beginning with END."""
    return [split.ids[split.document(index)].tolist() for index in range(0, split.n_documents, step)]


def floors(train: Sequence[Sequence[int]], valid: Sequence[Sequence[int]], codec: MusicCodec) -> dict[str, float]:
    """Return the nats per token of n-grams; for chorales, of n-grams of each voice separately."""
    if codec.name == satb16.NAME:
        parts = ([ids[1:] for ids in part] for part in (train, valid))
        counted, held_out = parts
        return {name: voice_loss(counted, held_out, order, codec.n_vocab - 1) for name, order in ORDERS.items()}
    found = {}
    for name, order in ORDERS.items():
        model = NGram(order, codec.n_vocab)
        model.fit(train)
        losses = [model.losses(ids)[1:] for ids in valid]
        found[name] = float(np.concatenate(losses).mean())
    return found


def nats_per_token(model: Model, pieces: Sequence[Sequence[int]]) -> float:
    """Return the mean nats per token of pieces, without their first tokens."""
    scores = [model.score(ids) for ids in pieces]
    return sum(score.nats for score in scores) / sum(score.tokens for score in scores)


def illegal_mass(model: Model, codec: MusicCodec, pieces: Sequence[Sequence[int]]) -> float:
    """Return the mean probability of the ids that the grammar forbids, at the beginnings of pieces."""
    found: list[float] = []
    for ids in pieces:
        beginning = ids[: model.config.n_ctx]
        grammar = grammar_of(codec)
        for index, chances in zip(beginning, softmax(model.logits(beginning).astype(np.float64)), strict=True):
            grammar.advance(index)
            found.append(float(chances[: codec.n_vocab][~grammar.allowed()].sum()))
    return float(np.mean(found))


def main() -> None:
    """Evaluate, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=1, help="versions of each piece to train on")
    parser.add_argument("--pieces", type=int, help="held-out pieces to score; default: all")
    options = parser.parse_args()
    dataset = open_dataset(options.data)
    codec = music_codec(dataset.codec)
    if codec is None:
        raise UsageError(f"{options.data}: not a corpus of music")
    valid = documents(dataset.split("valid"))[: options.pieces]
    model = cutaway.load(options.model)
    write_json(
        {
            "model": options.model,
            "codec": codec.name,
            "pieces": len(valid),
            "tokens": sum(len(ids) - 1 for ids in valid),
            "nats": nats_per_token(model, valid),
            "illegal": illegal_mass(model, codec, valid[:20]),
            **floors(documents(dataset.split("train"), options.copies), valid, codec),
        }
    )


if __name__ == "__main__":
    main()
