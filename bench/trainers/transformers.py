"""transformers' Trainer with its GPT2LMHeadModel: the time from the beginning of a step to its end."""

import tempfile
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from bench.trainers.task import BETAS, CLIP, RATE, WEIGHT_DECAY, Clock, Task, report


class StepTimes(TrainerCallback):  # type: ignore[misc]
    """Starts and stops a clock at each step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.clock.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.stop()


def main() -> None:
    """Train on the text."""
    task = Task.from_arguments()
    n_steps = task.warm_up + task.steps
    batches = task.batches()
    inputs = torch.cat([next(batches)[0] for _ in range(n_steps)])
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            GPT2LMHeadModel(GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)),
            TrainingArguments(
                directory,
                per_device_train_batch_size=task.batch_size,
                max_steps=n_steps,
                learning_rate=RATE,
                adam_beta1=BETAS[0],
                adam_beta2=BETAS[1],
                weight_decay=WEIGHT_DECAY,
                max_grad_norm=CLIP,
                lr_scheduler_type="constant",
                bf16=task.dtype == "bfloat16",
                torch_compile=task.compile,
                optim="adamw_torch_fused" if task.fused else "adamw_torch",
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
            ),
            train_dataset=[{"input_ids": row, "labels": row} for row in inputs],
            callbacks=[StepTimes(clock)],
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    report(clock, losses, task.warm_up)


if __name__ == "__main__":
    main()
