"""Processes that were started unlike each other."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutaway.checkpoints import ArrayWeights
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.training.agreement import check_alike
from cutaway.training.config import TrainingConfig
from cutaway.training.distributed import World
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.runs import CHECKPOINTS
from tests.random_weights import random_weights


@dataclass(frozen=True)
class Recorded(World):
    """A process of two, whose broadcasts are a list; where it is the second, it takes what the first has sent."""

    sent: Any = None

    def broadcast(self, document: Any, source: int = 0) -> Any:
        if self.is_first:
            self.sent.append(json.loads(json.dumps(document)))
        return self.sent[0]

    def first(self, texts: Sequence[str | None]) -> str | None:
        return next(filter(None, texts), None)


def check(
    first: TrainingConfig | FineTuneConfig,
    second: TrainingConfig | FineTuneConfig,
    hashes: Sequence[str] = "a",
    run: Path = Path("run"),
) -> None:
    sent: list[Any] = []
    check_alike(first, ["a"], Path("run"), Recorded(0, 2, sent=sent))
    check_alike(second, hashes, run, Recorded(1, 2, sent=sent))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"seed": 2}, "with --seed 2, not --seed 1 as process 0"),
        ({"lr": 0.1, "eval_every": 7}, "with --lr 0.1, --eval-every 7, not --lr 0.004, --eval-every 100 as process 0"),
        ({"parallel": "fsdp"}, "with --parallel fsdp, not --parallel ddp as process 0"),
        ({"save_every": 9}, "with --save-every 9, not --save-every 100 as process 0"),
    ],
)
def test_other_settings_are_refused_by_name(changes: dict[str, Any], found: str) -> None:
    with pytest.raises(UsageError, match=rf"^process 1, on .*, was started {found}: start all with the same command"):
        check(TrainingConfig(), TrainingConfig(**changes))


def test_other_settings_of_fine_tuning_are_refused() -> None:
    with pytest.raises(UsageError, match="was started with --epochs 9, not --epochs 3 as process 0"):
        check(FineTuneConfig(data="a.txt"), FineTuneConfig(data="b.txt", epochs=9))


def test_other_data_are_refused() -> None:
    with pytest.raises(UsageError, match="process 1, on .*, was started on other data than process 0: "):
        check(TrainingConfig(), TrainingConfig(), hashes=["b"])


def test_other_weights_to_start_from_are_refused() -> None:
    shape = GPT2Config(n_vocab=5, n_ctx=4, n_embd=4, n_head=1, n_layer=2)
    first = random_weights(shape)
    arrays = {name: first.read(name) for name in shape.tensors}
    sent: list[Any] = []
    check_alike(TrainingConfig(), [], Path("run"), Recorded(0, 2, sent=sent), first)
    check_alike(TrainingConfig(), [], Path("run"), Recorded(1, 2, sent=sent), ArrayWeights(shape, arrays))
    arrays["h.1.ln_2.bias"] = arrays["h.1.ln_2.bias"] + np.float32(1e-3)
    with pytest.raises(UsageError, match="process 1, on .*, was started from other weights than process 0: start all"):
        check_alike(TrainingConfig(), [], Path("run"), Recorded(1, 2, sent=sent), ArrayWeights(shape, arrays))


def test_the_same_data_may_have_another_name_and_a_machine_more_threads() -> None:
    check(TrainingConfig(data=("corpus",), weights=(1.0,)), TrainingConfig(data=("copy",), weights=(1.0,), threads=3))


def test_a_run_that_only_another_process_sees_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINTS / "step-00000100").mkdir(parents=True)
    with pytest.raises(UsageError, match="process 1, on .* at step 100, and process 0, on .*, at step 0: put "):
        check(TrainingConfig(), TrainingConfig(), run=tmp_path)


def test_a_run_that_only_process_0_sees_is_resumed(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINTS / "step-00000100").mkdir(parents=True)
    sent: list[Any] = []
    check_alike(TrainingConfig(), [], tmp_path, Recorded(0, 2, sent=sent))
    check_alike(TrainingConfig(), [], Path("run"), Recorded(1, 2, sent=sent))
