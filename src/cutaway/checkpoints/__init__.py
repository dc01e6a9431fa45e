"""Reading and writing checkpoints: Hugging Face GPT-2 directories, models on the hub, int8."""

from cutaway.checkpoints.checkpoint import Checkpoint
from cutaway.checkpoints.effective import EffectiveWeights
from cutaway.checkpoints.save import save_checkpoint
from cutaway.checkpoints.sources import open_checkpoint, open_source
from cutaway.checkpoints.weights import ArrayWeights, Weights

__all__ = [
    "ArrayWeights",
    "Checkpoint",
    "EffectiveWeights",
    "Weights",
    "open_checkpoint",
    "open_source",
    "save_checkpoint",
]
