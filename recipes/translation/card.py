"""Write the built-in translator's card from `card.md`; all figures are measured or read from the run's log.

cutaway eval --task translation test.jsonl --model builtin-translation --train train.jsonl --json > scores.json
python -m recipes.translation.card --scores scores.json --test test.jsonl --train train.jsonl --run run
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cutaway.checkpoints.sources import BUILTIN_MODELS, open_source
from recipes.run_log import RunLog

NAME = "builtin-translation"
SHOWN = 20
CARD = Path(__file__).with_name("card.md")


def score_rows(results: list[dict[str, Any]]) -> str:
    """Format the rows of a table: direction and kind, BLEU, nats per token, bits per byte."""
    rows = []
    for result in results:
        direction = " to ".join(result["choices"].values())
        for name, scores in result["scores"].items():
            bleu = scores["bleu"]
            found = result["likelihood"].get(name)
            nats = "| | |" if found is None else f"| {found['nats_per_token']:.3f} | {found['bits_per_byte']:.3f} |"
            rows.append(f"| {direction}: {name} | {bleu['value']:.1f} ± {bleu['standard_error']:.1f} {nats}")
    return "\n".join(rows)


def example_rows(records: list[dict[str, str]], result: dict[str, Any]) -> str:
    """Format a table of a direction's first records: source, model, reference."""
    choices = result["choices"]
    mine = [record for record in records if all(record[key] == value for key, value in choices.items())]
    rows = [f"| {choices['from']} | the model | a reference |", "|---|---|---|"]
    for record, output in list(zip(mine, result["outputs"], strict=True))[:SHOWN]:
        rows.append(f"| {record['source']} | {output} | {record['target']} |")
    return "\n".join(rows)


def main() -> None:
    """Read the scores, and write the card."""
    parser = argparse.ArgumentParser(description="Write the built-in translator's card.")
    parser.add_argument("--scores", type=Path, required=True, help="what cutaway eval --json wrote")
    parser.add_argument("--test", type=Path, required=True, help="the records that it read")
    parser.add_argument("--run", type=Path, required=True, help="directory of the training run")
    parser.add_argument("--train", type=Path, required=True, help="the records that it learnt from")
    options = parser.parse_args()
    scores = json.loads(options.scores.read_text(encoding="utf-8"))
    records = [json.loads(line) for line in options.test.read_text(encoding="utf-8").splitlines()]
    config = open_source(NAME).config
    directory = BUILTIN_MODELS[NAME]
    to_german, to_english = scores["results"]
    card = CARD.read_text(encoding="utf-8").format(
        parameters=config.n_params,
        config=config,
        megabytes=(directory / "model.safetensors").stat().st_size / 1e6,
        scores=score_rows(scores["results"]),
        examples=to_german["examples"],
        pairs=len(options.train.read_text(encoding="utf-8").splitlines()) // 2,  # each pair occurs in both directions
        decoding=scores["decoding"],
        signature=scores["signature"],
        run=RunLog.read(options.run),
        examples_to_de=example_rows(records, to_german),
        examples_to_en=example_rows(records, to_english),
    )
    (directory / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
