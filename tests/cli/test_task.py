"""`cutaway task`: what it lists, shows, makes and checks."""

import json
from pathlib import Path

from tests.cli.invoke import invoke


def test_list_and_show() -> None:
    listed = invoke("task", "list").out
    assert "translation" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert {"name": "reverse"}.items() <= json.loads(invoke("task", "list", "--json").out)[1].items()
    assert invoke("task", "show", "reverse").out.startswith('name = "reverse"\n')
    assert json.loads(invoke("task", "show", "reverse", "--json").out)["name"] == "reverse"
    result = invoke("task", "show", "revers")
    assert result.code == 2
    assert "unknown task 'revers'; did you mean reverse?" in result.error


def test_what_is_made_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(invoke("task", "make", "reverse", "--n", "5").out)
    out = invoke("task", "check", "reverse", str(path), "--n", "2").out
    assert "example 2, " in out
    assert "example 3, " not in out
    assert "⟦<|endoftext|>⟧" in out
    assert "5 examples: " in out
    assert "0 prompts truncated" in out


def test_what_is_cut_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"source": "a " * 40, "target": "a"}))
    assert "tokens of source are cut" in invoke("task", "check", "reverse", str(path), "--n-ctx", "16").out
    document = json.loads(invoke("task", "check", "reverse", str(path), "--n-ctx", "16", "--json").out)
    [shown] = document["shown"]
    assert document["truncated"] == 1
    assert shown["cut"] == 34
    assert sum(shown["learned"]) == document["learned"] == 2
    assert shown["n_prefix"] == 8


def test_of_a_long_example_both_ends_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"source": "a " * 40, "target": "b"}))
    out = invoke("task", "check", "reverse", str(path), "--tokens", "7").out
    assert "…" in out
    assert out.count("│") == 5
    assert "⟦b⟧│⟦<|endoftext|>⟧" in out


def test_an_invalid_record_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"source": "a"}\n')
    result = invoke("task", "check", "reverse", str(path))
    assert result.code == 2
    assert "a.jsonl:1: missing key 'target'" in result.error
