"""Cutaway's trainer as `cutaway train` makes it, its own batches, schedule and averaging included."""

import torch

from bench.trainers.task import BETAS, CLIP, RATE, WEIGHT_DECAY, Task, text_ids
from cutaway.config import PUBLISHED
from cutaway.data.batches import Windows
from cutaway.data.dataset import Split
from cutaway.training.config import TrainingConfig
from cutaway.training.memory import keep_freed_memory
from cutaway.training.model import make_model
from cutaway.training.trainer import Trainer

N_STEPS = 100_000  # of a run that these steps are the beginning of


def main() -> None:
    """Train on the text."""
    task = Task.from_arguments()
    keep_freed_memory()  # as the loop of a run does
    shape = PUBLISHED[0].config
    config = TrainingConfig(
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        n_embd=shape.n_embd,
        n_ctx=task.n_ctx,
        batch_size=task.batch_size,
        max_steps=N_STEPS,
        warmup_steps=1,
        optimizer=task.optimizer,
        lr=RATE,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=WEIGHT_DECAY,
        grad_clip=CLIP,
        sampled_vocab=task.sampled_vocab,
        dtype=task.dtype,
        compile=task.compile,
    )
    split = Split.from_documents([text_ids().tolist()])
    frequent = torch.from_numpy((-split.token_counts(shape.n_vocab)).argsort(kind="stable")[: task.sampled_vocab // 2])
    model = make_model(config, shape, torch.device("cpu"), init=None)
    trainer = Trainer(config, model, Windows([split], [1.0], seed=1), frequent=frequent)
    task.measure(lambda: trainer.step().loss)


if __name__ == "__main__":
    main()
