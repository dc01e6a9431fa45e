import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import cutaway
from cutaway.cli import make_parser
from cutaway.cli.generate import read_overrides
from cutaway.cli.samples import in_order
from cutaway.generation import sampling
from cutaway.generation.config import FIELDS
from cutaway.generation.stream import Chunk
from tests.cli.invoke import Result, Stream, invoke
from tests.tasks.models import save_translator

PROMPT = "A robot must obey"


def generate(model: str, *arguments: str, stdin: bytes = b"", terminal: bool = False) -> Result:
    command = ("generate", "--engine", "reference", "--model", model, "--max-new-tokens", "6")
    return invoke(*command, *arguments, stdin=stdin, terminal=terminal)


def expected(model: str, prompt: str, seed: int) -> cutaway.Completion:
    return cutaway.load(model, engine="reference").generate(prompt, max_new_tokens=6, seed=seed)


class TestText:
    def test_equals_python(self, tiny: str) -> None:
        result = generate(tiny, "--seed", "1", PROMPT)
        assert result.code == 0
        assert result.out == expected(tiny, PROMPT, 1).text + "\n"

    def test_ends_with_a_line_about_it_on_standard_error(self, tiny: str) -> None:
        (line,) = generate(tiny, "--seed", "1", PROMPT).err.splitlines()
        assert line.startswith("6 tokens, ")
        assert " tokens/s, first after " in line
        assert line.endswith(" s, seed 1, reference float32, finished by length")

    def test_the_reported_seed_reproduces_the_text(self, tiny: str) -> None:
        first = generate(tiny, PROMPT)
        seed = first.err.split("seed ")[1].split(",")[0]
        assert generate(tiny, "--seed", seed, PROMPT).out == first.out

    def test_follows_the_settings(self, tiny: str) -> None:
        def written(*settings: str) -> list[str]:
            return generate(tiny, "--seed", "5", *settings, PROMPT).out.split("\n")

        greedy = written("--temperature", "0")
        assert greedy == written("--top-k", "1") == written("--top-p", "1e-9")
        assert greedy != written()
        assert len(written("--max-new-tokens", "2")[0]) < len(written()[0])

    def test_stops_before_a_stop_string(self, tiny: str) -> None:
        full = expected(tiny, PROMPT, 1).text
        result = generate(tiny, "--seed", "1", "--stop", "§§", "--stop", full[5:8], PROMPT)
        assert result.out == full[:5] + "\n"
        assert "finished by stop" in result.err

    def test_shifts_the_context_when_asked(self, tiny: str) -> None:
        long = " ".join(["robot"] * 40)
        refused = generate(tiny, long)
        assert refused.code == 2
        assert "41 tokens long, the context holds 32" in refused.error
        assert generate(tiny, "--context-shift", long).code == 0

    def test_of_several_samples_comes_one_after_the_other(self, tiny: str) -> None:
        result = generate(tiny, "-n", "2", "--seed", "7", PROMPT)
        texts = [expected(tiny, PROMPT, seed).text for seed in (7, 8)]
        assert result.out == f"--- 1 of 2, seed 7 ---\n{texts[0]}\n--- 2 of 2, seed 8 ---\n{texts[1]}\n"
        assert "12 tokens, " in result.err
        assert "seeds 7 to 8" in result.err

    def test_with_log_probabilities_has_a_line_for_each_token(self, tiny: str) -> None:
        full = cutaway.load(tiny, engine="reference").generate(PROMPT, max_new_tokens=6, seed=1, logprobs=True)
        lines = [line.split() for line in generate(tiny, "--seed", "1", "--logprobs", PROMPT).out.splitlines()]
        assert [int(line[0]) for line in lines] == list(full.ids)
        assert [line[1] for line in lines] == [f"{value:.3f}" for value in full.logprobs]

    def test_is_made_of_ids_without_a_tokenizer(self, mute: str) -> None:
        result = generate(mute, "--ids", "4", "2", "--seed", "1")
        ids = cutaway.load(mute, engine="reference").generate([4, 2], max_new_tokens=6, seed=1).ids
        assert [int(word) for word in result.out.split()] == list(ids)
        assert "tokenizer" in generate(mute, PROMPT).error


