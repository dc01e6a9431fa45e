"""The translation data: no sentence of the test stands in the training pairs, and both directions are written."""

import json
import lzma
from pathlib import Path

from recipes.translation import prepare


def test_no_sentence_of_a_held_out_pair_is_trained_on() -> None:
    pairs = [(f"Sentence {n}.", f"Satz {n}.") for n in range(5000)]
    pairs += [(f"SENTENCE {n}", f"Ein Satz {n}!") for n in range(0, 5000, 3)]  # the same in English, another in German
    pairs += [(f"Phrase {n}", f"satz {n}") for n in range(0, 5000, 7)]  # and the other way round
    train, valid, test = prepare.split(pairs)
    assert (len(valid), len(test)) == (prepare.N_VALID, prepare.N_TEST)
    english = {prepare.plain(en) for en, _ in test + valid}
    german = {prepare.plain(de) for en, de in pairs if prepare.plain(en) in english}
    assert not [pair for pair in train if prepare.plain(pair[0]) in english or prepare.plain(pair[1]) in german]
    assert len(english) == len(test) + len(valid)


def test_files(tmp_path: Path) -> None:
    source = tmp_path / "pairs.tsv.xz"
    lines = [f"Sentence {n}.\tSatz {n}.\tattribution\n" for n in range(4000)]
    source.write_bytes(lzma.compress("".join([*lines, lines[0], "x" * 300 + "\ty\n"]).encode()))
    prepare.main(source, tmp_path / "data")
    train = [json.loads(line) for line in (tmp_path / "data" / "train.jsonl").read_text().splitlines()]
    assert len(train) == 2 * 1000
    assert train[0]["source"] == train[1]["target"]
    assert (train[0]["from"], train[1]["from"]) == ("en", "de")
    assert len((tmp_path / "data" / "sentences.txt").read_text().splitlines()) == 2000
