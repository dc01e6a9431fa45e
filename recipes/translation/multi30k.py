"""Write Multi30k (Elliott et al. 2016): captions of photographs, as JSON Lines for the task translation, en to de.

    python recipes/translation/multi30k.py FOLDER DIR

FOLDER holds multi30k-train.en.xz, multi30k-train.de.xz and the same for val. It writes train.jsonl, and test.jsonl from
val. The licence of Multi30k is for research only: no model that was trained on it may be distributed.
"""

import json
import lzma
import sys
from pathlib import Path

PARTS = {"train": "train", "test": "val"}


def read_lines(path: Path) -> list[str]:
    """Read the lines of a compressed text file."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [line.strip() for line in file]


def main(folder: Path, directory: Path) -> None:
    """Write the records of both parts."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        english = read_lines(folder / f"multi30k-{part}.en.xz")
        german = read_lines(folder / f"multi30k-{part}.de.xz")
        records = [
            {"from": "en", "to": "de", "source": source, "target": target}
            for source, target in zip(english, german, strict=True)
        ]
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        (directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}: {len(records):,} pairs")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