class TestPrompt:
    @pytest.mark.parametrize("ending", ["", "\n"])
    def test_comes_from_a_pipe(self, tiny: str, ending: str) -> None:
        data = (PROMPT + ending).encode()
        whole = expected(tiny, PROMPT, 1).text + "\n"
        assert generate(tiny, "--seed", "1", stdin=data).out == whole
        assert generate(tiny, "--seed", "1", "-", stdin=data).out == whole

    def test_comes_from_a_file(self, tiny: str, tmp_path: Path) -> None:
        (tmp_path / "prompt.txt").write_text("Café 机器人\r\n\n", encoding="utf-8", newline="")
        result = generate(tiny, "--seed", "1", "--file", str(tmp_path / "prompt.txt"))
        assert result.out == expected(tiny, "Café 机器人\r\n", 1).text + "\n"

    def test_a_prompt_argument_does_not_read_the_pipe(self, tiny: str) -> None:
        assert generate(tiny, "--seed", "1", PROMPT, stdin=b"\xff").out == expected(tiny, PROMPT, 1).text + "\n"

    def test_an_empty_prompt_begins_a_new_text(self, tiny: str) -> None:
        new = expected(tiny, "", 1).text + "\n"
        assert generate(tiny, "--seed", "1", "").out == generate(tiny, "--seed", "1", stdin=b"").out == new

    @pytest.mark.parametrize("source", ["argument", "pipe", "file"])
    def test_must_be_utf8(self, tiny: str, tmp_path: Path, source: str) -> None:
        (tmp_path / "latin").write_bytes(b"Caf\xe9")
        given = {"argument": [os.fsdecode(b"Caf\xe9")], "pipe": [], "file": ["--file", str(tmp_path / "latin")]}[source]
        result = generate(tiny, *given, stdin=b"Caf\xe9")
        assert result.code == 2
        assert "is not UTF-8 at byte 3" in result.error


