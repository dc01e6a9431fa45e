"""Processes that train together: equal to one, and to themselves when one of them is killed."""

import json
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutaway.checkpoints import save_checkpoint
from cutaway.checkpoints.safetensors import read_arrays
from cutaway.config import GPT2Config
from cutaway.errors import RunError, UsageError
from cutaway.training.distributed import LOST, World
from cutaway.training.runs import RunDirectory
from tests.cli.invoke import invoke
from tests.data.corpora import write_corpus
from tests.random_weights import random_weights
from tests.training.processes import Forked, Together, Torchrun
from tests.training.runs_of import make_trainer
from tests.training.test_finetuning import BYTES
from tests.training.together import RUNS, arrays_of, train


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("together")
    ended = Forked(2, "tests.training.together", str(out)).finish()
    assert ended.code == 0, ended.err
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_all_processes_name_the_tensor_that_is_not_finite_in_one(together: Path, parallel: str) -> None:
    complaints = [(together / f"{parallel}-refusal-{rank}.txt").read_text() for rank in (0, 1)]
    assert complaints[0].startswith("step 1: h.1.ln_2.bias is not finite (loss nan)")
    assert complaints[0] == complaints[1]


@pytest.mark.slow
def test_processes_agree_on_the_largest_of_numbers_and_the_first_of_texts(together: Path) -> None:
    for rank in (0, 1):
        agreed = json.loads((together / f"agreement-{rank}.json").read_text())
        assert agreed == [signal.SIGTERM, True, [1.0, 0.0], "0"]


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


def train_together(
    data: str,
    out: Path,
    n_processes: int = 2,
    start: Callable[..., Together] = Forked,
    signalled: tuple[str, int, int] | None = None,
    **changes: object,
) -> Together:
    """Start processes, of which one may get a signal: its name, the rank, and the steps that were taken before."""
    program = ["cutaway", *command(data, out, **changes)]
    if signalled is not None:
        program = ["tests.training.signalled", *map(str, signalled), *program]
    return start(n_processes, *program)


def log(out: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if key != "seconds"} for event in events]


def losses(out: Path) -> list[float]:
    return [event["loss"] for event in log(out) if event["kind"] == "train"]


def files(out: Path) -> dict[str, bytes]:
    """Return the files of the last checkpoint, and of the model, that hold tensors."""
    last = max((out / "checkpoints").iterdir())
    return {f"{d.name}/{f.name}": f.read_bytes() for d in (last, out / "model") for f in d.glob("*.safetensors")}


def complaints(error: str) -> list[str]:
    return [line for line in error.splitlines() if line.startswith("cutaway: ")]


@pytest.mark.slow  # up to eight processes
@pytest.mark.parametrize(("parallel", "starts"), [("ddp", [Torchrun, Forked]), ("fsdp", [Forked])])
def test_a_run_of_which_one_process_is_killed_ends_bit_for_bit_as_one_never_killed(
    tmp_path: Path, data: str, parallel: str, starts: Sequence[Callable[..., Together]]
) -> None:
    straight = tmp_path / "straight"
    killed = tmp_path / "killed"
    ended = train_together(data, straight, parallel=parallel).finish()
    assert ended.code == 0, ended.err
    assert ended.out == f"{straight}/model: step 12; cutaway generate --model {straight}/model\n"
    rng = random.Random(parallel)
    for step, start in zip(sorted(rng.sample(range(1, 11), len(starts))), starts, strict=True):
        signalled = ("SIGKILL", rng.randrange(2), step)
        ended = train_together(data, killed, start=start, signalled=signalled, parallel=parallel).finish()
        assert ended.code != 0
        ends = [line for line in complaints(ended.err) if "resumed at" not in line]
        if start is Forked or ends:  # torchrun may end the other one before it sees
            assert ends == [f"cutaway: {LOST}"]
    ended = train_together(data, killed, parallel=parallel).finish()
    assert ended.code == 0, ended.err
    assert files(killed) == files(straight)
    assert log(killed) == log(straight)


@pytest.mark.slow
def test_nothing_that_holds_the_process_group_outlives_it(tmp_path: Path, data: str) -> None:
    """The last to hold it waits for gloo's thread, and that, one time in fifteen, for Python: for ever."""
    program = ["tests.training.parting", "cutaway", *command(data, tmp_path, max_steps=2)]
    ended = Forked(2, *program).finish()
    assert ended.code == 0, ended.err


@pytest.mark.slow  # nine processes
def test_three_processes_that_are_stopped_end_bit_for_bit_as_three_never_stopped(tmp_path: Path, data: str) -> None:
    """The sum over three processes rounds by its place in a bucket, unlike that over two."""
    changes: dict[str, Any] = {"batch_size": 6, "max_steps": 8}
    ended = train_together(data, tmp_path / "straight", 3, **changes).finish()
    assert ended.code == 0, ended.err
    ended = train_together(data, tmp_path / "stopped", 3, signalled=("SIGTERM", 2, 3), **changes).finish()
    assert ended.code == 0, ended.err
    assert len(losses(tmp_path / "stopped")) == 4
    ended = train_together(data, tmp_path / "stopped", 3, **changes).finish()
    assert ended.code == 0, ended.err
    assert files(tmp_path / "stopped") == files(tmp_path / "straight")
    alone = invoke(*command(data, tmp_path / "alone", **changes))
    assert alone.code == 0, alone.err
    assert_close(losses(tmp_path / "stopped"), losses(tmp_path / "alone"), "losses")


