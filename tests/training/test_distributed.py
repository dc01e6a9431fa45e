"""Processes that train together: equal to one, and to themselves when one of them is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutaway.checkpoints import save_checkpoint
from cutaway.checkpoints.safetensors import read_arrays
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.training.distributed import LOST, World
from cutaway.training.runs import RunDirectory
from tests.cli.invoke import invoke
from tests.data.corpora import write_corpus
from tests.random_weights import random_weights
from tests.training.runs_of import make_trainer
from tests.training.test_finetuning import BYTES
from tests.training.together import RUNS, arrays_of, train

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def start(*arguments: str, n_processes: int = 2) -> "subprocess.Popen[str]":
    """Start torchrun with so many processes on a free port of this machine."""
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*TORCHRUN, str(n_processes), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Return what a process wrote on standard output and standard error."""
    try:
        return process.communicate(timeout=300)
    except BaseException:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("together")
    process = start("-m", "tests.training.together", str(out))
    _, error = finish(process)
    assert process.returncode == 0, error
    return out


@pytest.fixture(scope="module")
def alone() -> Mapping[str, tuple[dict[str, list[float]], dict[str, np.ndarray[Any, Any]]]]:
    found = {}
    for name, changes in RUNS.items():
        trainer = make_trainer(**changes)
        found[name] = (train(trainer), arrays_of(trainer))
    return found


