from pathlib import Path

import pytest

from cutaway.evaluation.paper_tasks import TASKS, enwik8
from tests.evaluation.scored import MODEL, evaluate

FILE = " anarchism originated as a term of abuse first used against early working class radicals in one nine zero five"


def test_scores_the_text_as_it_is(tmp_path: Path) -> None:
    result = evaluate(TASKS["text8"], tmp_path / "text8", FILE)
    assert result.metrics[0].value == pytest.approx(MODEL.score(FILE).bits_per_byte)
    assert result.counts["bytes"] == len(FILE)


def test_of_the_full_file_the_last_part_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enwik8, "FULL_SIZE", len(FILE))
    monkeypatch.setattr(enwik8, "TEST_SIZE", 20)
    result = evaluate(TASKS["text8"], tmp_path / "text8", FILE)
    assert result.metrics[0].value == pytest.approx(MODEL.score(FILE[-20:]).bits_per_byte)
