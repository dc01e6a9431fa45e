"""Generated examples: tasks that a small model learns in minutes, with answers that are correct by construction."""

import numpy as np

from cutaway.checks import check_int
from cutaway.errors import UsageError
from cutaway.untrusted import quote

MOST_NUMBER = 999_999
_LETTERS = "abcdefghij"

# fmt: off
_EN = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_DE = (
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
    "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
)
# fmt: on
_EN_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_DE_TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")


def english_number(number: int) -> str:
    """Return a number below a million in English words.

    >>> english_number(40_021)
    'forty thousand twenty-one'
    """
    if number < 20:
        return _EN[number]
    if number < 100:
        tens = _EN_TENS[number // 10 - 2]
        return f"{tens}-{_EN[number % 10]}" if number % 10 else tens
    size = 1000 if number >= 1000 else 100
    head = f"{english_number(number // size)} {'thousand' if size == 1000 else 'hundred'}"
    return f"{head} {english_number(number % size)}" if number % size else head


def german_number(number: int) -> str:
    """Return a number below a million in German words.

    >>> german_number(40_021), german_number(101_001)
    ('vierzigtausendeinundzwanzig', 'einhunderteinstausendeins')
    """
    if number < 20:
        return _DE[number]
    if number < 100:
        tens = _DE_TENS[number // 10 - 2]
        return f"{_joined(number % 10)}und{tens}" if number % 10 else tens
    size = 1000 if number >= 1000 else 100
    head = f"{_joined(number // size)}{'tausend' if size == 1000 else 'hundert'}"
    return f"{head}{german_number(number % size)}" if number % size else head


def _joined(number: int) -> str:
    """Return a number in the form used before another word: "ein" for "eins"."""
    return "ein" if number == 1 else german_number(number)


def generate_records(task: str, n: int, seed: int) -> list[dict[str, str]]:
    """Return n distinct records of a generated task. Raises UsageError for an unknown task or if n is too large.

    >>> generate_records("reverse", 2, seed=1)
    [{'source': 'f h j a b i j', 'target': 'j i b a j h f'}, {'source': 'd i e c i', 'target': 'i c e i d'}]
    """
    check_int("n", n, 1, MOST_NUMBER + 1)
    rng = np.random.default_rng(check_int("seed", seed, 0))
    if task == "number-words":
        numbers = rng.choice(MOST_NUMBER + 1, n, replace=False).tolist()
        return [{"source": english_number(number), "target": german_number(number)} for number in numbers]
    if task == "reverse":
        found: dict[str, str] = {}
        while len(found) < n:
            letters = rng.choice(list(_LETTERS), rng.integers(3, 13)).tolist()
            found[" ".join(letters)] = " ".join(reversed(letters))
        return [{"source": source, "target": target} for source, target in found.items()]
    raise UsageError(f"the task {quote(task)} has no generator; known are number-words and reverse")