def assert_close(found: Any, expected: Any, name: str) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def without_key_biases(name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Leave out the biases of keys: softmax cancels them, so AdamW makes steps of the rounding in their gradient."""
    return np.delete(array, np.s_[16:32]) if name.endswith("c_attn.bias") and array.ndim else array


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_equal_one(together: Path, alone: Mapping[str, Any], parallel: str, run: str) -> None:
    numbers, arrays = alone[run]
    for name, values in json.loads((together / f"{parallel}-{run}.json").read_text()).items():
        assert_close(values, numbers[name], name)
    found = read_arrays(together / f"{parallel}-{run}.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in found.items():
        assert_close(without_key_biases(name, array), without_key_biases(name, arrays[name]), name)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_all_processes_name_the_tensor_that_is_not_finite_in_one(together: Path, parallel: str) -> None:
    complaints = [(together / f"{parallel}-refusal-{rank}.txt").read_text() for rank in (0, 1)]
    assert complaints[0].startswith("step 1: h.1.ln_2.bias is not finite (loss nan)")
    assert complaints[0] == complaints[1]


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--batch-size .4. must be a multiple of the number of processes .3."):
        make_trainer(world=World(0, 3))


# The command

STORY = [50256, *range(100, 112)]
SETTINGS = {
    "device": "cpu",
    "n-layer": 1,
    "n-head": 2,
    "n-embd": 8,
    "n-ctx": 8,
    "batch-size": 4,
    "micro-batch-size": 1,
    "max-steps": 12,
    "warmup-steps": 2,
    "dropout": 0.1,
    "average": 0.3,
    "eval-every": 6,
    "save-every": 3,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("corpus")
    return str(write_corpus(path, {"train": [[STORY] * 20], "valid": [[STORY] * 4]}))


def command(data: str, out: Path, **changes: object) -> Sequence[str]:
    settings = SETTINGS | {name.replace("_", "-"): value for name, value in changes.items()}
    flags = (part for name, value in settings.items() for part in (f"--{name}", str(value)))
    return ("train", "--data", data, "--out", str(out), *flags)


def train_together(data: str, out: Path, n_processes: int = 2, **changes: object) -> "subprocess.Popen[str]":
    return start("-m", "cutaway", *command(data, out, **changes), n_processes=n_processes)


def log(out: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if key != "seconds"} for event in events]


def losses(out: Path) -> list[float]:
    return [event["loss"] for event in log(out) if event["kind"] == "train"]


def files(out: Path) -> dict[str, bytes]:
    """Return the files of the last checkpoint, and of the model, that hold tensors."""
    last = max((out / "checkpoints").iterdir())
    return {f"{d.name}/{f.name}": f.read_bytes() for d in (last, out / "model") for f in d.glob("*.safetensors")}


def workers(launcher: int) -> list[int]:
    """Return the processes that torchrun has started."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, parent in pairs if int(parent) == launcher]


def wait_for_step(process: "subprocess.Popen[str]", out: Path, step: int) -> None:
    """Wait until the log of a run has a step."""
    path = out / "metrics.jsonl"
    while not (path.exists() and f'"step": {step},' in path.read_text()):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def complaints(error: str) -> list[str]:
    return [line for line in error.splitlines() if line.startswith("cutaway: ")]


@pytest.mark.slow  # some start of three processes
@pytest.mark.parametrize(("parallel", "n_kills"), [("ddp", 2), ("fsdp", 1)])
def test_a_run_of_which_one_process_is_killed_ends_bit_for_bit_as_one_never_killed(
    tmp_path: Path, data: str, parallel: str, n_kills: int
) -> None:
    straight = tmp_path / "straight"
    killed = tmp_path / "killed"
    process = train_together(data, straight, parallel=parallel)
    out, error = finish(process)
    assert process.returncode == 0, error
    assert out == f"{straight}/model: step 12; cutaway generate --model {straight}/model\n"
    rng = random.Random(parallel)
    for step in sorted(rng.sample(range(1, 11), n_kills)):
        process = train_together(data, killed, parallel=parallel)
        wait_for_step(process, killed, step)
        os.kill(rng.choice(workers(process.pid)), signal.SIGKILL)
        _, error = finish(process)
        assert process.returncode != 0
        ends = [line for line in complaints(error) if "resumed at" not in line]
        assert ends in ([], [f"cutaway: {LOST}"])  # none if torchrun ends the other one before it sees
    process = train_together(data, killed, parallel=parallel)
    _, error = finish(process)
    assert process.returncode == 0, error
    assert files(killed) == files(straight)
    assert log(killed) == log(straight)


@pytest.mark.slow  # eight processes
def test_three_processes_that_are_stopped_end_bit_for_bit_as_three_never_stopped(tmp_path: Path, data: str) -> None:
    """The sum over three processes rounds by its place in a bucket, unlike that over two."""
    changes = {"batch_size": 6, "max_steps": 8}
    process = train_together(data, tmp_path / "straight", 3, **changes)
    _, error = finish(process)
    assert process.returncode == 0, error
    process = train_together(data, tmp_path / "stopped", 3, **changes)
    wait_for_step(process, tmp_path / "stopped", 3)
    os.kill(workers(process.pid)[2], signal.SIGTERM)
    _, error = finish(process)
    assert process.returncode == 0, error
    assert len(losses(tmp_path / "stopped")) < 8
    process = train_together(data, tmp_path / "stopped", 3, **changes)
    _, error = finish(process)
    assert process.returncode == 0, error
    assert files(tmp_path / "stopped") == files(tmp_path / "straight")
    alone = invoke(*command(data, tmp_path / "alone", **changes))
    assert alone.code == 0, alone.err
    assert_close(losses(tmp_path / "stopped"), losses(tmp_path / "alone"), "losses")


@pytest.mark.slow  # three processes and two more
def test_a_signal_stops_all_at_one_step_and_one_process_resumes(tmp_path: Path, data: str) -> None:
    process = train_together(data, tmp_path / "run", parallel="fsdp")
    wait_for_step(process, tmp_path / "run", 4)
    os.kill(workers(process.pid)[1], signal.SIGTERM)
    _, error = finish(process)
    assert process.returncode == 0, error
    stopped = len(losses(tmp_path / "run"))
    assert complaints(error) == [f"cutaway: {tmp_path / 'run'}: saved at step {stopped}; the same command resumes"]
    resumed = invoke(*command(data, tmp_path / "run"))
    assert resumed.code == 0
    assert "1 process instead of 2: the run continues, but not bit for bit" in resumed.err
    assert f"resumed at step {stopped}" in resumed.err
    alone = invoke(*command(data, tmp_path / "alone"))
    assert alone.code == 0
    assert_close(losses(tmp_path / "run"), losses(tmp_path / "alone"), "losses")


def test_an_error_of_all_processes_is_one_line(tmp_path: Path, data: str) -> None:
    process = train_together(data, tmp_path / "run", batch_size=5)
    out, error = finish(process)
    assert out == ""
    assert complaints(error) == ["cutaway: --batch-size (5) must be a multiple of the number of processes (2)"]
    assert "exitcode  : 2" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # three processes
def test_an_error_of_one_process_ends_both_in_one_line(tmp_path: Path, data: str) -> None:
    with RunDirectory.open(tmp_path / "run"):
        process = train_together(data, tmp_path / "run")
        _, error = finish(process)
    assert process.returncode != 0
    (complaint,) = complaints(error)
    assert f"is in use by process {os.getpid()}" in complaint


# Fine-tuning


def tune(base: Path, data: Path, out: Path, method: str) -> Sequence[str]:
    settings = "--max-steps 8 --eval-every 2 --batch-size 4 --micro-batch-size 1 --lr 0.01 --patience 0 --device cpu"
    rates = "--lora-dropout 0.1" if method == "lora" else "--dropout 0.1"
    flags = f"{settings} --method {method} {rates}".split()
    return ("finetune", "--model", str(base), "--data", str(data), "--out", str(out), *flags)


@pytest.mark.slow  # three processes
@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_fine_tune_as_one(tmp_path: Path, method: str) -> None:
    base = tmp_path / "base"
    shape = GPT2Config(n_vocab=257, n_ctx=32, n_embd=16, n_head=2, n_layer=2)
    save_checkpoint(base, random_weights(shape, std=0.05), tokenizer=BYTES)
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(f'{{"prompt": "{n} plus 1 is", "completion": " {n + 1}"}}\n' for n in range(30)))
    process = start("-m", "cutaway", *tune(base, data, tmp_path / "two", method))
    out, error = finish(process)
    assert process.returncode == 0, error
    assert out.count("/two/model: step ") == 1
    assert error.count("to validate on") == 1
    assert invoke(*tune(base, data, tmp_path / "one", method)).code == 0
    for key in ("loss", "valid_loss", "grad_norm"):
        found, expected = ([event[key] for event in log(tmp_path / run) if key in event] for run in ("two", "one"))
        assert len(found) == len(expected) > 3
        assert_close(found, expected, key)
    for name in ("before", "after"):
        found, expected = (json.loads((tmp_path / run / f"{name}.json").read_text()) for run in ("two", "one"))
        assert_close(found["valid_loss"], expected["valid_loss"], name)
    (file,) = (tmp_path / "two" / "model").glob("*.safetensors")
    weights = read_arrays(file)
    for name, array in read_arrays(tmp_path / "one" / "model" / file.name).items():
        assert_close(without_key_biases(name, weights[name]), without_key_biases(name, array), name)
