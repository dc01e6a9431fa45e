from pathlib import Path

import pytest

import cutaway
from tests.cli.invoke import invoke

TEXT = "A robot must obey the orders given it\n"


@pytest.fixture
def score(tiny: str) -> cutaway.Score:
    return cutaway.load(tiny, engine="reference").score(TEXT)


def test_prints_nats_perplexity_and_bits_per_byte(tiny: str, tmp_path: Path, score: cutaway.Score) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    result = invoke("score", "--engine", "reference", "--model", tiny, str(path))
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "9 tokens, 38 bytes",
        f"{score.nats:,.2f} nats",
        f"perplexity {score.perplexity:,.3f} per token",
        f"{score.bits_per_byte:.4f} bits per byte",
    ]


@pytest.mark.parametrize("source", [("--text", TEXT), ("-",), ()])
def test_reads_a_text_from_an_argument_or_a_pipe(tiny: str, source: tuple[str, ...], score: cutaway.Score) -> None:
    result = invoke("score", "--engine", "reference", "--model", tiny, "--json", *source, stdin=TEXT.encode())
    assert result.document == {
        "model": "tiny",
        "engine": "reference",
        "dtype": "float32",
        "tokens": 9,
        "bytes": 38,
        "nats": score.nats,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
    }


def test_ids_are_scored_after_the_first(tiny: str) -> None:
    ids = cutaway.Tokenizer.gpt2().encode(TEXT)
    command = ("score", "--engine", "reference", "--model", tiny, "--json", "--ids", *map(str, ids))
    expected = cutaway.load(tiny, engine="reference").score(ids)
    assert invoke(*command).document["nats"] == expected.nats


def test_an_infinite_perplexity_is_null(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.model.Model.score", lambda *_: cutaway.Score(1e6, 1, 1))
    command = ("score", "--engine", "reference", "--model", tiny, "--text", TEXT)
    assert invoke(*command, "--json").document["perplexity"] is None
    assert "perplexity inf per token" in invoke(*command).out


def test_rejects_a_text_without_a_token_to_score(tiny: str, tmp_path: Path) -> None:
    command = ("score", "--engine", "reference", "--model", tiny)
    for source in (("--text", ""), ("--ids", "5"), ("-",)):
        assert "nothing to score: the text is empty, or a single token" in invoke(*command, *source).error
    assert "nothing to score: give a FILE" in invoke(*command, terminal=True).error
    assert "No such file" in invoke(*command, str(tmp_path / "none.txt")).error


def test_rejects_a_model_without_tokenizer_files(mute: str) -> None:
    result = invoke("score", "--engine", "reference", "--model", mute, "--ids", "1", "2")
    assert "no bytes to count" in result.error
