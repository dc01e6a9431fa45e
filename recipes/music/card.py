"""Write the built-in pianist's card from `card.md`; all figures are measured or read from the run's log.

python -m recipes.music.evaluate --model builtin-piano --data recipes/out/piano/shards --copies 8 > scores.json
python -m recipes.music.card --scores scores.json --data recipes/out/piano/shards --run recipes/out/piano/run
"""

import argparse
import json
from pathlib import Path
from statistics import median

import cutaway
from cutaway.checkpoints.sources import BUILTIN_MODELS
from cutaway.data.dataset import open_dataset
from cutaway.errors import UsageError
from cutaway.music.codecs import music_codec
from cutaway.music.generation import generate_piece
from cutaway.music.statistics import Statistics, longest_copy, measure, overlap
from recipes.music.evaluate import documents
from recipes.run_log import RunLog

NAME = "builtin-piano"
COPIES = 8  # versions of each song to train on: `piano.sh`
PIECES = 20
SECONDS = 20.0
CARD = Path(__file__).with_name("card.md")
HISTOGRAMS = ("pitch_classes", "pitches", "velocities", "gaps")


def overlap_rows(ours: Statistics, theirs: Statistics, held: Statistics) -> str:
    """Format the rows of a table: histogram, overlap of the model and of the training pieces with the held-out ones."""
    rows = []
    for name in HISTOGRAMS:
        shares = [overlap(getattr(each, name), getattr(held, name)) for each in (ours, theirs)]
        rows.append(f"| {name.replace('_', ' ')} | {shares[0]:.0%} | {shares[1]:.0%} |")
    return "\n".join(rows)


def main() -> None:
    """Generate, measure, and write the card."""
    parser = argparse.ArgumentParser(description="Write the built-in pianist's card.")
    parser.add_argument("--scores", type=Path, required=True, help="what recipes.music.evaluate wrote")
    parser.add_argument("--data", type=Path, required=True, help="shards of the songs")
    parser.add_argument("--run", type=Path, required=True, help="directory of the training run")
    options = parser.parse_args()
    model = cutaway.load(NAME)
    codec = music_codec(model.codec)
    if codec is None:
        raise UsageError(f"{NAME}: no model of music")
    dataset = open_dataset(options.data)
    train = documents(dataset.split("train"), COPIES)
    held = documents(dataset.split("valid"))
    pieces = [generate_piece(model, codec, SECONDS, seed=seed).ids for seed in range(1, PIECES + 1)]
    copies = [longest_copy(piece, train) for piece in pieces]
    played = [codec.decode(ids).excerpt(0, SECONDS) for ids in pieces]
    ours = measure(played)
    n_notes = [len(performance.notes) for performance in played]
    theirs = measure([codec.decode(ids) for ids in train])
    others = measure([codec.decode(ids) for ids in held])
    found = json.loads(options.scores.read_text(encoding="utf-8"))
    card = CARD.read_text(encoding="utf-8").format(
        parameters=model.config.n_params,
        config=model.config,
        megabytes=(BUILTIN_MODELS[NAME] / "model.safetensors").stat().st_size / 1e6,
        found=found,
        illegal=found["illegal"],
        seconds=SECONDS,
        overlaps=overlap_rows(ours, theirs, others),
        ours=ours,
        theirs=theirs,
        held=others,
        longest=max(copies),
        middle=round(median(copies)),
        fewest=min(n_notes),
        most=max(n_notes),
        songs=len(train),
        copies=COPIES,
        run=RunLog.read(options.run),
    )
    (BUILTIN_MODELS[NAME] / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
