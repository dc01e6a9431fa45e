"""Cutaway: GPT-2 with the casing cut open. `cutaway.load()` is where to start."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cutaway.checkpoints import save_checkpoint
    from cutaway.config import PUBLISHED, GPT2Config
    from cutaway.errors import CheckpointError, CutawayError, EngineError, HubError, NonFiniteError, UsageError
    from cutaway.evaluation.perplexity import Score
    from cutaway.generation.config import GenerationConfig
    from cutaway.generation.stream import Chunk, Completion
    from cutaway.loading import load
    from cutaway.model import Candidate, Model
    from cutaway.tokenizer.fast import Tokenizer
    from cutaway.trace import Intervention

__version__ = "0.1.0"

__all__ = [
    "PUBLISHED",
    "Candidate",
    "CheckpointError",
    "Chunk",
    "Completion",
    "CutawayError",
    "EngineError",
    "GPT2Config",
    "GenerationConfig",
    "HubError",
    "Intervention",
    "Model",
    "NonFiniteError",
    "Score",
    "Tokenizer",
    "UsageError",
    "load",
    "save_checkpoint",
]

# Names are imported on first use, so that `cutaway --help` does not wait for NumPy.
_HOMES = {
    "checkpoints": ("save_checkpoint",),
    "config": ("PUBLISHED", "GPT2Config"),
    "errors": ("CheckpointError", "CutawayError", "EngineError", "HubError", "NonFiniteError", "UsageError"),
    "evaluation.perplexity": ("Score",),
    "generation.config": ("GenerationConfig",),
    "generation.stream": ("Chunk", "Completion"),
    "loading": ("load",),
    "model": ("Candidate", "Model"),
    "tokenizer.fast": ("Tokenizer",),
    "trace": ("Intervention",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"cutaway.{module}"), name)
    raise AttributeError(f"module 'cutaway' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
