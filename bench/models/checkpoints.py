"""Our own checkpoints, which the other formats are made from: a 124M GPT-2 of random weights.

    python -m bench.models.checkpoints random DIRECTORY              random weights, stored as float16
    python -m bench.models.checkpoints DTYPE CHECKPOINT DIRECTORY    the same stored as DTYPE

They are rounded to float16 first, so that a peer's 16-bit file is exactly the same model. They are drawn three times as
wide as GPT-2's before training, with biases and gains: attention is sharp then, and greedy text does not repeat one
token. What they are makes no difference to speed.
"""

import sys

from cutaway.checkpoints import Weights, open_checkpoint, save_checkpoint
from cutaway.config import GPT2Config
from cutaway.tokenizer.fast import Tokenizer
from tests.random_weights import RandomWeights


def main() -> None:
    """Write DIRECTORY."""
    what, *source, directory = sys.argv[1:]
    weights: Weights = RandomWeights(GPT2Config(), seed=0, std=0.06, spread=0.1)
    if source:
        weights = open_checkpoint(source[0])
    save_checkpoint(directory, weights, "float16" if what == "random" else what, tokenizer=Tokenizer.gpt2())


if __name__ == "__main__":
    main()
