from pathlib import Path

import pytest

from cutaway import GPT2Config, save_checkpoint
from tests.random_weights import random_weights


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a random GPT-2, small enough to be read in no time; it leaves the vocabulary to the package."""
    directory = tmp_path_factory.mktemp("models") / "tiny"
    weights = random_weights(GPT2Config(n_ctx=32, n_embd=8, n_head=2, n_layer=2), std=0.5, spread=0.1)
    save_checkpoint(directory, weights)
    return str(directory)


@pytest.fixture(scope="session")
def mute(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a random GPT-2 without tokenizer files and with a vocabulary that is not GPT-2's."""
    directory = tmp_path_factory.mktemp("models") / "mute"
    save_checkpoint(directory, random_weights(GPT2Config(n_vocab=50, n_ctx=16, n_embd=8, n_head=2, n_layer=1), std=0.5))
    return str(directory)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A plain surrounding: a narrow terminal, colours as they come, an empty hub cache and no network."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
