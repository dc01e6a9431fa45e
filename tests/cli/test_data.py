"""`cutaway data`: preparing a corpus, and looking at it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cutaway.cli.data import ProgressMeter, progress_line
from cutaway.data.dataset import open_dataset
from cutaway.data.prepare import Progress
from cutaway.errors import INTERRUPTED
from cutaway.music.performance import Note, Performance
from tests.cli.invoke import invoke

RECORDS = [{"text": "A robot must obey.\nAlways."}, {"prompt": "Who?", "completion": " A <|endoftext|>"}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


@pytest.fixture
def corpus(file: Path) -> str:
    directory = str(file.parent / "tokens")
    assert invoke("data", "prepare", str(file), "--out", directory, "--workers", "1").code == 0
    return directory


def test_verify_compares_all_files_with_the_manifest(corpus: str) -> None:
    paths = [path for path in Path(corpus).rglob("*") if path.is_file() and path.name != "manifest.json"]
    size = sum(path.stat().st_size for path in paths)
    assert invoke("data", "verify", corpus).out == f"{corpus}: as it was prepared: 1 shard, {size:,} bytes\n"
    assert invoke("data", "verify", corpus, "--json").document == {"directory": corpus, "shards": 1, "bytes": size}


@pytest.mark.parametrize("name", ["train-00000.tokens.npy", "train-00000.documents.npy", "train-00000.learned.npy"])
@pytest.mark.parametrize("damage", ["flipped", "longer", "missing"])
@pytest.mark.slow
def test_verify_names_the_shard_that_is_damaged(corpus: str, name: str, damage: str) -> None:
    path = Path(corpus, name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data if damage == "flipped" else path.read_bytes() + b"x")
    if damage == "missing":
        path.unlink()
    result = invoke("data", "verify", corpus)
    named = (
        f"{path}: missing; prepare" if damage == "missing" else f"{corpus}/train-00000.*.npy: changed since the corpus"
    )
    assert (result.code, result.error[: len(named) + 9]) == (2, f"cutaway: {named}")


def test_verify_ignores_what_a_file_manager_left_beside_the_tokenizer(corpus: str) -> None:
    before = invoke("data", "verify", corpus).out
    Path(corpus, "tokenizer", ".DS_Store").write_bytes(b"Bud1")
    assert invoke("data", "verify", corpus).out == before


def test_verify_names_the_tokenizer_that_is_damaged(corpus: str) -> None:
    path = Path(corpus, "tokenizer", "merges.txt")
    path.write_bytes(path.read_bytes() + b"\n")
    assert invoke("data", "verify", corpus).error.startswith(f"cutaway: {corpus}/tokenizer: changed since the corpus")


@pytest.mark.slow
def test_prepare_reports_counts(file: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "tokens")
    held = tmp_path / "held.jsonl"
    held.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    result = invoke("data", "prepare", str(file), "--out", out, "--valid", str(held))
    assert result.code == 0
    counts = "20 tokens in 2 documents, 46 bytes of text"
    assert result.out == f"train: {counts}\nvalid: {counts}\n"
    assert result.err == "cutaway: control tokens occur by name in the text, 2 times, and are encoded as text\n"
    assert open_dataset(out).split("valid").n_tokens == 20


def test_prepare_gives_a_document(file: Path, tmp_path: Path) -> None:
    document = invoke("data", "prepare", str(file), "--out", str(tmp_path / "tokens"), "--json").document
    splits = document["splits"]
    assert isinstance(splits, dict)
    assert splits["train"]["tokens"] == 20
    assert splits["train"]["shards"] == 1
    assert document["control_literals"] == 1


def test_the_same_command_says_that_the_corpus_is_complete(corpus: str, file: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(corpus).rglob("*")}
    command = ("data", "prepare", str(file), "--out", corpus)
    result = invoke(*command)
    assert (result.code, result.out) == (0, "train: 20 tokens in 2 documents, 46 bytes of text\n")
    assert f"cutaway: {corpus}: is complete, of these files and options; nothing was written\n" in result.err
    assert invoke(*command, "--json").document["directory"] == corpus
    other = invoke(*command, "--valid", "5%")
    assert (other.code, "(valid 5% instead of valid 0%); choose another --out" in other.error) == (2, True)
    assert {path: path.stat().st_mtime_ns for path in Path(corpus).rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nothing.txt"], "nothing.txt: no such file or folder"),
        *(
            (
                ["a.jsonl", "--valid", valid],
                f"--valid must be a share of at most 50%, such as 5% or 0.05, or a file, not '{valid}'",
            )
            for valid in ("1", "60%", "half")
        ),
        (["a.jsonl", "--workers", "0"], "--workers must be at least 1"),
        (["a.jsonl", "--field", "body"], 'a.jsonl:1: must be {"body"}, '),
        (["a.jsonl", "--out", "."], "is not an empty directory"),
        (["a.jsonl", "--valid", "1%"], "--valid 1% draws none of 2 documents;"),
    ],
)
def test_mistakes_are_one_line(file: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], part: str) -> None:
    monkeypatch.chdir(file.parent)
    result = invoke("data", "prepare", "--out", "tokens", "--workers", "1", *arguments)
    assert result.code == 2
    assert part in result.error


@pytest.mark.slow
def test_another_tokenizer_is_used(file: Path, tmp_path: Path) -> None:
    from cutaway import Tokenizer

    Tokenizer.gpt2().save(tmp_path / "mine")
    out = tmp_path / "tokens"
    assert invoke("data", "prepare", str(file), "--out", str(out), "--tokenizer", str(tmp_path / "mine")).code == 0
    assert open_dataset(out).manifest.tokenizer.name == str(tmp_path / "mine")


SHOWN = """\
train: 20 tokens in 2 documents, 46 bytes of text (2.30 per token)
tokens that count in the loss are shown ⟦like this⟧

