"""`cutaway train`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cutaway.training.metrics_log import read_metrics
from cutaway.training.trainer import Trainer
from tests.cli.invoke import invoke
from tests.data.corpora import write_corpus

STORY = [50256, *range(100, 112)]
SMALL = {
    "n-layer": 1,
    "n-head": 2,
    "n-embd": 8,
    "n-ctx": 8,
    "batch-size": 4,
    "max-steps": 4,
    "warmup-steps": 2,
    "eval-every": 2,
    "average": 0.3,
}


def flags(settings: Mapping[str, float]) -> list[str]:
    return ["--device", "cpu", *(part for name, value in settings.items() for part in (f"--{name}", str(value)))]


FLAGS = flags(SMALL)

IN_A_TERMINAL = """
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("cutaway", run_name="__main__")
"""


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(write_corpus(tmp_path / "data", {"train": [[STORY] * 20], "valid": [[STORY] * 4]}))


def test_a_run_is_shown_and_leaves_a_model(tmp_path: Path, data: str) -> None:
    result = invoke("train", "--data", data, "--out", str(tmp_path / "run"), *FLAGS)
    assert result.code == 0
    model = tmp_path / "run" / "model"
    assert result.out == f"{model}: step 4; cutaway generate --model {model}\n"
    lines = result.err.splitlines()
    assert "parameters, 4 steps of 4 x 8 tokens; cpu multiplies at most" in lines[0]
    assert lines[1].startswith("step 1/4  loss 10.8")
    for word in ("bits/byte", "tokens/s", "of peak", "left", "GiB"):
        assert word in lines[1]
    assert [line.split("  ")[0] for line in lines if "validation loss" in line] == ["step 2", "step 4", "step 4"]
    assert sum(line.startswith("  | ") for line in lines) == 3
    assert "  (averaged weights, " in lines[-2]


@pytest.mark.slow
def test_a_model_of_prepared_conversations_can_be_talked_with(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A robot."}]
    (tmp_path / "chats.jsonl").write_text(20 * (json.dumps({"messages": said}) + "\n"))
    assert invoke("data", "prepare", str(tmp_path / "chats.jsonl"), "--out", str(tmp_path / "corpus")).code == 0
    result = invoke("train", "--data", str(tmp_path / "corpus"), "--out", str(tmp_path / "run"), *FLAGS)
    model = tmp_path / "run" / "model"
    assert (result.code, result.out) == (0, f"{model}: step 4; cutaway chat --model {model}\n")
    talk = ("chat", "--model", str(model), "--engine", "reference", "--seed", "1", "--max-new-tokens", "2")
    assert "does not say that it has learned conversations" not in invoke(*talk, stdin=b"Hi\n").err


def test_a_file_gives_settings_and_flags_take_precedence(tmp_path: Path, data: str) -> None:
    path = tmp_path / "small.toml"
    path.write_text('n_layer = 1\nn_head = 2\nn_embd = 8\nn_ctx = 8\nbatch_size = 4\nmax_steps = 9\ndevice = "cpu"\n')
    flags = ["--max-steps", "2", "--no-keep-best", "--weights", "2"]
    result = invoke("train", str(path), "--data", data, "--out", str(tmp_path / "run"), "--json", *flags)
    assert result.document == {"run": str(tmp_path / "run"), "steps": 2, "model": str(tmp_path / "run" / "model")}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [config[name] for name in ("n_embd", "max_steps", "keep_best", "weights")] == [8, 2, False, [2.0]]


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 0)]
)
@pytest.mark.usefixtures("heeded_signals")
def test_a_signal_saves_and_the_same_command_resumes(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    command = ("train", "--data", data, "--out", str(tmp_path / "run"), *FLAGS)
    step = Trainer.step

    def interrupted(trainer: Trainer) -> object:
        if trainer.steps == 2:
            os.kill(os.getpid(), number)
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        stopped = invoke(*command)
    assert stopped.code == code
    assert stopped.out == ""
    assert stopped.err.endswith(f"cutaway: {tmp_path / 'run'}: saved at step 3; the same command resumes\n")
    resumed = invoke(*command)
    assert f"cutaway: {tmp_path / 'run'}: resumed at step 3\n" in resumed.err
    assert resumed.code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("heeded_signals")
def test_a_run_whose_terminal_is_closed_is_saved(tmp_path: Path, data: str) -> None:
    run = tmp_path / "run"
    command = ["train", "--data", data, "--out", str(run), *flags(SMALL | {"max-steps": 1_000_000})]
    terminal, its_side = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, *command],
        stdin=its_side,
        stdout=its_side,
        stderr=its_side,
        start_new_session=True,
    )
    os.close(its_side)
    while not (run / "metrics.jsonl").exists():
        os.read(terminal, 1 << 16)
    os.close(terminal)
    assert process.wait() == 0
    events = read_metrics(run)
    assert events[-1] == {"kind": "save", "step": events[-2]["step"]}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--n-layr", "3"], "unrecognized arguments: --n-layr; did you mean --n-layer?"),
        (["--n-layer", "three"], "--n-layer must be a whole number, not 'three'"),
        (["--n-layer", "0"], "--n-layer must be"),
        (["--n-head", "3"], "--n-embd (256) must be a multiple of --n-head (3)"),
        (["--max-time", "soon"], "--max-time must be a duration such as 90s, 30m or 9h, not 'soon'"),
        (["--hold", "2"], "--hold must be from 0 to 1"),
        (["--lr", "nan"], "--lr must be a number, not nan"),
        (["--batch-size", "999999999"], "--batch-size must be from 1 to 1048576, not 999999999"),
        (["--weights", "1", "2"], "--weights must be as many as the directories of data"),
        (["--short-ctx", "8"], "--short-ctx and --short-steps belong together"),
        (["missing.toml"], "cannot read missing.toml: No such file"),
        (["small.toml"], "small.toml stands after --data: put the file of settings first, before the flags"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_by_its_flag(
    tmp_path: Path, data: str, arguments: list[str], complaint: str
) -> None:
    first = ["--data", data, *arguments] if arguments == ["small.toml"] else [*arguments, "--data", data]
    result = invoke("train", *first, "--out", str(tmp_path / "run"))
    assert result.code == 2
    assert f"cutaway: {complaint}" in result.error


@pytest.mark.parametrize(
    ("folder", "found"), [("data", "manifest.json"), ("data/tokenizer", "vocab.json")], ids=["corpus", "tokenizer"]
)
def test_a_corpus_and_a_tokenizer_are_not_made_a_run(tmp_path: Path, data: str, folder: str, found: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = invoke("train", "--data", data, "--out", str(tmp_path / folder), *FLAGS)
    complaint = f"{tmp_path / folder}: holds {found} but no checkpoints, so it is not a run: use another --out"
    assert (result.code, result.error) == (2, f"cutaway: {complaint}\n")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--data", "missing"], 2, "missing: no such directory; write a corpus"),
        ([], 2, "no data: give --data DIR"),
        (["--data", "DATA", "--n-ctx", "512"], 2, "260 tokens are too few for windows of 512"),
        (["--data", "DATA", "--init", "TINY", "--n-layer", "1"], 2, "--n-layer must be 2, as in"),
        (["--data", "DATA", "--n-ctx", "8"], 5, "training needs PyTorch: pip install torch"),
    ],
)
def test_a_wrong_argument_is_reported_before_a_missing_pytorch(
    tmp_path: Path,
    data: str,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    complaint: str,
) -> None:
    monkeypatch.setitem(sys.modules, "cutaway.training.distributed", None)  # which imports PyTorch
    places = {"DATA": data, "TINY": tiny}
    result = invoke("train", "--out", str(tmp_path / "run"), *(places.get(each, each) for each in arguments))
    assert result.code == code
    assert complaint in result.error


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("n_layers = 1", "unknown setting 'n_layers'; did you mean n_layer?"),
        ("n_layer = 0", "n_layer must be"),
        ("hold = 2", "hold must be from 0 to 1"),
        ("micro_batch_size = 4", "micro_batch_size (4) must be at most --batch-size (2)"),
    ],
)
def test_a_wrong_setting_of_a_file_is_named_by_its_key(tmp_path: Path, data: str, content: str, complaint: str) -> None:
    path = tmp_path / "small.toml"
    path.write_text(content)
    result = invoke("train", str(path), "--data", data, "--out", str(tmp_path / "run"), "--batch-size", "2")
    assert result.code == 2
    assert f"cutaway: {path}: {complaint}" in result.error


@pytest.mark.slow
def test_a_model_to_start_from_gives_the_shape(tmp_path: Path, data: str, tiny: str) -> None:
    flags = ["--init", tiny, "--n-ctx", "16", "--max-steps", "1", "--batch-size", "2", "--device", "cpu"]
    assert invoke("train", "--data", data, "--out", str(tmp_path / "run"), *flags).code == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [config[name] for name in ("n_layer", "n_head", "n_embd", "n_ctx")] == [2, 2, 8, 16]


@pytest.mark.slow
def test_curves_are_drawn(tmp_path: Path, data: str) -> None:
    invoke("train", "--data", data, "--out", str(tmp_path / "run"), *FLAGS)
    result = invoke("train", "plot", str(tmp_path / "run"))
    assert result.code == 0
    assert "Loss, nats per token" in result.out
