"""Split Tatoeba's English-German pairs and write them as JSON Lines, both ways, for `cutaway train --task translation`.

    python recipes/translation/prepare.py tatoeba-en-deu.tsv.xz DIR

2,000 English sentences are held out for testing and 1,000 for validation, the first by SHA-256, each with one of its
translations. The training pairs contain none of these sentences and none of their translations, in either language,
regardless of case and punctuation.
"""

import json
import lzma
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

Pair = tuple[str, str]

N_TEST = 2000
N_VALID = 1000
MOST_CHARACTERS = 200  # of a sentence


def read_pairs(path: Path) -> list[Pair]:
    """Read distinct pairs of sentences, in the order of the file."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        pairs = [tuple(line.rstrip("\n").split("\t")[:2]) for line in file]
    return list(dict.fromkeys((en.strip(), de.strip()) for en, de in pairs if max(len(en), len(de)) <= MOST_CHARACTERS))


def plain(sentence: str) -> str:
    """Return a sentence without case, punctuation and white space."""
    return "".join(character for character in sentence.casefold() if character.isalnum())


def digest(key: str) -> bytes:
    """Return the SHA-256 of a sentence, which decides whether it is held out."""
    return sha256(key.encode()).digest()


def split(pairs: list[Pair]) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Split pairs into training, validation and test pairs."""
    ordered = sorted({plain(en) for en, _ in pairs}, key=digest)
    test = held(pairs, set(ordered[:N_TEST]))
    valid = held(pairs, set(ordered[N_TEST : N_TEST + N_VALID]))
    english = set(ordered[: N_TEST + N_VALID])
    german = {plain(de) for en, de in pairs if plain(en) in english}
    train = [(en, de) for en, de in pairs if plain(en) not in english and plain(de) not in german]
    return train, valid, test


def held(pairs: list[Pair], english: set[str]) -> list[Pair]:
    """Return the first pair of each of the given English sentences, in the order of their hashes."""
    first: dict[str, Pair] = {}
    for en, de in pairs:
        if plain(en) in english:
            first.setdefault(plain(en), (en, de))
    return [first[key] for key in sorted(first, key=digest)]


def both_ways(pairs: Iterable[Pair]) -> Iterator[dict[str, str]]:
    """Yield the records of the task: each pair from English to German, and from German to English."""
    for en, de in pairs:
        yield {"from": "en", "to": "de", "source": en, "target": de}
        yield {"from": "de", "to": "en", "source": de, "target": en}


def main(source: Path, directory: Path) -> None:
    """Write train.jsonl, valid.jsonl, test.jsonl, and sentences.txt to train the tokenizer on."""
    directory.mkdir(parents=True, exist_ok=True)
    parts = dict(zip(("train", "valid", "test"), split(read_pairs(source)), strict=True))
    for name, pairs in parts.items():
        lines = [json.dumps(record, ensure_ascii=False) for record in both_ways(pairs)]
        (directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}: {len(pairs):,} pairs")
    sentences = dict.fromkeys(sentence for pair in parts["train"] for sentence in pair)
    text = "".join(f" {sentence}\n" for sentence in sentences)  # after a space, as in the task's template
    (directory / "sentences.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
