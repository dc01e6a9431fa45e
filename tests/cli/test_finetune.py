import json
from pathlib import Path

import pytest

from cutaway.tokenizer.fast import Tokenizer
from tests.cli.invoke import invoke


@pytest.fixture
def command(tiny: str, tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n} is", "completion": f" {n}"}) + "\n" for n in range(8)))
    steps = ("--max-steps", "2", "--eval-every", "1", "--batch-size", "2", "--device", "cpu")
    return ("finetune", "--model", tiny, "--data", str(path), "--out", str(tmp_path / "run"), *steps)


@pytest.mark.slow
def test_shows_the_model_before_and_after_and_where_it_is(command: tuple[str, ...], tmp_path: Path) -> None:
    result = invoke(*command)
    assert result.code == 0
    out = result.out.splitlines()
    assert out[0].startswith("before  validation loss ")
    assert "bits/byte" in out[0]
    assert any(line.startswith("after   validation loss ") for line in out)
    assert out[-1].startswith(f"{tmp_path}/run/model: step ")
    assert "is kept; cutaway generate --model" in out[-1]
    assert "tokens to learn in 7 examples, 1 to validate on" in result.err
    assert "parameters are trained" in result.err
    assert result.err.count("parameters") == 1


@pytest.mark.slow
def test_json_has_the_measurements_and_samples_of_both(command: tuple[str, ...], tmp_path: Path) -> None:
    document = invoke(*command, "--json").document
    assert document["model"] == str(tmp_path / "run" / "model")
    for name in ("before", "after"):
        part = document[name]
        assert isinstance(part, dict)
        assert part.keys() >= {"valid_loss", "bits_per_byte", "copy_rate", "samples"}
        assert [sample.keys() for sample in part["samples"]] == [{"prompt", "text", "finish_reason"}] * 3


@pytest.mark.slow
def test_the_adapter_of_lora_generates(command: tuple[str, ...], tmp_path: Path) -> None:
    assert "LoRA on 8 of 8 matrices" in invoke(*command, "--method", "lora").err
    model = str(tmp_path / "run" / "model")
    assert invoke("generate", "--model", model, "--engine", "reference", "1 is", "--max-new-tokens", "2").code == 0
    assert invoke("convert", model, str(tmp_path / "merged")).code == 0


def test_mistakes_are_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    assert "did you mean --lora-r" in invoke(*command, "--lora-rr", "4").error
    assert "cutaway: --method must be full, last, lora" in invoke(*command, "--method", "all").error
    assert (
        "cutaway: --lora-targets must be matrices"
        in invoke(*command, "--method", "lora", "--lora-targets", "wte").error
    )
    assert "cutaway: --merge needs the method lora" in invoke(*command, "--merge").error
    assert "no data: give --data FILE" in invoke("finetune", "--out", str(tmp_path / "run")).error
    (tmp_path / "data.jsonl").write_text('{"text": "a"}\n{"text": 1}\n')
    assert "data.jsonl:2: 'text' must be text, not 1" in invoke(*command).error
    (tmp_path / "data.jsonl").write_text(json.dumps({"prompt": "a", "completion": " end" * 40}))
    assert "data.jsonl:1: the completion has 41 tokens with its end" in invoke(*command, "--valid", "0%").error
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_is_not_made_a_run(command: tuple[str, ...], tmp_path: Path) -> None:
    Tokenizer.gpt2().save(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    result = invoke(*command)
    assert result.code == 2
    assert "run: holds vocab.json but no checkpoints, so it is not a run: use another --out" in result.error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_of_a_long_prompt_the_end_is_shown_and_what_follows(tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    records = ({"prompt": "international " * 40 + f"near {n}", "completion": f" {n}"} for n in range(8))
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    steps = ("--max-steps", "1", "--batch-size", "2", "--device", "cpu")
    result = invoke("finetune", "--model", tiny, "--data", str(path), "--out", str(tmp_path / "run"), *steps)
    assert result.code == 0
    shown = result.out.split("after")[0]
    assert "  | …" in shown
    assert "near" in shown