@pytest.mark.slow  # torchrun's three processes and two more
def test_a_signal_stops_all_at_one_step_and_one_process_resumes(tmp_path: Path, data: str) -> None:
    ended = train_together(
        data, tmp_path / "run", start=Torchrun, signalled=("SIGTERM", 1, 4), parallel="fsdp"
    ).finish()
    assert ended.code == 0, ended.err
    assert len(losses(tmp_path / "run")) == 5
    assert complaints(ended.err) == [f"cutaway: {tmp_path / 'run'}: saved at step 5; the same command resumes"]
    resumed = invoke(*command(data, tmp_path / "run"))
    assert resumed.code == 0
    assert "1 process instead of 2: the run continues, but not bit for bit" in resumed.err
    assert "resumed at step 5" in resumed.err
    alone = invoke(*command(data, tmp_path / "alone"))
    assert alone.code == 0
    assert_close(losses(tmp_path / "run"), losses(tmp_path / "alone"), "losses")


@pytest.mark.slow
def test_an_error_of_all_processes_is_one_line(tmp_path: Path, data: str) -> None:
    ended = train_together(data, tmp_path / "run", start=Torchrun, batch_size=5).finish()
    assert ended.out == ""
    assert complaints(ended.err) == ["cutaway: --batch-size (5) must be a multiple of the number of processes (2)"]
    assert "exitcode  : 2" in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # two processes
@pytest.mark.parametrize(
    ("more", "found"),
    [
        (["--seed", "2"], "with --seed 2, not --seed 1 as process 0"),
        (["--parallel", "fsdp"], "with --parallel fsdp, not --parallel ddp as process 0"),
        (["--data", "OTHER"], "on other data than process 0"),
    ],
)
def test_processes_that_are_started_unlike_each_other_are_refused(
    tmp_path: Path, data: str, more: Sequence[str], found: str
) -> None:
    """With other seeds or data they would train on without a word, and with both kinds of parallel wait for ever."""
    other = str(write_corpus(tmp_path / "other", {"train": [[STORY] * 20], "valid": [[STORY] * 5]}))
    more = [other if part == "OTHER" else part for part in more]
    ended = Forked(2, "tests.training.unlike", "2", *more, "cutaway", *command(data, tmp_path / "run")).finish()
    assert ended.code == UsageError.exit_code
    (complaint,) = complaints(ended.err)
    assert complaint.startswith("cutaway: process 1, on ")
    assert f"was started {found}: start all" in complaint
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # two processes
def test_an_error_of_one_process_ends_both_in_one_line(tmp_path: Path, data: str) -> None:
    with RunDirectory.open(tmp_path / "run"):
        ended = train_together(data, tmp_path / "run").finish()
    assert ended.code != 0
    (complaint,) = complaints(ended.err)
    assert f"is in use by process {os.getpid()}" in complaint


@pytest.mark.slow  # two processes
def test_an_error_of_another_process_than_the_first_names_it() -> None:
    ended = Forked(2, "tests.training.failing").finish()
    assert ended.code == RunError.exit_code
    assert complaints(ended.err) == ["cutaway: process 1: its own disk is full"]


# Fine-tuning


def tune(base: Path, data: Path, out: Path, method: str) -> Sequence[str]:
    settings = "--max-steps 8 --eval-every 2 --batch-size 4 --micro-batch-size 1 --lr 0.01 --patience 0 --device cpu"
    rates = "--lora-dropout 0.1" if method == "lora" else "--dropout 0.1"
    flags = f"{settings} --method {method} {rates}".split()
    return ("finetune", "--model", str(base), "--data", str(data), "--out", str(out), *flags)


def base_and_data(path: Path) -> tuple[Path, Path]:
    base = path / "base"
    shape = GPT2Config(n_vocab=257, n_ctx=32, n_embd=16, n_head=2, n_layer=2)
    save_checkpoint(base, random_weights(shape, std=0.05), tokenizer=BYTES)
    data = path / "pairs.jsonl"
    data.write_text("".join(f'{{"prompt": "{n} plus 1 is", "completion": " {n + 1}"}}\n' for n in range(30)))
    return base, data


@pytest.mark.slow  # two processes
def test_processes_that_fine_tune_unlike_each_other_are_refused(tmp_path: Path) -> None:
    base, data = base_and_data(tmp_path)
    program = ["2", "--seed", "2", "cutaway", *tune(base, data, tmp_path / "run", "full")]
    ended = Forked(2, "tests.training.unlike", *program).finish()
    (complaint,) = complaints(ended.err)
    assert "was started with --seed 2, not --seed 1 as process 0: start all" in complaint


@pytest.mark.slow  # two processes
@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_fine_tune_as_one(tmp_path: Path, method: str) -> None:
    base, data = base_and_data(tmp_path)
    ended = Forked(2, "cutaway", *tune(base, data, tmp_path / "two", method)).finish()
    assert ended.code == 0, ended.err
    assert ended.out.count("/two/model: step ") == 1
    assert ended.err.count("to validate on") == 1
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
