from typing import Any

import pytest

from cutaway.config import GPT2Config
from cutaway.training.plan import activation_bytes
from tests.cli.invoke import invoke


def test_prints_a_table_in_which_each_row_has_its_basis() -> None:
    arguments = ("plan", "--model", "gpt2-xl", "--tokens", "10e9", "--hardware", "h100", "--devices", "8")
    result = invoke(*arguments)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "gpt2-xl on 8 h100, sequences of 1,024 tokens"
    bases = ("exact", "computed", "measured", "published", "assumed")
    rows = [line for line in lines[3:] if not line.startswith(" ")]  # other lines go on with a source
    document: Any = invoke(*arguments, "--json").document
    assert len(rows) == len(document["rows"])
    assert all(any(basis in line for basis in bases) for line in rows)
    assert any(line.startswith("parameters") and "1,557,611,200" in line for line in lines)
    assert any(line.startswith("hours at 49%") and "7.4 h" in line for line in lines)


def test_json_has_the_rows() -> None:
    document: Any = invoke("plan", "--mfu", "0.5", "--json").document
    assert (document["model"], document["hardware"], document["devices"]) == ("gpt2", "h100", 8)
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["parameters"] == {
        "name": "parameters",
        "value": 124_439_808,
        "unit": "parameters",
        "basis": "exact",
        "source": "the tensors' shapes",
    }
    assert rows["share of the peak"]["value"] == 0.5


@pytest.mark.slow
def test_a_cpu_is_planned_for_one_machine_in_float32() -> None:
    result = invoke("plan", "--hardware", "cpu")
    lines = result.out.splitlines()
    assert lines[0] == "builtin on 1 cpu, sequences of 1,024 tokens"
    assert any(line.startswith("tokens ") and "54,001,664  exact" in line for line in lines)
    assert any(line.startswith("tokens per step ") and line.endswith("32,768  exact     32 x 1024") for line in lines)
    assert "FSDP2" not in result.out
    document: Any = invoke("plan", "--hardware", "cpu", "--model", "gpt2", "--batch-size", "2", "--json").document
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["activations"]["source"] == "2,048 tokens at once"
    assert rows["activations"]["value"] == activation_bytes(GPT2Config(), 2048, checkpointing=False, item_bytes=4)
    assert rows["share of the peak"]["basis"] == "assumed"  # it was measured on another machine
    assert rows["compute dtype"]["value"] == 2 * 4 * 50257 * 768


@pytest.mark.parametrize(
    ("given", "same"), [(("--mfu", "40%"), ("--mfu", "0.4")), (("--tokens", "10B"), ("--tokens", "10e9"))]
)
def test_percent_and_suffixes_are_numbers(given: tuple[str, ...], same: tuple[str, ...]) -> None:
    assert invoke("plan", *given, "--json").document == invoke("plan", *same, "--json").document


def test_every_value_has_its_unit_or_is_of_what_its_name_says() -> None:
    lines = invoke("plan", "--tokens", "1k", "--devices", "1").out.splitlines()
    units = ("parameters ", "tokens ", "steps ", "FLOP ", "GB ", "FLOP/s ", "$", "/h ", "% ", " h ")
    rows = [line for line in lines[3:] if not line.startswith(" ")]
    assert all(any(unit in line[:44] for unit in units) for line in rows)


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("model", ["gpt2-xl", "builtin"])
def test_no_line_is_longer_than_the_terminal(columns: int, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = invoke("plan", "--model", model, "--hardware", "a100", "--tokens", "900B").out.splitlines()
    assert max(map(len, lines)) <= columns
    words = [word for line in lines if line.startswith(" ") or "FSDP2: compute dtype" in line for word in line.split()]
    source = "two blocks gathered, embeddings, the output matrix and its gradient"
    assert source in " ".join(words)


def test_a_checkpoint_is_planned_by_its_name_at_its_own_context(tiny: str) -> None:
    result = invoke("plan", "--model", tiny, "--hardware", "a100", "--devices", "1")
    assert result.out.startswith("tiny on 1 a100, sequences of 32 tokens")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hardware", "tpu"), "--hardware must be one of a100, h100, h200, cpu, not 'tpu'"),
        (("--mfu", "2"), "--mfu must be from 0 to 1, such as 5% or 0.05, not '2'"),
        (("--mfu", "0"), "--mfu must be from 0.001 to 1, not 0"),
        (("--mfu", "half"), "--mfu must be from 0 to 1, such as 5% or 0.05, not 'half'"),
        (("--tokens", "10X"), "--tokens must be a number, such as 300000, 10M or 2.5B, not '10X'"),
        (("--n-ctx", "4096"), "--n-ctx must be at most 1024"),
        (("--tokens", "nan"), "--tokens must be a positive number"),
        (("--tokens", "1e30"), "--tokens must be a positive number below 1e18, not 1e+30"),
    ],
)
def test_invalid_arguments_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = invoke("plan", *arguments)
    assert (result.code, message in result.error) == (2, True)
