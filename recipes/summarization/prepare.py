"""Make pairs of body and lead from Wikipedia articles, as JSON Lines for the task wiki-lead.

    python recipes/summarization/prepare.py wikipedia-train.jsonl.xz train.jsonl [TOKENS]

The lead is the text before the first heading, which is a paragraph of one line with at most eight words that ends in a
full stop. An article is kept if its lead has 15 to 150 words and at most TOKENS tokens of GPT-2 (a quarter of the
context, without the end: 127 for a context of 512), and its body has at least 150 words and more than twice the lead's.
"""

import json
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path

from cutaway.tokenizer.fast import Tokenizer

MOST_HEADING = 8
LEAD = range(15, 151)
LEAST_BODY = 150
MOST_TOKENS = 1023  # a quarter of a context of 4,096, without the end


def is_heading(paragraph: str) -> bool:
    """Return True for a paragraph that is a heading, such as "Early life."."""
    text = paragraph.strip()
    inside = text[:-1]
    is_short = "\n" not in text and len(text.split()) <= MOST_HEADING
    return is_short and text.endswith(".") and not any(mark in inside for mark in ".!?")


def split_lead(text: str) -> tuple[str, str] | None:
    """Split an article into lead and body; None if it has no heading after its lead."""
    paragraphs = [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
    place = next((i for i, paragraph in enumerate(paragraphs) if i and is_heading(paragraph)), None)
    if place is None:
        return None
    return " ".join(" ".join(paragraphs[:place]).split()), "\n\n".join(paragraphs[place:])


def records(path: Path) -> Iterator[dict[str, str]]:
    """Yield the records of the articles with suitable lengths in words."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            article = json.loads(line)
            parts = split_lead(article["text"])
            if parts is None:
                continue
            lead, body = parts
            n_lead = len(lead.split())
            n_body = len(body.split())
            if n_lead in LEAD and n_body >= max(LEAST_BODY, 2 * n_lead + 1):
                yield {"title": article["title"], "body": body, "lead": lead}


def main(source: Path, target: Path, most_tokens: int = MOST_TOKENS) -> None:
    """Write the records, and print their number."""
    encode = Tokenizer.gpt2().encode
    kept = (record for record in records(source) if len(encode(f" {record['lead']}")) <= most_tokens)
    lines = [json.dumps(record, ensure_ascii=False) for record in kept]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{target}: {len(lines):,} articles")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
