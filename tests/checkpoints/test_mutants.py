"""Ten thousand broken checkpoints: each gives one line that names the file, or loads with the shapes of its config.

Never another exception, never much memory. A mutant follows from its number alone.
"""

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cutaway.checkpoints import Checkpoint, save_checkpoint
from cutaway.errors import CheckpointError
from tests.mutations import mutate_json, mutate_safetensors
from tests.tiny import tiny_weights

MUTANTS = 10_000
MEMORY = 8 << 20  # bytes; the checkpoints are a few kilobytes


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    """One file of floats, several files with an untied head, int8."""
    weights = tiny_weights(n_vocab=7, n_ctx=4, n_embd=4, n_head=2, n_layer=1)
    untied = tiny_weights(n_vocab=7, n_ctx=4, n_embd=4, n_head=2, n_layer=1, tie_word_embeddings=False)
    save_checkpoint(tmp_path / "whole", weights)
    save_checkpoint(tmp_path / "sharded", untied, "float16", max_shard_bytes=600)
    save_checkpoint(tmp_path / "int8", weights, "int8")
    return [tmp_path / name for name in ("whole", "sharded", "int8")]


def load(directory: Path) -> str:
    """Return "loaded", or the error's line."""
    try:
        checkpoint = Checkpoint(directory, "mutant")
        for name, shape in checkpoint.config.tensor_shapes().items():
            tensor = checkpoint.read(name)
            assert tensor.shape == shape
            assert tensor.dtype == np.float32
            assert np.isfinite(tensor).all()
    except CheckpointError as error:
        return str(error)
    return "loaded"


def rewrite(path: Path, data: bytes) -> None:
    path.unlink()  # a file system may flush a file to the disk that is cut to nothing and written anew
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
def test_ten_thousand_mutated_files(checkpoints: list[Path], quarter: int) -> None:
    outcomes = {"loaded": 0, "refused": 0}
    for number in range(quarter * MUTANTS // 4, (quarter + 1) * MUTANTS // 4):
        rng = random.Random(number)
        directory = rng.choice(checkpoints)
        path = rng.choice(sorted(directory.iterdir()))
        sound = path.read_bytes()
        rewrite(path, (mutate_json if path.suffix == ".json" else mutate_safetensors)(rng, sound))
        tracemalloc.start()
        outcome = load(directory)
        assert tracemalloc.get_traced_memory()[1] < MEMORY, number
        tracemalloc.stop()
        assert len(outcome.splitlines()) == 1, (number, outcome)
        assert outcome == "loaded" or (outcome.startswith(str(directory)) and len(outcome) < 600), (number, outcome)
        outcomes["loaded" if outcome == "loaded" else "refused"] += 1
        rewrite(path, sound)
    assert all(load(directory) == "loaded" for directory in checkpoints)
    assert outcomes["loaded"] > MUTANTS // 40, outcomes  # or the mutants would be too coarse to test anything
    assert outcomes["refused"] > MUTANTS // 8, outcomes
