"""Floors: each by an example made by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import UsageError
from cutaway.evaluation.floors import NearestTargets, lead, make_floors, other_records, random_targets
from cutaway.tasks import open_task
from cutaway.tasks.records import TaskRecord


def pair(source: str, target: str, to: str = "de") -> TaskRecord:
    fields = {"from": "en" if to == "de" else "de", "to": to, "source": source, "target": target}
    return TaskRecord(f"pairs:{source}", fields)


TRAIN = [
    pair("The dog sleeps.", "Der Hund schläft."),
    pair("The cat sleeps.", "Die Katze schläft."),
    pair("the the the the house", "Das Haus."),
    pair("Die Katze", "The cat", to="en"),
]


def test_the_nearest_shares_rare_words_and_the_choices() -> None:
    nearest = NearestTargets(TRAIN, open_task("translation"))
    assert nearest([pair("A cat!", ""), pair("The house", ""), pair("Katze", "", to="en")]) == [
        "Die Katze schläft.",
        "Das Haus.",
        "The cat",
    ]
    assert nearest([pair("xyz", "")]) == ["Der Hund schläft."]
    with pytest.raises(UsageError, match="pairs:Katze: no training record has de, en"):
        NearestTargets(TRAIN[:3], open_task("translation"))([pair("Katze", "", to="en")])


def test_the_nearest_shares_rare_words_and_is_not_merely_long() -> None:
    def nearest(sources: list[str], source: str) -> str:
        [found] = NearestTargets([pair(each, each) for each in sources], open_task("translation"))([pair(source, "")])
        return found

    assert nearest(["the a", "the b", "the c", "rare d"], "the rare") == "rare d"
    assert nearest(["cat cat cat dog dog dog mouse mouse mouse", "cat"], "cat") == "cat"


@given(st.integers(1, 40), st.integers(0, 5))
def test_every_record_gets_another_once(n: int, seed: int) -> None:
    others = other_records(n, seed)
    assert sorted(others) == list(range(n))
    assert n == 1 or all(other != i for i, other in enumerate(others))
    assert other_records(n, seed) == others


def test_the_lead_is_three_sentences_in_any_script() -> None:
    task = open_task("wiki-lead")
    bodies = ["One. Two.", "猫在睡觉。狗在吃饭。鸟在唱歌。鱼在游泳。", "No end"]
    records = [TaskRecord("", {"title": "", "body": body, "lead": ""}) for body in bodies]
    assert lead(records, task, 3) == ["One. Two.", "猫在睡觉。狗在吃饭。鸟在唱歌。", "No end"]


def test_a_task_has_its_own_floors() -> None:
    assert list(make_floors(open_task("translation"), TRAIN, 1)) == ["copy", "nearest"]
    assert list(make_floors(open_task("translation"), [], 1)) == ["copy"]
    floors = make_floors(open_task("wiki-lead"), [], 1)
    assert list(floors) == ["lead-3", "random"]
    records = [TaskRecord("", {"title": "", "body": text, "lead": text}) for text in "abc"]
    assert floors["random"](records) == random_targets(records, open_task("wiki-lead"), 1)
