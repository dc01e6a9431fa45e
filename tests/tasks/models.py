"""A small random model that has a task: what it writes is nonsense, and always the same."""

from pathlib import Path

from cutaway.checkpoints import save_checkpoint
from cutaway.checkpoints.directory import TASK
from cutaway.tasks import Task, TaskEncoder, open_task
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.train import train_vocabulary
from tests.tiny import tiny_weights

CODEC = Tokenizer(train_vocabulary(["eine kleine Nacht, a little night "] * 3, 275, ["<|de|>", "<|en|>"]))
WEIGHTS = tiny_weights(seed=4, n_vocab=275, n_ctx=64)


def save_translator(directory: Path, task: Task | None = None) -> Path:
    """Write the model with the task translation, or another."""
    save_checkpoint(directory, WEIGHTS, tokenizer=CODEC, side_files={TASK: (task or open_task("translation")).toml})
    return directory


def translation_encoder() -> TaskEncoder:
    return TaskEncoder(open_task("translation"), CODEC, 64)
