"""The parts of a checkpoint: small enough, and joined again what it was in bfloat16."""

from pathlib import Path

import numpy as np
import pytest

from cutaway.checkpoints import open_checkpoint, save_checkpoint
from cutaway.config import GPT2Config
from recipes.builtin import parts
from tests.random_weights import random_weights


def test_joined_parts_are_the_checkpoint_in_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 500)
    weights = random_weights(GPT2Config(n_vocab=50, n_ctx=8, n_embd=8, n_head=2, n_layer=1))
    save_checkpoint(tmp_path / "run", weights)
    out = tmp_path / "out"
    out.mkdir()
    parts.split(tmp_path / "run", out)
    assert len(list(out.glob("lower.*"))) > 1
    assert all(path.stat().st_size <= 500 for path in out.glob("lower.*"))
    parts.join(out, tmp_path / "joined")
    joined = open_checkpoint(tmp_path / "joined")
    for name in weights.config.tensors:
        np.testing.assert_allclose(joined.read(name), weights.read(name), rtol=2**-8)
