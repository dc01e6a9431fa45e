"""Read the dialogues of the simple corpus: self-dialogues, with an assistant, and about an article."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from recipes.origins import Document, existing, is_small

MAX_CHARACTERS = 5_000_000  # of the dialogues with assistants
MIN_TURNS = 6  # of the self-dialogues


def dialogue(turns: Iterable[tuple[str, str]]) -> str:
    r"""Return the turns (speaker, words) of a dialogue, one line for each.

    >>> dialogue([("A", "Hello,  you."), ("B", "")])
    'A: Hello, you.\nB:'
    """
    return "\n".join(f"{speaker}: {' '.join(words.split())}".rstrip() for speaker, words in turns)


def self_dialogues(folder: Path) -> Iterator[Document]:
    """Yield dialogues that one person wrote for two: those of six or more turns that were not rejected, each once."""
    blocked = set(existing(folder / "blocked_workers.txt").read_text(encoding="utf-8").split())
    seen = set[str]()
    for path, row in _rows(folder):
        turns = _turns(row)
        text = dialogue(zip("AB" * len(turns), turns, strict=False))
        rejected = row["WorkerId"] in blocked or row["AssignmentStatus"] == "Rejected"
        if not rejected and len(turns) >= MIN_TURNS and text not in seen and not _is_shouted(text):
            seen.add(text)
            yield Document(path.parent.name.replace("_", " "), path.relative_to(folder).as_posix(), text)


def assistant_dialogues(folder: Path) -> Iterator[Document]:
    """Yield dialogues with an assistant, with its services as titles, until they have `MAX_CHARACTERS`."""
    total = 0
    for part in ("dev", "test", "train"):
        for path in sorted(filter(is_small, (folder / part).glob("dialogues_*.json"))):
            for item in json.loads(path.read_bytes()):
                turns = (("A" if turn["speaker"] == "USER" else "B", turn["utterance"]) for turn in item["turns"])
                text = dialogue(turns)
                yield Document(", ".join(item["services"]), path.relative_to(folder).as_posix(), text)
                total += len(text)
                if total > MAX_CHARACTERS:
                    return


def topical_dialogues(folder: Path) -> Iterator[Document]:
    """Yield dialogues about an article that both speakers have read, without titles."""
    for path in sorted(filter(is_small, folder.glob("conversations/*.json"))):
        for item in json.loads(path.read_bytes()).values():
            turns = (("A" if turn["agent"] == "agent_1" else "B", turn["message"]) for turn in item["content"])
            yield Document("", path.relative_to(folder).as_posix(), dialogue(turns))


def _rows(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield each row of the tables, with the path of its table."""
    for path in sorted(folder.glob("corpus/*/*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            yield from ((path, row) for row in csv.DictReader(file))


def _turns(row: dict[str, str]) -> list[str]:
    """Return the non-empty sentences of a row, in the order of their numbers."""
    names = sorted((name for name in row if name.startswith("Answer.sentence")), key=lambda name: int(name[15:]))
    sentences = (re.sub("[\ufeff\u200b]", "", row[name] or "").strip() for name in names)
    return [sentence for sentence in sentences if sentence not in ("", "{}")]


def _is_shouted(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum(c.isupper() for c in letters) > 0.98 * len(letters)
