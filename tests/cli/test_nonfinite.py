"""Weights whose activations overflow: every command ends with one line, none with a traceback, a warning or NaN."""

from pathlib import Path

import numpy as np
import pytest

from cutaway import GPT2Config, save_checkpoint
from cutaway.checkpoints import ArrayWeights
from tests.cli.invoke import invoke
from tests.random_weights import random_weights

COMMANDS: list[tuple[str, ...]] = [
    ("generate", "Hi"),
    ("generate", "Hi", "--json"),
    ("generate", "Hi", "--temperature", "0", "--logprobs"),
    ("next", "Hi"),
    ("next", "Hi", "--json"),
    ("eval", "--text", "Hi"),
    ("eval", "--text", "Hi", "--json"),
    ("figure", "F22"),
    ("figure", "F40", "--format", "svg"),
    ("figure", "F64", "--json"),
    ("figure", "--list"),
    ("explore", "--export", "page.html"),
    ("bench", "--prefill", "8", "--depth", "8", "--new-tokens", "2", "--repeats", "1", "--batch", "2"),
]


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sound float32 checkpoint in which the queries of the first layer overflow."""
    weights = random_weights(GPT2Config(n_ctx=32, n_embd=8, n_head=2, n_layer=2), std=0.5)
    arrays = {name: weights.read(name) for name in weights.config.tensors}
    arrays["h.0.attn.c_attn.weight"] = np.full_like(arrays["h.0.attn.c_attn.weight"], 3e38)
    directory = tmp_path_factory.mktemp("models") / "overflowing"
    save_checkpoint(directory, ArrayWeights(weights.config, arrays))
    return str(directory)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_a_command_ends_with_one_line(
    overflowing: str, command: tuple[str, ...], engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*command, "--model", overflowing, "--engine", engine)
    assert result.code == 5
    assert "not finite" in result.error
    assert list(tmp_path.glob("page*")) == []
