"""Make records for the task scitldr from SciTLDR (Cachola et al. 2020): abstracts with one-sentence summaries.

    python recipes/summarization/prepare_scitldr.py scitldr-train.jsonl.xz train.jsonl

The data are Apache-2.0, so a model that is trained on them may be distributed. All summaries of each paper are kept: a
model learns the first, which is the authors', and is scored against the nearest one.
"""

import json
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path


def records(path: Path) -> Iterator[dict[str, str | list[str]]]:
    """Yield the record of each paper."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            paper = json.loads(line)
            abstract = " ".join(sentence.strip() for sentence in paper["source"])
            yield {"abstract": abstract, "summary": [text.strip() for text in paper["target"]]}


def main(source: Path, target: Path) -> None:
    """Write the records, and print their number."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records(source)]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{target}: {len(lines):,} papers")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
