"""The built-in model's card from `card.md`, every figure measured or read from the run's log (see `cpu.sh`)."""

import argparse
import json
from pathlib import Path

import cutaway
from cutaway.data.prepare import documents
from cutaway.loading import BUILTIN
from cutaway.model import Model

PROMPTS = ("A robot must obey the orders given it", "It was a dark night, and", "The city is the capital of")
BARS = " ▁▂▃▄▅▆▇█"
CARD = Path(__file__).with_name("card.md")


def curve(losses: list[float]) -> str:
    """A line of bars, highest first loss to lowest last."""
    low, high = min(losses), max(losses)
    return "".join(BARS[1 + round((loss - low) / (high - low or 1) * (len(BARS) - 2))] for loss in losses)


def sample(model: Model, prompt: str) -> str:
    """One prompt and its continuation as a quotation."""
    text = f"**{prompt}**{model.generate(prompt, max_new_tokens=80, seed=1).text}"
    return "\n".join(f"> {line}" if line else ">" for line in text.split("\n")) + "\n"


def score(model: Model, valid: Path, per_book: int) -> cutaway.Score:
    """The beginning of every book, each as a text of its own."""
    scores = [model.score(text[:per_book]) for text in documents(valid)]
    return cutaway.Score(sum(s.nats for s in scores), sum(s.tokens for s in scores), sum(s.bytes for s in scores))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Write the built-in model's card.")
    parser.add_argument("--run", type=Path, required=True, help="directory of the training run")
    parser.add_argument("--valid", type=Path, required=True, help="JSON lines with the validation books")
    parser.add_argument("--characters", type=int, default=100_000, help="to score of each book (default %(default)s)")
    options = parser.parse_args()
    model = cutaway.load("builtin")
    log = [json.loads(line) for line in (options.run / "log.jsonl").read_text().splitlines()]
    recipe = json.loads((options.run / "recipe.json").read_text())
    losses = [event["valid_loss"] for event in log if "valid_loss" in event]
    tokens_a_step = recipe["batch_size"] * recipe["n_ctx"]
    measured = score(model, options.valid, options.characters)
    card = CARD.read_text(encoding="utf-8").format(
        parameters=model.config.n_params,
        config=model.config,
        megabytes=(BUILTIN / "model.safetensors").stat().st_size / 1e6,
        score=measured,
        characters=options.characters,
        seen=recipe["steps"] * tokens_a_step / 1e6,
        recipe=recipe,
        tokens_a_step=tokens_a_step,
        hours=sum(event["seconds"] for event in log) / 3600,
        points=len(losses),
        first=losses[0],
        last=losses[-1],
        curve=curve(losses),
        samples="\n".join(sample(model, prompt) for prompt in PROMPTS),
    )
    (BUILTIN / "README.md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()
