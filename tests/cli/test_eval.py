import hashlib
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

import cutaway
from cutaway.errors import INTERRUPTED
from cutaway.evaluation.evaluate import Evaluation, evaluate
from cutaway.evaluation.paper_tasks import TASKS, Result
from cutaway.model import Model
from cutaway.tasks import Task, open_task
from tests.cli.invoke import invoke
from tests.tasks.models import save_translator

TEXT = "A robot must obey the orders given it\n"
PTB = " no it was n't black monday \n but mr. <unk> did n't \n"


@pytest.fixture
def model(tiny: str) -> Model:
    return cutaway.load(tiny, engine="reference")


def command(tiny: str) -> tuple[str, ...]:
    return ("eval", "--engine", "reference", "--model", tiny)


def sha256(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


class TestDocuments:
    def test_prints_scores_errors_windows_and_the_hash(self, tiny: str, tmp_path: Path, model: Model) -> None:
        path = tmp_path / "two.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in (TEXT, "So must I.")), encoding="utf-8")
        evaluation = evaluate(model, [TEXT, "So must I."])
        score = evaluation.score
        result = invoke(*command(tiny), str(path))
        assert (result.code, result.err) == (0, "")
        assert result.out.splitlines() == [
            "2 documents, 13 tokens, 48 bytes",
            f"nats per token  {score.nats_per_token:,.4f} ± {evaluation.nats_per_token_error:,.4f}",
            f"perplexity      {score.perplexity:,.3f} ± {evaluation.perplexity_error:,.3f}",
            f"bits per byte   {score.bits_per_byte:.4f} ± {evaluation.bits_per_byte_error:.4f}",
            "windows of 32 tokens, overlapping by 16 (stride 16)",
            "±: one standard error, over 2 documents",
            f"sha256 {sha256(path.read_bytes())}  {path}",
        ]

    @pytest.mark.parametrize("source", [("--text", TEXT), ("-",), ()])
    def test_reads_a_text_from_an_argument_or_a_pipe(self, tiny: str, source: tuple[str, ...], model: Model) -> None:
        score = model.score(TEXT)
        assert invoke(*command(tiny), "--json", *source, stdin=TEXT.encode()).document == {
            "model": "tiny",
            "engine": "reference",
            "dtype": "float32",
            "files": [{"path": "--text" if "--text" in source else "-", "bytes": 38, "sha256": sha256(TEXT)}],
            "documents": 1,
            "tokens": 9,
            "bytes": 38,
            "nats": score.nats,
            "nats_per_token": score.nats / 9,
            "perplexity": score.perplexity,
            "bits_per_byte": score.bits_per_byte,
            "standard_error": {
                "of": "windows",
                "units": 1,
                "nats_per_token": None,
                "perplexity": None,
                "bits_per_byte": None,
            },
            "n_ctx": 32,
            "stride": 16,
        }

    def test_files_of_several_kinds_are_one_corpus(self, tiny: str, tmp_path: Path) -> None:
        plain = tmp_path / "a.txt"
        plain.write_text(TEXT)
        packed = tmp_path / "b.jsonl.xz"
        packed.write_bytes(lzma.compress(json.dumps({"text": TEXT}).encode()))
        document = invoke(*command(tiny), "--json", str(plain), str(packed)).document
        assert (document["documents"], document["tokens"]) == (2, 18)
        assert document["files"] == [
            {"path": str(path), "bytes": len(path.read_bytes()), "sha256": sha256(path.read_bytes())}
            for path in (plain, packed)
        ]

    @pytest.mark.parametrize(
        ("arguments", "stride"),
        [((), 16), (("--window", "overlap"), 16), (("--window", "disjoint"), 32), (("--stride", "3"), 3)],
    )
    def test_windows(self, tiny: str, model: Model, arguments: tuple[str, ...], stride: int) -> None:
        text = TEXT * 6
        document = invoke(*command(tiny), "--json", "--text", text, *arguments).document
        assert document["stride"] == stride
        assert document["nats"] == evaluate(model, [text], stride).score.nats

    def test_of_a_pair_the_completion_is_scored_given_the_prompt(self, tiny: str, tmp_path: Path, model: Model) -> None:
        path = tmp_path / "pairs.jsonl"
        path.write_text('{"prompt": "A robot must", "completion": " obey the orders"}\n')
        document = invoke(*command(tiny), "--json", str(path)).document
        prompt = model.encode("A robot must")
        completion = model.encode(" obey the orders")
        nats = model.score([*prompt, *completion]).nats - model.score(prompt).nats
        assert document["nats"] == pytest.approx(nats)
        assert (document["tokens"], document["bytes"]) == (len(completion), len(" obey the orders"))

    def test_ids_are_scored_after_the_first(self, tiny: str, model: Model) -> None:
        ids = model.encode(TEXT)
        document = invoke(*command(tiny), "--json", "--ids", *map(str, ids)).document
        assert document["nats"] == model.score(ids).nats
        assert document["files"] == []

    def test_an_infinite_perplexity_is_null(self, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
        scores = (cutaway.Score(1e6, 1, 1), cutaway.Score(2e6, 1, 1))
        monkeypatch.setattr("cutaway.evaluation.evaluate.evaluate", lambda *_: Evaluation(scores, scores, 32, 16))
        document = invoke(*command(tiny), "--text", TEXT, "--json").document
        assert document["perplexity"] is None
        assert "perplexity      inf ± inf" in invoke(*command(tiny), "--text", TEXT).out

    def test_ctrl_c_says_how_far_it_came(self, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("cutaway.evaluation.evaluate.window_losses", interrupt)
        result = invoke(*command(tiny), "--text", TEXT)
        assert (result.code, result.out) == (INTERRUPTED, "")
        assert result.err == "cutaway: interrupted after 0 bytes\n"

    def test_ids_need_no_tokenizer(self, mute: str) -> None:
        result = invoke(*command(mute), "--ids", "1", "2")
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith("1 document, 1 token\nnats per token")
        assert "byte" not in result.out
        document = invoke(*command(mute), "--ids", "1", "2", "--json").document
        assert (document["tokens"], document["bytes"], document["bits_per_byte"]) == (1, None, None)

    def test_refuses_what_cannot_be_scored(self, tiny: str, mute: str, tmp_path: Path) -> None:
        for source in (("--text", ""), ("--ids", "5"), ("-",)):
            assert "nothing to score: all documents are empty" in invoke(*command(tiny), *source).error
        assert "nothing to score: give a FILE" in invoke(*command(tiny), terminal=True).error
        assert "none.txt: no such file or folder" in invoke(*command(tiny), str(tmp_path / "none.txt")).error
        assert "no such file: lambda; did you mean the task lambada?" in invoke("eval", "lambda", "f").error
        assert "give files, or --text, or --ids" in invoke(*command(tiny), "a.txt", "--text", "b").error
        assert "stride must be from 1 to 32" in invoke(*command(tiny), "--text", TEXT, "--stride", "33").error
        assert "not allowed with" in invoke("eval", "a", "--window", "overlap", "--stride", "3").error
        assert "no tokenizer files; give token ids instead of text" in invoke(*command(mute), "--text", "a").error


class TestTasks:
    @pytest.mark.parametrize("arguments", [(), ("--stride", "3")])
    def test_prints_metrics_beside_the_papers(self, tiny: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        path = tmp_path / "ptb.test.txt"
        path.write_text(PTB)
        document = invoke(*command(tiny), "ptb", str(path), "--json", *arguments).document
        perplexity = document["metrics"]["perplexity"]["value"]  # type: ignore[index]
        assert document["task"] == "ptb"
        assert document["published"] == {"perplexity": {"124M": 65.85, "355M": 47.33, "774M": 40.31, "1558M": 35.76}}
        assert document["stride"] == (3 if arguments else 32)
        assert document["is_published_file"] is False
        assert document["counts"]["words"] == 13  # type: ignore[index]
        lines = invoke(*command(tiny), "ptb", str(path), *arguments).out.splitlines()
        assert lines[0].startswith("Penn Treebank: 1 document, 1 window, 13 words, ")
        assert lines[1].split()[:2] == ["perplexity", f"{perplexity:,.2f}"]
        assert f"sha256 {sha256(PTB)}  {path}" in lines
        difference = "has 13 words, not the 82,430 of the published file: do not compare its scores with published ones"
        assert f"{path} {difference}" in lines
        assert lines[-1] == "paper, PTB ppl: 65.85 (124M), 47.33 (355M), 40.31 (774M), 35.76 (1558M)"

    def test_accuracies_are_in_percent(self, tiny: str, tmp_path: Path) -> None:
        path = tmp_path / "lambada_test_plain_text.txt"
        path.write_text("the robot said to him\nhe said no to her\n")
        lines = invoke(*command(tiny), "lambada", str(path)).out.splitlines()
        assert lines[0] == "LAMBADA: 2 examples"
        assert lines[2].split() == ["accuracy", "0.00", "±", "0.00", "%"]
        assert "±: one standard error, over 2 examples" in lines

    @pytest.mark.parametrize("name", TASKS)
    def test_takes_one_file(self, name: str) -> None:
        assert f"{name} takes one file, as in: cutaway eval {name} " in invoke("eval", name).error
        assert f"{name} takes one file" in invoke("eval", name, "a", "b").error


class TestPaper:
    def test_the_table_tells_what_was_not_run(self, tiny: str, tmp_path: Path) -> None:
        (tmp_path / "ptb.test.txt").write_text(PTB)
        document = invoke(*command(tiny), "paper", "--data", str(tmp_path), "--json", "--window", "overlap").document
        columns = {column["title"]: column for column in document["columns"]}  # type: ignore[attr-defined]
        assert len(columns) == 10
        assert [title for title, column in columns.items() if column["score"]] == ["PTB ppl"]
        assert document["tasks"]["ptb"]["stride"] == 16  # type: ignore[index]
        result = invoke(*command(tiny), "paper", "--data", str(tmp_path))
        lines = result.out.splitlines()
        assert lines[0].split() == ["124M", "355M", "774M", "1558M", "tiny"]
        assert "tiny: by recipes written from the paper, none checked with its models on its files" in lines
        assert lines[2].split() == ["LAMBADA", "acc", "45.99", "55.48", "60.12", "63.24", "not", "run"]
        assert lines[6].split()[:6] == ["PTB", "ppl", "65.85", "47.33", "40.31", "35.76"]
        assert result.out.count("not run: put ") == 8
        assert f"ptb: sha256 {sha256(PTB)}  {tmp_path / 'ptb.test.txt'}, stride 32" in lines
        assert f"ptb: {tmp_path / 'ptb.test.txt'} has 13 words, not the 82,430 of the published file" in result.out

    def test_two_columns_come_from_one_file(self, tiny: str, tmp_path: Path) -> None:
        (tmp_path / "lambada_test.jsonl").write_text('{"text": "the robot said to him"}\n')
        out = invoke(*command(tiny), "paper", "--data", str(tmp_path), "--stride", "8").out
        assert out.count("not run: put ") == 8
        assert out.count("  not run\n") == 8
        assert "failed" not in out  # for a stride, which goes to running text alone

    def test_a_task_that_fails_does_not_lose_the_others(self, tiny: str, tmp_path: Path) -> None:
        (tmp_path / "ptb.test.txt").write_text(PTB)
        (tmp_path / "text8").write_bytes(b"one \xff two")
        (tmp_path / "lambada_test.jsonl").write_text('{"text": "one"}\n')
        result = invoke(*command(tiny), "paper", "--data", str(tmp_path))
        assert result.code == 2
        lines = result.out.splitlines()
        assert [line.split()[-1] for line in lines[1:3]] == ["failed", "failed"]
        assert lines[6].split()[-1] not in ("run", "failed")
        assert "text8: failed: " in result.out
        *failures, last = result.err.splitlines()
        assert [line.split(": ")[1] for line in failures] == ["lambada", "text8"]
        assert last == "cutaway: 2 of 3 tasks failed; the others are above"
        assert "text8: not run" not in result.out
        written = json.loads(invoke(*command(tiny), "paper", "--data", str(tmp_path), "--json").out)
        assert [*written["failed"]] == ["lambada", "text8"]
        assert [*written["tasks"]] == ["ptb"]

    def test_so_does_one_for_which_memory_is_too_small(
        self, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run(*_: object) -> Result:
            raise MemoryError

        monkeypatch.setitem(TASKS, "ptb", replace(TASKS["ptb"], run=run))
        (tmp_path / "ptb.test.txt").write_text(PTB)
        (tmp_path / "text8").write_text("one two")
        result = invoke(*command(tiny), "paper", "--data", str(tmp_path))
        assert (result.code, "text8: sha256" in result.out, "ptb: not enough memory" in result.err) == (5, True, True)

    def test_ctrl_c_prints_the_tasks_that_are_finished(
        self, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object) -> Result:
            raise KeyboardInterrupt

        monkeypatch.setitem(TASKS, "enwik8", replace(TASKS["enwik8"], run=interrupt))
        for name in ("ptb.test.txt", "enwik8", "text8"):
            (tmp_path / name).write_text(PTB)
        result = invoke(*command(tiny), "paper", "--data", str(tmp_path))
        assert result.code == INTERRUPTED
        assert "ptb: sha256" in result.out
        assert "text8: sha256" not in result.out

    def test_an_invalid_stride_is_refused_before_any_task(self, tiny: str, tmp_path: Path) -> None:
        (tmp_path / "ptb.test.txt").write_text(PTB)
        refused = invoke(*command(tiny), "paper", "--data", str(tmp_path), "--stride", "33")
        assert "stride must be from 1 to 32" in refused.error

    def test_without_data_nothing_is_run(self, tiny: str) -> None:
        assert invoke(*command(tiny), "paper").out.count("  not run\n") == 10

    def test_refuses_other_arguments(self, tmp_path: Path) -> None:
        assert "paper takes no files" in invoke("eval", "paper", "x").error
        assert "no such folder" in invoke("eval", "paper", "--data", str(tmp_path / "none")).error
        assert "--data goes with paper" in invoke("eval", "x", "--data", str(tmp_path)).error


class TestLearnedTasks:
    @pytest.fixture
    def model(self, tmp_path: Path) -> str:
        return str(save_translator(tmp_path / "translator"))

    @pytest.fixture
    def pairs(self, tmp_path: Path) -> str:
        path = tmp_path / "pairs.jsonl"
        lines = [
            {"from": "en", "to": "de", "source": text, "target": "eine kleine Nacht ist es"} for text in ("night", "a")
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(path)

    def test_the_table_has_scores_floors_control_hash_and_seed(self, model: str, pairs: str) -> None:
        arguments = ("eval", "--task", "translation", pairs, "--model", model, "--beams", "1", "--train", pairs)
        out = invoke(*arguments).out
        assert out.startswith("translation, en to de: 2 examples\n")
        for word in ("model  ", "copy  ", "nearest  ", "shuffled source", "100.00", "seed 1", "tok:13a", "sha256 "):
            assert word in out
        document = json.loads(invoke(*arguments, "--json", "--limit", "1").out)
        [result] = document["results"]
        assert (document["seed"], document["decoding"]["beams"], result["examples"]) == (1, 1, 1)
        assert result["scores"]["nearest"]["bleu"]["value"] == pytest.approx(100)
        assert len(result["outputs"]) == 1

    def test_invalid_arguments_are_one_line(self, model: str, pairs: str) -> None:
        of_task = ("eval", "--task", "translation", "--model", model)
        assert "--task takes one FILE" in invoke(*of_task).error
        assert "unknown task 'translate'" in invoke("eval", "--task", "translate", pairs, "--model", model).error
        assert "beams must be from 1" in invoke(*of_task, pairs, "--beams", "0").error
        no_tokens = invoke("eval", "--task", "translation", pairs, "--engine", "reference")
        assert "no control token <|en|>" in no_tokens.error
        assert "--limit must be at least 1" in invoke(*of_task, pairs, "--limit", "0").error
        assert "--seed must be at least 0" in invoke(*of_task, pairs, "--seed", "-1").error
        assert "--task takes one FILE" in invoke(*of_task, pairs, "--stride", "8").error
        assert "--limit goes with --task" in invoke("eval", "--text", "a", "--limit", "3").error

    def test_the_signature_counts_references(self, model: str, tmp_path: Path) -> None:
        path = tmp_path / "several.jsonl"
        lines = [{"from": "en", "to": "de", "source": "a", "target": targets} for targets in (["b", "c"], "b")]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        of_task = ("eval", "--task", "translation", str(path), "--model", model, "--beams", "1", "--json")
        assert json.loads(invoke(*of_task).out)["signature"].startswith("nrefs:var|")
        assert json.loads(invoke(*of_task, "--limit", "1").out)["signature"].startswith("nrefs:2|")

    def test_the_task_that_a_model_has_learned_is_found_by_its_name(self, tmp_path: Path) -> None:
        own = Task.parse(open_task("reverse").toml.replace('"reverse"', '"backwards"').replace("source", "line"))
        model = str(save_translator(tmp_path / "own", own))
        path = tmp_path / "lines.jsonl"
        path.write_text('{"line": "a b", "target": "b a"}')
        arguments = (str(path), "--model", model, "--engine", "reference", "--json")
        document = json.loads(invoke("eval", "--task", "backwards", *arguments).out)
        assert (document["task"], document["signature"]) == ("backwards", None)
        assert json.loads(invoke("generate", "--task", "backwards", "--file", *arguments).out)["task"] == "backwards"


def test_music_is_scored_by_its_ids(tmp_path: Path) -> None:
    piece = str(tmp_path / "piece.MID")
    error = invoke("eval", "--model", "builtin-piano", piece).error
    assert f"{piece} is music, not text; score its ids: cutaway eval --model builtin-piano --ids $(" in error
    assert f"$(cutaway music encode {piece})" in error
