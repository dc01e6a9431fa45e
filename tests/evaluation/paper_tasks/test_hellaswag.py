import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cutaway.errors import UsageError
from cutaway.evaluation.paper_tasks import TASKS
from tests.evaluation.scored import evaluate, ids, metric, peer_losses

# In the form of hellaswag_val.jsonl.
RECORD = {
    "ind": 24,
    "activity_label": "Roof shingle removal",
    "ctx_a": "A man is sitting on a roof.",
    "ctx_b": "he",
    "ctx": "A man is sitting on a roof. he",
    "split": "val",
    "split_type": "indomain",
    "label": 3,
    "endings": [
        "is using wrap to wrap a pair of skis.",
        "is ripping level tiles off.",
        "is holding a rubik's cube.",
        "starts pulling up roofing on a roof.",
    ],
    "source_id": "activitynet~v_-JhWjGDPHMY",
}


@pytest.mark.parametrize(("name", "reduce"), [("accuracy", np.sum), ("accuracy_norm", np.mean)])
def test_the_most_likely_ending_decides_by_sum_and_by_mean(
    name: str, reduce: Callable[[list[float]], float], tmp_path: Path
) -> None:
    context = ids(str(RECORD["ctx"]))
    endings = [f" {ending}" for ending in RECORD["endings"]]  # type: ignore[attr-defined]
    losses = [peer_losses([*context, *ids(ending)])[len(context) - 1 :] for ending in endings]
    best = int(np.argmin([reduce(each) for each in losses]))
    for label in range(4):
        result = evaluate(TASKS["hellaswag"], tmp_path / "h.jsonl", json.dumps({**RECORD, "label": label}))
        assert metric(result, name).value == float(label == best)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"ctx": 5}, '"ctx" is missing or is not text'),
        ({"endings": "abcd"}, '"endings" is missing or is not a list of texts'),
        ({"endings": ["a", 5]}, '"endings" is missing or is not a list of texts'),
        ({"label": 4}, '"label" is missing or is not the index of an ending'),
        ({"label": "3"}, '"label" is missing or is not the index of an ending'),
    ],
)
def test_refuses_another_format(change: dict[str, object], part: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"/h.jsonl:1: {part}"):
        evaluate(TASKS["hellaswag"], tmp_path / "h.jsonl", json.dumps({**RECORD, **change}))
