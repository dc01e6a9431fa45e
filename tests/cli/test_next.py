import pytest

import cutaway
from tests.cli.invoke import invoke

PROMPT = "A robot must obey"


def test_shows_the_ten_likeliest_tokens(tiny: str) -> None:
    result = invoke("next", "--engine", "reference", "--model", tiny, PROMPT)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    candidates = cutaway.load(tiny, engine="reference").next_tokens(PROMPT)
    assert len(lines) == len(candidates) == 10
    for line, candidate in zip(lines, candidates, strict=True):
        cells = line.split()
        assert cells[:2] == [f"{100 * candidate.probability:.2f}", "%"]
        assert int(cells[-2]) == candidate.id
    assert lines[0].count("█") == 30


def test_json_has_every_field(tiny: str) -> None:
    document = invoke("next", "--engine", "reference", "--model", tiny, "-k", "3", "--json", PROMPT).document
    candidates = cutaway.load(tiny, engine="reference").next_tokens(PROMPT, 3)
    assert document["prompt_ids"] == cutaway.Tokenizer.gpt2().encode(PROMPT)
    assert document["next"] == [
        {"id": candidate.id, "text": candidate.text, "probability": candidate.probability} for candidate in candidates
    ]


def test_works_without_a_tokenizer(mute: str) -> None:
    result = invoke("next", "--engine", "reference", "--model", mute, "--ids", "1", "-k", "50")
    assert sorted(int(line.split()[-1]) for line in result.out.splitlines()) == list(range(50))


@pytest.mark.parametrize("count", ["0", "51", "-1"])
def test_rejects_an_invalid_count(mute: str, count: str) -> None:
    result = invoke("next", "--engine", "reference", "--model", mute, "--ids", "1", "-k", count)
    assert result.code == 2
    assert "k must be" in result.error


def test_rejects_a_prompt_that_is_too_long(tiny: str) -> None:
    result = invoke("next", "--engine", "reference", "--model", tiny, "robot " * 40)
    assert "42 tokens long; the context holds 32" in result.error


def test_shows_bytes_that_are_no_character(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.model.Model.next_tokens", lambda *_: [cutaway.Candidate(222, "\ufffd", 0.5)])
    result = invoke("next", "--engine", "reference", "--model", tiny, PROMPT)
    assert result.out.split() == ["50.00", "%", "█" * 30, "222", "\\x80"]
