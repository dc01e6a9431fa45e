"""The schedule of a run: context length, batch and learning rate of each step, given its number and the progress."""

import math
from dataclasses import dataclass

from cutaway.training.config import TrainingConfig

MOMENTUM_WARMUP = 300  # steps in which Muon's momentum rises from 0.85 to 0.95


@dataclass(frozen=True)
class StepPlan:
    """One step: number `batch` of the batches with `n_ctx` tokens per sequence, at a share `rate` of the peak rates."""

    n_ctx: int
    batch: int
    rate: float
    momentum: float  # Muon's
    samples_vocabulary: bool
    averages: bool  # True if the weights after the step are in the tail average


class Schedule:
    """The schedule of a configuration.

    >>> schedule = Schedule(TrainingConfig(max_steps=10, warmup_steps=2, hold=0.5, min_lr=0.0))
    >>> [round(schedule.plan(step, schedule.progress(step)).rate, 2) for step in (0, 1, 5, 8)]
    [0.5, 1.0, 1.0, 0.4]
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config

    def tokens(self, step: int) -> int:
        """Return the number of tokens in all steps before a step."""
        config = self.config
        short = min(step, config.short_steps)
        return config.batch_size * (short * (config.short_ctx or 0) + (step - short) * config.n_ctx)

    def progress(self, step: int, seconds: float = 0.0) -> float:
        """Return the share of the run that is done before a step, after `seconds` of training. It is the share of the
        tokens, or the share of `max_time` if that is larger.
        """
        config = self.config
        spent = 0.0 if config.max_time is None else seconds / config.max_time
        read = 0.0 if config.step_limit is None else self.tokens(step) / self.tokens(config.step_limit)
        return max(spent, read)

    def plan(self, step: int, progress: float) -> StepPlan:
        """Return the plan of a step, `progress` (0 to 1) through the run."""
        config = self.config
        short = step < config.short_steps
        return StepPlan(
            n_ctx=config.short_ctx if short and config.short_ctx else config.n_ctx,
            batch=step if short else step - config.short_steps,
            rate=min(1.0, (step + 1) / config.warmup) * self._decay(progress),
            momentum=0.85 + 0.1 * min(1.0, step / MOMENTUM_WARMUP),
            samples_vocabulary=config.sampled_vocab > 0 and progress < 1 - config.full_softmax,
            averages=progress >= 1 - config.average,
        )

    def _decay(self, progress: float) -> float:
        """Return the decayed share of the peak learning rate, between 1 and `min_lr`."""
        config = self.config
        progress = min(progress, 1.0)
        if config.schedule == "cosine":
            return config.min_lr + (1 - config.min_lr) * (1 + math.cos(math.pi * progress)) / 2
        if progress <= config.hold:
            return 1.0
        return 1 - (1 - config.min_lr) * (progress - config.hold) / (1 - config.hold)
