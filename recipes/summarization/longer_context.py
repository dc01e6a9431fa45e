"""Write a model with a longer context, its position embeddings repeated to fill it (as Longformer was initialised).

    python recipes/summarization/longer_context.py MODEL N_CTX DIR

Position n gets the embedding of position n modulo the old context (Beltagy et al. 2020, section 5), so that heads which
attend to the previous token find it nearly everywhere. Training on longer texts does the rest.
"""

import sys
from dataclasses import replace

import numpy as np

import cutaway
from cutaway.checkpoints import ArrayWeights, save_checkpoint
from cutaway.generation.config_json import generation_config_json


def main(name: str, n_ctx: int, directory: str) -> None:
    """Write the model."""
    model = cutaway.load(name)
    tensors = dict(model.weights)
    positions = tensors["wpe.weight"]
    tensors["wpe.weight"] = np.resize(positions, (n_ctx, positions.shape[1]))  # repeats the rows
    save_checkpoint(
        directory,
        ArrayWeights(replace(model.config, n_ctx=n_ctx), tensors),
        "float32",
        tokenizer=model.codec,
        generation_config=generation_config_json(model.generation_config, model.metadata.generation_config),
        special_tokens=model.metadata.special_tokens,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