document 0, 9 tokens
⟦<|endoftext|>⟧│⟦A⟧│⟦␣robot⟧│⟦␣must⟧│⟦␣obey⟧│⟦.⟧│⟦\\n⟧
⟦Always⟧
… 1 more token

document 1, 11 tokens
⟦<|endoftext|>⟧│Who│?│⟦␣A⟧│⟦␣<⟧│⟦|⟧│⟦end⟧│⟦of⟧
… 3 more tokens
"""


def test_show_marks_tokens_documents_and_the_mask(corpus: str) -> None:
    assert invoke("data", "show", corpus, "--tokens", "8").out == SHOWN


def test_show_has_colours_on_a_terminal_only(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = invoke("data", "show", corpus, terminal=True).out
    assert "\x1b[34m␣A\x1b[0m" in coloured
    assert "⟦" not in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in invoke("data", "show", corpus, terminal=True).out


def test_show_begins_where_it_is_asked_to(corpus: str) -> None:
    shown = invoke("data", "show", corpus, "--document", "1", "--n", "5").out
    assert "document 0" not in shown
    assert "document 1, 11 tokens" in shown


def test_show_fits_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("antidisestablishmentarianism 机器人 " * 50)
    out = str(tmp_path / "tokens")
    assert invoke("data", "prepare", str(tmp_path / "a.txt"), "--out", out, "--workers", "1").code == 0
    assert max(map(len, invoke("data", "show", out).out.splitlines())) <= 80


def test_show_gives_a_document(corpus: str) -> None:
    document = invoke("data", "show", corpus, "--json", "--n", "1", "--document", "1").document
    shown = document["shown"]
    assert isinstance(shown, list)
    assert [part["document"] for part in shown] == [1]
    assert shown[0]["labels"][:4] == ["<|endoftext|>", "Who", "?", "␣A"]
    assert shown[0]["learned"][:4] == [True, False, False, True]
    assert (document["tokens"], document["documents"]) == (20, 2)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--split", "test"], "no split 'test', only train"),
        (["--document", "2"], "--document must be from 0 to 1, not 2"),
        (["--n", "0"], "--n must be at least 1"),
        (["--tokens", "0"], "--tokens must be at least 1"),
    ],
)
def test_show_refuses_what_is_not_there(corpus: str, arguments: list[str], part: str) -> None:
    assert part in invoke("data", "show", corpus, *arguments).error


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize("moment", [0.0, 0.1, 1.0])  # workers not there, starting, at work
@pytest.mark.slow
def test_ctrl_c_says_that_the_same_command_continues(tmp_path: Path, moment: float) -> None:
    (tmp_path / "a.txt").write_text("A robot must obey the orders given it. " * 400_000)
    command = [sys.executable, "-m", "cutaway", "data", "prepare", "a.txt", "--out", "tokens", "--workers", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not (tmp_path / "tokens" / "progress.jsonl").exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
        _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert err == "cutaway: interrupted; the same command continues\n"


def test_progress_is_one_line_of_a_terminal_or_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.0, 2.0, 30.0, 40.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    meter = ProgressMeter()
    for done in (10, 20, 30, 40):
        meter.update(Progress(done * 10**6, 10**8, done))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "cutaway: 30 %, 30.0 of 100.0 MB, 30 tokens, 0.7 MB/s, 1m45s left",
        "cutaway: 40 %, 40.0 of 100.0 MB, 40 tokens, 0.8 MB/s, 1m20s left",
    ]


def test_hours_are_told() -> None:
    assert progress_line(Progress(10**6, 10**10, 5), 10**6, 1).endswith("1.0 MB/s, 2h46m left")


def test_a_rate_that_is_not_known_yet_is_not_told() -> None:
    assert progress_line(Progress(10**6, 10**8, 5), 0, 2.0) == "1 %, 1.0 of 100.0 MB, 5 tokens"
    assert progress_line(Progress(0, 0, 0), 0, 0).startswith("0 %, 0.0 of 0.0 MB")


@pytest.fixture
def song(tmp_path: Path) -> str:
    Performance.of([Note(0.0, 0.5, 60, 80), Note(0.5, 1.0, 64, 80)]).to_midi().write(tmp_path / "song.mid")
    return str(tmp_path / "song.mid")


def test_music_is_prepared_and_shown(song: str, tmp_path: Path) -> None:
    out = str(tmp_path / "tokens")
    result = invoke("data", "prepare", "--codec", "perf388", song, "--out", out, "--copies", "3")
    assert (result.code, result.out) == (0, "train: 24 tokens in 3 versions of pieces\n")
    shown = invoke("data", "show", out, "--n", "1").out
    assert "end│velocity 80│C4 on│500 ms│C4 off│E4 on│500 ms│E4 off" in shown


def test_music_is_counted_as_json(song: str, tmp_path: Path) -> None:
    out = str(tmp_path / "tokens")
    document = invoke("data", "prepare", "--codec", "perf388", song, "--out", out, "--json").document
    assert document["splits"] == {"train": {"tokens": 8, "documents": 1, "bytes": 0, "learned_tokens": 8, "shards": 1}}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--codec", "midi"), "--codec must be perf388 or satb16, not 'midi'"),
        (("--codec", "perf388", "--tokenizer", "gpt2"), "--codec is for music, --tokenizer and --ray are for text"),
        (("--copies", "2"), "--copies is for music: give its --codec too"),
    ],
)
def test_music_and_text_are_not_mixed(arguments: tuple[str, ...], reason: str, song: str, tmp_path: Path) -> None:
    result = invoke("data", "prepare", song, "--out", str(tmp_path / "tokens"), *arguments)
    assert (result.code, result.error) == (2, f"cutaway: {reason}\n")
