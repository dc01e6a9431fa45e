"""Write the built-in model's card from `card.md`; all figures are measured or read from the run's log (see `gpu.sh`).

python -m recipes.builtin.card --run FOLDER/run --corpus recipes/out/corpus
"""

import argparse
import json
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path

import cutaway
from cutaway.checkpoints.sources import BUILTIN
from cutaway.data.batches import allot
from cutaway.model import Model
from cutaway.training.optimizers import VECTOR_LR
from recipes.builtin.prepare import Record, is_dialogue
from recipes.run_log import RunLog

OPENINGS = (
    "Once upon a time there was a little girl who",
    '"Where are you going?" asked the',
    "The dog ran down the road and",
    "It was a cold winter night, and",
    "Tom looked at his mother and said,",
    "In the middle of the forest there lived",
    "The old man opened the door and",
    "When the children came home from school,",
    "One morning the king called his three sons and",
    "She sat down by the fire and",
)
BOOK_CHARACTERS = 100_000  # scored of each book in books-valid
CARD = Path(__file__).with_name("card.md")


def sample(model: Model, prompt: str) -> str:
    """Write a prompt and its continuation with seed 1 as a quotation."""
    text = f"**{prompt}**{model.generate(prompt, max_new_tokens=80, seed=1).text}"
    return "\n".join(f"> {line}" if line else ">" for line in text.split("\n")) + "\n"


def texts(path: Path, keep: Callable[[Record], bool] = lambda record: True) -> list[str]:
    """Read the texts of some records of a .jsonl.xz file."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return [record["text"] for record in map(json.loads, lines) if keep(record)]


def score(model: Model, documents: Iterable[str]) -> cutaway.Score:
    """Score documents separately, and return the total."""
    scores = [model.score(text) for text in documents]
    return cutaway.Score(sum(s.nats for s in scores), sum(s.tokens for s in scores), sum(s.bytes for s in scores))


def held_out(corpus: Path) -> dict[str, list[str]]:
    """Return the held-out documents by the name of their kind."""
    simple = corpus / "simple-valid.jsonl.xz"
    return {
        "stories (`simple-valid` without dialogues)": texts(simple, lambda record: not is_dialogue(record)),
        "dialogues of `simple-valid`": texts(simple, is_dialogue),
        "`books-valid`": [text[:BOOK_CHARACTERS] for text in texts(corpus / "books-valid.jsonl.xz")],
        "`wikipedia-valid`": texts(corpus / "wikipedia-valid.jsonl.xz"),
    }


def score_rows(model: Model, corpus: Path) -> str:
    """Format the rows of a table: text, bytes, bits per byte, perplexity per token."""
    rows = []
    for name, documents in held_out(corpus).items():
        s = score(model, documents)
        rows.append(f"| {name} | {s.bytes:,} | {s.bits_per_byte:.3f} | {s.perplexity:.1f} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def main() -> None:
    """Measure, and write the card."""
    parser = argparse.ArgumentParser(description="Write the built-in model's card.")
    parser.add_argument("--run", type=Path, required=True, help="directory of the training run")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the .jsonl.xz files")
    options = parser.parse_args()
    model = cutaway.load("builtin")
    run = RunLog.read(options.run)
    settings = run.settings
    rows = allot(settings["weights"], settings["batch_size"])
    card = CARD.read_text(encoding="utf-8").format(
        parameters=model.config.n_params,
        config=model.config,
        megabytes=(BUILTIN / "model.safetensors").stat().st_size / 1e6,
        scores=score_rows(model, options.corpus),
        run=run,
        minutes=run.hours * 60,
        rows={Path(name).name: count for name, count in zip(settings["data"], rows, strict=True)},
        vector_lr=VECTOR_LR * settings["lr"],
        samples="\n".join(sample(model, prompt) for prompt in OPENINGS),
    )
    (BUILTIN / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