class TestTerminal:
    def test_shows_the_prompt_before_the_text(self, tiny: str) -> None:
        result = generate(tiny, "--seed", "1", PROMPT, terminal=True)
        assert result.out == f"\x1b[1m{PROMPT}\x1b[0m{expected(tiny, PROMPT, 1).text}\n"
        assert result.err.startswith("\x1b[2m6 tokens")

    def test_has_a_line_for_the_prompt_where_each_token_has_one(self, tiny: str) -> None:
        lines = generate(tiny, "--logprobs", PROMPT, terminal=True).out.splitlines()
        assert lines[0] == f"\x1b[1m{PROMPT}\x1b[0m"
        assert len(lines) == 7

    def test_text_cannot_control_the_terminal(self, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert cutaway.Tokenizer.gpt2().decode([215]) == "\x1b"
        monkeypatch.setattr("cutaway.generation.batch.choose", lambda *_: 215)
        assert generate(tiny, "\x1b]0;title\x07", terminal=True).out == f"\x1b[1m␛]0;title␇\x1b[0m{'␛' * 6}\n"
        assert generate(tiny, PROMPT).out == "\x1b" * 6 + "\n"

    @pytest.mark.parametrize(("arguments", "terminal"), [(["--stream"], False), ([], True), ([], False)])
    def test_every_chunk_appears_at_once(
        self, tiny: str, arguments: list[str], terminal: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[int] = []

        def chosen(*given: Any) -> int:  # what the reader has when the next token is chosen
            stdout = sys.stdout
            assert isinstance(stdout, Stream)
            held.append(len(stdout.bytes.getvalue()))
            return sampling.choose(*given)

        monkeypatch.setattr("cutaway.generation.batch.choose", chosen)
        generate(tiny, "--seed", "1", *arguments, PROMPT, terminal=terminal)
        appeared = [held[i] < held[i + 1] for i in range(5)]
        assert all(appeared) if arguments or terminal else not any(appeared)


class TestJson:
    def test_has_the_text_and_how_it_came_about(self, tiny: str) -> None:
        document = generate(tiny, "--json", "--seed", "3", "-n", "2", "--logprobs", "--stop", "x", PROMPT).document
        assert (document["model"], document["engine"], document["dtype"]) == ("tiny", "reference", "float32")
        assert document["prompt_ids"] == cutaway.Tokenizer.gpt2().encode(PROMPT)
        assert (document["temperature"], document["top_k"], document["stop"]) == (1.0, 40, ["x"])
        samples = document["samples"]
        assert isinstance(samples, list)
        assert [sample["seed"] for sample in samples] == [3, 4]
        for sample in samples:
            assert cutaway.Tokenizer.gpt2().decode(sample["ids"]).startswith(sample["text"])
            assert len(sample["logprobs"]) == len(sample["ids"])
            assert sample["finish_reason"] in ("length", "stop")

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(prompt=st.text(st.characters(codec=None), max_size=8).filter(lambda text: not text.startswith("-")))
    @example(prompt="a\ud800")
    def test_always_parses(self, tiny: str, prompt: str) -> None:
        """A surrogate that stands for no byte is no text: no shell can give one, but a caller of `main` can."""
        result = generate(tiny, "--json", "--max-new-tokens", "2", prompt)
        try:
            prompt.encode("utf-8", "surrogateescape").decode()
        except UnicodeError:
            assert (result.code, result.out) == (2, "")
        else:
            assert isinstance(result.document["samples"], list)


def test_every_setting_is_an_option_but_the_special_tokens() -> None:
    options = {option for action in make_parser("generate")._actions for option in action.option_strings}
    expected = {"--" + name.replace("_", "-") for name in FIELDS if not name.endswith("_token_id")}
    assert expected <= options
    assert read_overrides(make_parser("generate").parse_args([])) == {}


def test_defaults_are_the_models_own(tiny: str, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "own")
    (tmp_path / "own" / "generation_config.json").write_text('{"do_sample": false, "top_k": 5}')
    document = generate(str(tmp_path / "own"), "--json", "--top-p", "0.5", PROMPT).document
    assert [document[name] for name in ("temperature", "top_k", "top_p", "max_new_tokens")] == [0.0, 5, 0.5, 6]


def test_top_log_probabilities_are_in_the_document(tiny: str) -> None:
    document = generate(tiny, "--json", "--top-logprobs", "2", "--temperature", "0", PROMPT).document
    samples = document["samples"]
    assert isinstance(samples, list)
    assert [top[0]["id"] for top in samples[0]["top_logprobs"]] == samples[0]["ids"]
    assert {len(top) for top in samples[0]["top_logprobs"]} == {2}


def test_in_order_holds_back_early_chunks() -> None:
    events = [(0, Chunk("a")), (1, Chunk("x")), (0, Chunk("b", finish_reason="length")), (1, Chunk("y"))]
    events += [(1, Chunk("z", finish_reason="stop"))]
    shown = [(row, chunk.text) for row, chunk in in_order(iter(events), 2)]
    assert shown == [(0, "a"), (0, "b"), (1, "x"), (1, "y"), (1, "z")]


class TestTasks:
    def test_records_are_answered_line_by_line(self, tmp_path: Path) -> None:
        model = str(save_translator(tmp_path / "translator"))
        record = json.dumps({"from": "en", "to": "de", "source": "night"})
        path = tmp_path / "records.jsonl"
        path.write_text(f"{record}\n{record}\n")
        arguments = ("generate", "--task", "translation", "--model", model, "--engine", "reference")
        one = invoke(*arguments, record).out
        assert invoke(*arguments, "--file", str(path)).out == 2 * one
        assert invoke(*arguments, stdin=path.read_bytes()).out == 2 * one
        assert one == invoke("translate", "night", "--model", model, "--engine", "reference").out
        document = json.loads(invoke(*arguments, record, "-n", "2", "--temperature", "1", "--seed", "3", "--json").out)
        [answered] = document["records"]
        assert answered["fields"]["source"] == "night"
        assert document["decoding"]["beams"] == 1
        assert len(answered["outputs"]) == 2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("{}",), "PROMPT:1: missing key 'from'"),
            (("{}", "--interactive"), "--task reads records: leave out --ids, --interactive"),
            (("--file", "no such file"), "no such file: cannot be read"),
        ],
    )
    def test_invalid_arguments_are_one_line(self, arguments: tuple[str, ...], message: str) -> None:
        result = invoke("generate", "--task", "translation", *arguments)
        assert result.code == 2
        assert message in result.error

    def test_settings_of_texts_do_not_go_with_tasks(self, tmp_path: Path) -> None:
        model = str(save_translator(tmp_path / "translator"))
        record = json.dumps({"from": "en", "to": "de", "source": "night"})
        result = invoke("generate", "--task", "translation", record, "--stop", "x", "--model", model)
        assert "--stop does not go with --task" in result.error
