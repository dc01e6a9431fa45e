"""Generated examples: number words against a list made by hand, distinct, and the same for a seed."""

import pytest

from cutaway.errors import UsageError
from cutaway.tasks.generators import english_number, generate_records, german_number


@pytest.mark.parametrize(
    ("number", "english", "german"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (11, "eleven", "elf"),
        (21, "twenty-one", "einundzwanzig"),
        (30, "thirty", "dreißig"),
        (100, "one hundred", "einhundert"),
        (101, "one hundred one", "einhunderteins"),
        (116, "one hundred sixteen", "einhundertsechzehn"),
        (999, "nine hundred ninety-nine", "neunhundertneunundneunzig"),
        (1000, "one thousand", "eintausend"),
        (1001, "one thousand one", "eintausendeins"),
        (21_021, "twenty-one thousand twenty-one", "einundzwanzigtausendeinundzwanzig"),
        (101_000, "one hundred one thousand", "einhunderteinstausend"),
        (700_017, "seven hundred thousand seventeen", "siebenhunderttausendsiebzehn"),
    ],
)
def test_numbers_in_words(number: int, english: str, german: str) -> None:
    assert english_number(number) == english
    assert german_number(number) == german


def test_numbers_differ_in_both_languages() -> None:
    numbers = range(0, 1_000_000, 97)
    assert len({english_number(n) for n in numbers}) == len({german_number(n) for n in numbers}) == len(numbers)


@pytest.mark.parametrize("task", ["number-words", "reverse"])
def test_records_are_distinct_and_follow_the_seed(task: str) -> None:
    records = generate_records(task, 50, seed=1)
    assert len({record["source"] for record in records}) == 50
    assert generate_records(task, 50, seed=1) == records
    assert generate_records(task, 50, seed=2) != records


def test_reversing_twice_changes_nothing() -> None:
    for record in generate_records("reverse", 20, seed=3):
        assert " ".join(reversed(record["target"].split(" "))) == record["source"]


def test_other_tasks_have_no_generator() -> None:
    with pytest.raises(UsageError, match="the task 'translation' has no generator"):
        generate_records("translation", 1, 1)
