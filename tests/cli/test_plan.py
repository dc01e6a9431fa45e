from typing import Any

import pytest

from tests.cli.invoke import invoke


def test_prints_a_table_in_which_each_row_has_its_basis() -> None:
    result = invoke("plan", "--model", "gpt2-xl", "--tokens", "10e9", "--hardware", "h100", "--devices", "8")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "gpt2-xl on 8 h100, sequences of 1,024 tokens"
    bases = ("exact", "computed", "measured", "published", "assumed")
    assert all(any(basis in line for basis in bases) for line in lines[3:])
    assert any(line.startswith("parameters") and "1,557,611,200" in line for line in lines)
    assert any(line.startswith("hours at 49%") and "7.4 h" in line for line in lines)


def test_json_has_the_rows() -> None:
    document: Any = invoke("plan", "--mfu", "0.5", "--json").document
    assert (document["model"], document["hardware"], document["devices"]) == ("gpt2", "h100", 8)
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["parameters"] == {
        "name": "parameters",
        "value": 124_439_808,
        "unit": "",
        "basis": "exact",
        "source": "the tensors' shapes",
    }
    assert rows["share of the peak"]["value"] == 0.5


def test_a_checkpoint_is_planned_at_its_own_context(tiny: str) -> None:
    result = invoke("plan", "--model", tiny, "--hardware", "a100", "--devices", "1")
    assert f"{tiny} on 1 a100, sequences of 32 tokens" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hardware", "tpu"), "hardware must be one of a100, h100, h200, cpu, not 'tpu'"),
        (("--mfu", "2"), "mfu must be from 0.001 to 1, not 2"),
        (("--n-ctx", "4096"), "n_ctx must be at most 1024"),
        (("--tokens", "nan"), "tokens must be a positive number"),
    ],
)
def test_invalid_arguments_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = invoke("plan", *arguments)
    assert (result.code, message in result.error) == (2, True)
