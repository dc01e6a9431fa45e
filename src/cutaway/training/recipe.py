"""The recipe of a pre-training run: every number that decides what it computes, and the schedule that follows."""

from dataclasses import dataclass

from cutaway.checks import check_float, check_int
from cutaway.config import GPT2Config
from cutaway.errors import UsageError

LAST_RATE = 0.05  # share of the peak learning rate at the end
MOMENTUM_WARMUP = 300  # steps in which Muon's momentum rises from 0.85 to 0.95


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a run. Raises UsageError if they are invalid.

    A run reads `tokens` tokens, `rows` sequences a step: of `short` tokens until `short_tokens` have been read, of
    `n_ctx` after that. The rate holds until `hold` tokens and falls linearly. The loss is over a sample of `negatives`
    ids, `frequent` of them always the same, and over the whole vocabulary in the last `full` share of the run.
    """

    n_layer: int = 8
    n_head: int = 4
    n_embd: int = 256
    n_ctx: int = 512
    rows: int = 32
    short: int = 256
    short_tokens: float = 20e6
    tokens: float = 60e6
    hold: float = 40e6
    full: float = 0.08
    warmup: int = 100
    matrix_lr: float = 0.006
    table_lr: float = 0.004
    vector_lr: float = 0.01
    weight_decay: float = 0.05
    negatives: int = 8192
    frequent: int = 4096
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("rows", "short", "warmup"):
            check_int(name, getattr(self, name), 1)
        for name in ("negatives", "frequent", "seed"):
            check_int(name, getattr(self, name), 0)
        for name in ("short_tokens", "tokens", "hold"):
            check_float(name, getattr(self, name), 0, 1e15)
        for name in ("matrix_lr", "table_lr", "vector_lr", "weight_decay", "full"):
            check_float(name, getattr(self, name), 0, 1)
        if self.hold >= self.tokens:
            raise UsageError(f"hold ({self.hold:g}) must be below tokens ({self.tokens:g})")
        if self.short > self.n_ctx:
            raise UsageError(f"short ({self.short}) must be at most n_ctx ({self.n_ctx})")
        self.config()  # validates the shape

    def config(self) -> GPT2Config:
        """Return the model's hyperparameters."""
        return GPT2Config(n_ctx=self.n_ctx, n_embd=self.n_embd, n_head=self.n_head, n_layer=self.n_layer)

    @property
    def short_steps(self) -> int:
        """Number of steps with sequences of `short` tokens."""
        return int(self.short_tokens / (self.rows * self.short))

    def length(self, step: int) -> int:
        """Return the tokens of each sequence of a step."""
        return self.short if step < self.short_steps else self.n_ctx

    def batch_number(self, step: int) -> int:
        """Return the number of a step among those of its length."""
        return step if step < self.short_steps else step - self.short_steps

    def seen(self, step: int) -> int:
        """Return the tokens read before a step.

        >>> Recipe(rows=2, short=4, n_ctx=8, short_tokens=16).seen(3)
        32
        """
        short = min(step, self.short_steps)
        return self.rows * (short * self.short + (step - short) * self.n_ctx)

    def rate(self, step: int, progress: float) -> float:
        """Return the share of the peak learning rate at a step, `progress` (0 to 1) through the run."""
        begin = self.hold / self.tokens
        fall = max(0.0, (progress - begin) / (1 - begin))
        return min(1.0, (step + 1) / self.warmup) * max(LAST_RATE, 1 - (1 - LAST_RATE) * fall)

    def momentum(self, step: int) -> float:
        """Return Muon's momentum at a step."""
        return 0.85 + 0.1 * min(1.0, step / MOMENTUM_WARMUP)

    def samples_vocabulary(self, progress: float) -> bool:
        """Return True while the loss is over a sample of the vocabulary."""
        return progress < 1 - self.full
