"""Run directories: saving, damage, pruning and finishing. What a crash leaves is in tests/reliability."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cutaway.checkpoints import ArrayWeights, open_checkpoint
from cutaway.checkpoints.adapter import Adapter
from cutaway.config import GPT2Config
from cutaway.errors import RunError, UsageError, WriteError, guarded
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training.metrics_log import read_metrics
from cutaway.training.runs import RunDirectory
from tests.random_weights import random_weights

CONFIG = GPT2Config(n_vocab=9, n_ctx=4, n_embd=4, n_head=1, n_layer=1)
WEIGHTS = random_weights(CONFIG, spread=0.1)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.open(tmp_path / "run", warn=pytest.fail)


def save(run: RunDirectory, *steps: int) -> None:
    for step in steps:
        run.save(step, WEIGHTS, {"moment": np.full(3, step, np.float32)}, {"step": step})


def spoil(run: RunDirectory, step: int) -> None:
    (run.checkpoints / f"step-{step:08d}" / "state.json").write_text("{}")


def test_what_is_saved_comes_back(run: RunDirectory) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "float32": np.array([[-0.0, 1e-45], [1 / 3, -3e38]], np.float32),
        "float64": np.array(1 / 3),
        "int64": np.array([-(2**63), 2**63 - 1]),
        "uint64": np.array([2**64 - 1], np.uint64),
        "uint8": np.arange(256, dtype=np.uint8),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 3), np.int32),
    }
    document = {"nested": {"list": [1, 2.5, None, True, "ä"]}, "large": 2**64}
    path = run.save(100, WEIGHTS, arrays, document)
    assert path == run.path / "checkpoints" / "step-00000100"
    saved = run.newest(strict=True)
    assert saved is not None
    assert (saved.step, saved.directory, saved.document) == (100, path, document)
    found = saved.arrays()
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    for name in CONFIG.tensors:
        np.testing.assert_array_equal(saved.weights().read(name), WEIGHTS.read(name))


def test_a_checkpoint_is_a_hugging_face_directory(run: RunDirectory) -> None:
    gpt2 = Tokenizer.gpt2()
    weights = random_weights(GPT2Config(n_vocab=gpt2.n_vocab, n_ctx=4, n_embd=2, n_head=1, n_layer=1))
    path = run.save(1, weights, {}, {}, gpt2)
    checkpoint = open_checkpoint(str(path))
    tokenizer = checkpoint.tokenizer()
    assert tokenizer is not None
    assert tokenizer.encode("A robot") == gpt2.encode("A robot")
    np.testing.assert_array_equal(checkpoint.read("wte.weight"), weights.read("wte.weight"))
    assert run.newest(strict=True) is not None


def test_the_newest_is_by_number(run: RunDirectory) -> None:
    assert run.newest() is None
    save(run, 9, 100_000_000, 99_999_999, 10)
    assert run.steps() == [9, 10, 99_999_999, 100_000_000]
    newest = run.newest()
    assert newest is not None
    assert newest.step == 100_000_000


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The syncs and renames from here on, each with the name of its file or directory."""
    calls: list[tuple[str, str]] = []

    def observed(name: str) -> Callable[..., Any]:
        function = getattr(os, name)

        def call(place: Any, *more: Any) -> Any:
            path = Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else Path(place)
            calls.append((name, path.name))
            return function(place, *more)

        return call

    for name in ("fsync", "rename"):
        monkeypatch.setattr(os, name, observed(name))
    return calls


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_save_is_on_the_disk_before_it_has_its_name_and_the_name_before_it_counts(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.append_metrics({"kind": "train", "step": 1})
    calls = calls_of(monkeypatch)
    save(run, 1)
    [(renamed, staging)] = [(i, name) for i, (call, name) in enumerate(calls) if call == "rename"]
    before = [name for _, name in calls[:renamed]]
    files = {path.name for path in (run.checkpoints / "step-00000001").iterdir()}
    assert files <= set(before[: before.index(staging)])
    assert {"metrics.jsonl", "run"} <= set(before)
    assert calls[renamed + 1] == ("fsync", "checkpoints")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_pruned_checkpoint_loses_its_name_on_the_disk_first(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 1, 2)
    calls = calls_of(monkeypatch)
    run.prune(keep_last=1)
    assert calls == [("rename", "step-00000001"), ("fsync", "checkpoints")]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_new_run_is_on_the_disk_with_the_directory_that_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(monkeypatch)
    RunDirectory.open(tmp_path / "run").close()
    assert {("fsync", "run"), ("fsync", tmp_path.name)} <= set(calls)


def test_a_step_that_cannot_take_its_name_again_leaves_the_old_one(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 1)
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if ".tmp-" in path.name:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(RunError, match="Input/output error"):
        save(run, 1)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000001"]
    assert run.newest(strict=True) is not None


def test_other_files_are_no_checkpoints(run: RunDirectory) -> None:
    save(run, 1)
    for name in ("step-2", "step-00000002.tmp", "notes"):
        (run.checkpoints / name).mkdir()
    run.close()
    assert RunDirectory.open(run.path).steps() == [1]
    assert (run.checkpoints / "notes").exists()


def test_a_damaged_checkpoint_is_skipped_by_name_or_refused(tmp_path: Path) -> None:
    warnings: list[str] = []
    run = RunDirectory.open(tmp_path, warn=warnings.append)
    save(run, 1, 2)
    spoil(run, 2)
    newest = run.newest()
    assert newest is not None
    assert newest.step == 1
    place = f"{run.checkpoints}/step-00000002/state.json: is damaged: 2 bytes long, not 16"
    assert warnings == [f"{place}; step-00000002 is skipped"]
    with pytest.raises(RunError) as refused:
        run.newest(strict=True)
    assert str(refused.value) == f"{place}; move step-00000002 away to resume from the one before"


def test_where_all_are_damaged_nothing_is_started_anew(tmp_path: Path) -> None:
    run = RunDirectory.open(tmp_path, warn=lambda _: None)
    save(run, 1, 2)
    spoil(run, 1)
    spoil(run, 2)
    with pytest.raises(RunError, match=r"no valid checkpoint is left, choose another directory to start over$"):
        run.newest()


def test_a_step_can_be_saved_again(run: RunDirectory) -> None:
    save(run, 1)
    run.save(1, WEIGHTS, {}, {"again": True})
    newest = run.newest(strict=True)
    assert newest is not None
    assert newest.document == {"again": True}
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize(
    ("keep_last", "best", "left"),
    [
        (1, None, [5]),
        (2, None, [4, 5]),
        (2, 2, [2, 4, 5]),
        (1, 5, [5]),
        (5, None, [1, 2, 3, 4, 5]),
        (9, 7, [1, 2, 3, 4, 5]),
    ],
)
def test_pruning(run: RunDirectory, keep_last: int, best: int | None, left: list[int]) -> None:
    save(run, 1, 2, 3, 4, 5)
    run.prune(keep_last, best)
    assert run.steps() == left


def test_pruning_keeps_the_newest_valid_checkpoint(run: RunDirectory) -> None:
    save(run, 1, 2, 3, 4)
    spoil(run, 3)
    spoil(run, 4)
    run.prune(1, best=1)
    assert run.steps() == [1, 2, 4]
    spoil(run, 1)
    spoil(run, 2)
    run.prune(1)
    assert run.steps() == [1, 2, 4]  # all are damaged: which to keep is for a person to say


def test_pruning_keeps_one_at_least(run: RunDirectory) -> None:
    with pytest.raises(UsageError, match=r"^keep_last must be at least 1, not 0$"):
        run.prune(0)


@pytest.mark.parametrize(
    ("arrays", "document", "reason"),
    [
        ({"moment": np.array([np.nan], np.float32)}, {}, "moment holds NaN or infinity"),
        ({"moment": np.array(["text"])}, {}, "moment has the dtype <U4, which safetensors has not"),
        ({}, {"loss": float("inf")}, r"state.json: it is not valid JSON: Infinity is not a number in JSON"),
    ],
)
def test_what_could_not_be_read_back_is_not_saved(
    run: RunDirectory, arrays: dict[str, NDArray[Any]], document: dict[str, object], reason: str
) -> None:
    save(run, 1)
    with pytest.raises(RunError, match=rf"step-00000002: cannot be saved: .*{reason}$"):
        run.save(2, WEIGHTS, arrays, document)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000001"]


def test_weights_with_nan_are_not_saved(run: RunDirectory) -> None:
    arrays = {**WEIGHTS.arrays, "ln_f.bias": np.full(4, np.nan, np.float32)}
    with pytest.raises(RunError, match=r"cannot be saved: transformer.ln_f.bias holds NaN or infinity$"):
        run.save(2, ArrayWeights(CONFIG, arrays), {}, {})


def test_a_model_that_cannot_be_saved_is_named_once(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr("cutaway.checkpoints.save.write_checkpoint", full)
    monkeypatch.setattr("cutaway.checkpoints.adapter.write_tensors", full)
    with pytest.raises(WriteError) as caught:
        run.finish(WEIGHTS)
    assert str(caught.value) == f"{run.path / 'model'}: cannot be saved: I/O error"
    with pytest.raises(WriteError) as caught:
        run.finish_adapter(Adapter("gpt2", 1, 2, (), {}))
    assert str(caught.value) == f"{run.path / 'model'}: cannot be saved: I/O error"


def test_a_model_of_a_run_in_a_relative_directory_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cutaway.checkpoints.save.write_checkpoint", full)
    with RunDirectory.open("run") as run, pytest.raises(WriteError, match="^run/model: cannot be saved: I/O error$"):
        run.finish(WEIGHTS)


def test_the_log_is_cut_back_to_a_checkpoint(run: RunDirectory) -> None:
    for step in (1, 2, 3):
        run.append_metrics({"kind": "train", "step": step})
        save(run, step)
    run.append_metrics({"kind": "train", "step": 4})
    run.rewind_metrics(2)
    assert [(event["kind"], event["step"]) for event in read_metrics(run.path)] == [
        *(("train", 1), ("save", 1), ("train", 2), ("save", 2))
    ]
    with pytest.raises(UsageError, match=r"step-00000007: no such checkpoint$"):
        run.rewind_metrics(7)
    run.rewind_metrics(0)
    assert read_metrics(run.path) == []


def test_the_finished_model_replaces_the_one_before(run: RunDirectory) -> None:
    run.finish(WEIGHTS)
    other = random_weights(CONFIG, seed=2)
    path = run.finish(other, generation_config={"temperature": 0.7})
    assert path == run.path / "model"
    np.testing.assert_array_equal(open_checkpoint(str(path)).read("wte.weight"), other.read("wte.weight"))
    assert (path / "generation_config.json").exists()


def test_a_second_trainer_is_refused_with_exit_code_6(run: RunDirectory) -> None:
    messages: list[str] = []
    assert guarded(lambda: RunDirectory.open(run.path).close(), messages.append) == RunError.exit_code == 6
    assert messages[0].startswith(f"{run.path} is in use by process {os.getpid()} on ")
    run.close()
    with RunDirectory.open(run.path):
        pass
    with RunDirectory.open(run.path):
        pass


def test_a_run_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file: cannot be used as a run directory: (File exists|Not a directory)$"):
        RunDirectory.open(tmp_path / "file")
    with pytest.raises(RunError, match=r"run: cannot be used as a run directory: Not a directory$"):
        RunDirectory.open(tmp_path / "file" / "run")


MODEL = ["config.json", "adapter_config.json"]
TOKENIZER = ["tokenizer.json", "vocab.json", "vocab.txt", "codec.json"]
CORPUS = ["manifest.json", "progress.jsonl"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "model", *MODEL, *TOKENIZER, *CORPUS, "curve-config.json"])
def test_what_is_not_a_run_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("of another program")
    with pytest.raises(UsageError, match=rf": holds {name} but no checkpoints, so it is not a run: use another --out$"):
        RunDirectory.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_may_be_beside_files_that_it_does_not_write(tmp_path: Path) -> None:
    (tmp_path / "output.txt").touch()  # of `> run/output.txt`
    with RunDirectory.open(tmp_path) as run:
        run.write_config({})
    with RunDirectory.open(tmp_path):
        pass


def test_saving_and_opening_need_no_torch() -> None:
    code = "import sys, cutaway.training.opening, cutaway.training.runs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "False\n"
