"""recipes/dialogues.py on a few made-up dialogues."""

import csv
import json
from pathlib import Path

import pytest

from recipes import dialogues, origins
from recipes.origins import CorpusError

HELLO = ["Hello.", "Hi!", "How  are you?", "Well.\ufeff", "{}", "So am I.", "Bye.", ""]
HEAD = ["WorkerId", "AssignmentStatus", *(f"Answer.sentence{i}" for i in (1, 8, 2, 3, 4, 5, 6, 7))]


def put_table(folder: Path, *rows: tuple[str, str, list[str]]) -> None:
    (folder / "corpus" / "pop_music").mkdir(parents=True)
    (folder / "blocked_workers.txt").write_text("W9\n", encoding="utf-8")
    with (folder / "corpus" / "pop_music" / "pop1.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEAD)
        for worker, status, turns in rows:
            table.writerow([worker, status, turns[0], turns[7], *turns[1:7]])


def put_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_self_dialogue_alternates_and_skips_empty_sentences(tmp_path: Path) -> None:
    put_table(tmp_path, ("W1", "Submitted", HELLO))
    [document] = dialogues.self_dialogues(tmp_path)
    assert (document.title, document.path) == ("pop music", "corpus/pop_music/pop1.csv")
    assert document.text == "A: Hello.\nB: Hi!\nA: How are you?\nB: Well.\nA: So am I.\nB: Bye."


def test_self_dialogues_that_are_rejected_short_shouted_or_repeated_are_left_out(tmp_path: Path) -> None:
    rows = [
        ("W9", "Submitted", ["x", *HELLO[1:]]),
        ("W1", "Rejected", ["y", *HELLO[1:]]),
        ("W1", "Submitted", [*HELLO[:5], "", "", ""]),
        ("W1", "Submitted", [turn.upper() for turn in HELLO]),
        ("W1", "Approved", HELLO),
        ("W2", "Approved", HELLO),
    ]
    put_table(tmp_path, *rows)
    assert len(list(dialogues.self_dialogues(tmp_path))) == 1


def test_rejects_an_incomplete_clone(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="blocked_workers.txt is missing; check that the clone is whole"):
        list(dialogues.self_dialogues(tmp_path))


def test_dialogues_with_an_assistant_stop_after_so_many_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [{"speaker": "USER", "utterance": "A table, please."}, {"speaker": "SYSTEM", "utterance": " "}]
    items = [{"services": ["Restaurants_2", "Weather_1"], "turns": turns}] * 3
    put_json(tmp_path / "dev" / "dialogues_002.json", items)
    put_json(tmp_path / "dev" / "schema.json", [])
    put_json(tmp_path / "train" / "dialogues_001.json", items)
    found = list(dialogues.assistant_dialogues(tmp_path))
    assert [document.path[:3] for document in found] == ["dev"] * 3 + ["tra"] * 3
    assert found[0].title == "Restaurants_2, Weather_1"
    assert found[0].text == "A: A table, please.\nB:"
    monkeypatch.setattr(dialogues, "MAX_CHARACTERS", 2 * len(found[0].text))
    assert len(list(dialogues.assistant_dialogues(tmp_path))) == 3  # the one that exceeds the limit is the last


def test_topical_dialogues_go_by_the_agent_and_large_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = [{"agent": "agent_1", "message": "Hello!"}, {"agent": "agent_1", "message": "Anybody there?"}]
    put_json(tmp_path / "conversations" / "test_freq.json", {"t_1": {"content": content}})
    put_json(tmp_path / "conversations" / "train.json", {"t_2": {"content": content * 9}})
    monkeypatch.setattr(origins, "MAX_BYTES", 300)
    [document] = dialogues.topical_dialogues(tmp_path)
    assert (document.title, document.text) == ("", "A: Hello!\nA: Anybody there?")
