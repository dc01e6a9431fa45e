import pytest

from bench.engines import OURS, TASKS
from bench.results import Document, merge
from bench.table import END, PLACES, START, WORDS, Place, markdown, read_results, with_table


def entry(name: str, rate: float | None = None, ratio: float = 1.0, failed: str | None = None) -> Document:
    tasks = {} if rate is None else {task.name: {"tokens_per_second": rate} for task in TASKS}
    ratios = dict.fromkeys(tasks, ratio)
    sizes = {"peak_bytes": 250_000_000, "installed_bytes": None}
    return {"name": name, "tasks": tasks, "ratio": ratios, "failed": failed, **sizes}


def document(*engines: Document, others: float | None = 0.125) -> Document:
    machine = {"cpu": "A processor", "cores": 2, "simd": ["avx2"], "others": others}
    plain_read = {"reached_by_decode": 0.8, "bytes_per_second": 34e9}
    return {"machine": machine, "threads": 2, "plain_read": plain_read, "engines": list(engines)}


def starts(others: float | None = 0.5, **seconds: float) -> Document:
    machine = {"cpu": "Another", "simd": ["avx512f"], "others": others}
    entries = [{"name": name, "wall_seconds": {"min": s, "all": [s, s + 1]}} for name, s in seconds.items()]
    return {"machine": machine, "starts": entries}


STARTS = starts(**{OURS: 0.25, "a peer": 0.5, "cutaway generate": 0.3})


def rows(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]


def test_every_engine_has_a_row_with_its_rates_and_how_many_times_faster_ours_is() -> None:
    table = rows(markdown(document(entry(OURS, 1200.4), entry("a peer", 300, ratio=4.0)), STARTS, "en"))
    assert table[2] == [f"**{OURS}**", *["1,200"] * 5, "0.25 s", "250 MB", "–"]
    assert table[3] == ["a peer", *["300 (4×)"] * 5, "0.50 s (2×)", "250 MB", "–"]


def test_a_peer_that_failed_is_in_the_table_with_its_reason() -> None:
    text = markdown(document(entry(OURS, 1200), entry("a peer", failed="not installed")), STARTS, "en")
    assert rows(text)[3][:2] == ["a peer", "–"]
    assert "a peer failed: not installed." in text


def test_notes_name_the_machine_and_that_it_was_shared() -> None:
    text = markdown(document(entry(OURS, 1200)), STARTS, "en")
    assert "A processor (avx2), 2 cores, shared: other programs took 12%" in text
    assert "80% of the 34.0 GB/s" in text
    assert WORDS["en"]["unknown"] in markdown(document(entry(OURS, 1200), others=None), STARTS, "en")


def test_notes_describe_the_starts() -> None:
    text = markdown(document(entry(OURS, 1200)), STARTS, "en")
    assert "fastest of 2 starts in turns, on Another (avx512f), while other programs took 50%" in text
    assert "`cutaway generate`, which reads its prompt as text: 0.30 s." in text


def test_start_is_a_dash_if_it_was_not_measured() -> None:
    table = rows(markdown(document(entry(OURS, 1200), entry("another", 300)), STARTS, "en"))
    assert table[3][6] == "–"


def test_both_languages_have_the_same_columns() -> None:
    assert set(WORDS) == {place.language for place in PLACES}
    english, chinese = (rows(markdown(document(entry(OURS, 1200)), STARTS, language)) for language in ("en", "zh"))
    assert len(english[0]) == len(chinese[0]) == len(english[2]) == len(chinese[2])


def test_the_table_replaces_what_is_between_the_markers() -> None:
    once = with_table(f"before\n{START}\nold\n{END}\nafter\n", "new")
    assert once == f"before\n{START}\nnew\n{END}\nafter\n"
    assert with_table(once, "new") == once


def test_measuring_again_replaces_only_that_result() -> None:
    old = document(entry(OURS, 1200), entry("a", failed="died"), entry("b", 5))
    new = document(entry(OURS, 900), entry("a", 7))
    merged = merge(old, new, ["a"])
    assert [e["name"] for e in merged["engines"]] == [OURS, "a", "b"]
    assert [e["failed"] for e in merged["engines"]] == [None, None, None]
    assert merged["engines"][0] == old["engines"][0]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path.name)
def test_documents_hold_the_tables_of_the_results(place: Place) -> None:
    text = place.path.read_text(encoding="utf-8")
    table = markdown(read_results(place.results), read_results(place.starts), place.language)
    assert text == with_table(text, table)
